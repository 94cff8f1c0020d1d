"""Common schemas of rows: one row of each, and malformed ones."""

import pytest

from jaxalign.data import readers
from jaxalign.data.records import (
    Demonstration,
    Preference,
    Prompt,
    Ranking,
    Unpaired,
    ranking_pairs,
)


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


PROMPT = [user("q")]
DEMONSTRATIONS = [
    {"prompt": "q", "completion": "a"},
    {"prompt": PROMPT, "completion": [assistant("a")]},
    {"messages": [user("q"), assistant("a")]},
    {"messages": [user("q"), {"role": "assistant", "content": [{"text": "a"}]}]},
    {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
    {"instruction": "q", "input": "", "output": "a"},
    {"question": "q", "answer": "a"},
    {"prompt": "q", "chosen": "a", "rejected": "b"},
]
PREFERENCES = [
    {"prompt": "q", "chosen": "a", "rejected": "b"},
    {"prompt": PROMPT, "chosen": [assistant("a")], "rejected": [assistant("b")]},
    {"chosen": [user("q"), assistant("a")], "rejected": [user("q"), assistant("b")]},
    {
        "chosen_messages": [user("q"), assistant("a")],
        "rejected_messages": [*PROMPT, assistant("b")],
    },
    {
        "prompt": "q",
        "chosen": [*PROMPT, assistant("a")],
        "rejected": [*PROMPT, assistant("b")],
    },
    {"conversations": PROMPT, "chosen": assistant("a"), "rejected": {"value": "b"}},
    {"instruction": "q", "input": "", "output": "c", "chosen": "a", "rejected": "b"},
    {
        "chosen": "\n\nHuman: q\n\nAssistant: a",
        "rejected": "\n\nHuman: q\n\nAssistant: b",
    },
]


@pytest.mark.parametrize("row", DEMONSTRATIONS)
def test_schemas_of_demonstrations(row, tmp_path, jsonl):
    path = jsonl(tmp_path / "rows.jsonl", row)
    records, report = readers.read(path, Demonstration)
    assert records == [Demonstration([user("q"), assistant("a")], f"{path}:1")]
    assert str(report) == "1 of 1 rows"
    assert readers.read(path, Prompt)[0] == [Prompt(PROMPT, f"{path}:1", ("a",))]


@pytest.mark.parametrize("row", PREFERENCES)
def test_schemas_of_preferences(row, tmp_path, jsonl):
    path = jsonl(tmp_path / "rows.jsonl", row, row | {"margin": 2})
    records, _ = readers.read(path, Preference)
    others = {"output": "c"} if "output" in row else {}
    assert records == [
        Preference(PROMPT, "a", "b", 0.0, f"{path}:1", fields=others),
        Preference(PROMPT, "a", "b", 2.0, f"{path}:2", fields=others),
    ]
    assert readers.read(path, Prompt)[0][0] == Prompt(
        PROMPT, f"{path}:1", ("a",), fields=others
    )


def test_references_of_prompts(tmp_path, jsonl):
    rows = {
        ("z",): {"prompt": "q", "reference": "z", "completion": "a"},
        ("y", "z"): {"question": "q", "references": ["y", "z"]},
        ("best",): {"prompt": "q", "answers": ["best", "poor"]},
        (): {"prompt": "q", "completion": "a", "label": False},
        ("a",): {"prompt": "q", "completion": "a", "label": True},
    }
    path = jsonl(tmp_path / "rows.jsonl", *rows.values(), {"prompt": "q"})
    prompts, _ = readers.read(path, Prompt)
    assert [p.references for p in prompts] == [*rows, ()]
    path = jsonl(tmp_path / "bad.jsonl", {"prompt": "q", "references": [1]})
    with pytest.raises(ValueError, match="bad.jsonl:1: field 'references'"):
        readers.read(path, Prompt)


def test_instructions_with_input_system_and_history(tmp_path, jsonl):
    row = {"instruction": "q", "input": "i", "output": "a", "system": "s"}
    path = jsonl(tmp_path / "rows.jsonl", row | {"history": [["h", "r"]]})
    records, _ = readers.read(path, Demonstration)
    system = {"role": "system", "content": "s"}
    before = [system, user("h"), assistant("r")]
    assert records[0].messages == [*before, user("q\ni"), assistant("a")]


def test_rankings_and_labels(tmp_path, jsonl):
    path = jsonl(tmp_path / "rank.jsonl", {"prompt": "q", "answers": ["a", "b", "c"]})
    rankings, _ = readers.read(path, Ranking)
    assert rankings == [Ranking(PROMPT, ("a", "b", "c"), f"{path}:1")]
    answers = [(p.chosen, p.rejected) for p in ranking_pairs(rankings)]
    assert answers == [("a", "b"), ("a", "c"), ("b", "c")]
    desirable = {"prompt": "q", "completion": "a", "label": True}
    undesirable = {"messages": [user("q"), assistant("a")], "label": 0}
    path = jsonl(tmp_path / "labels.jsonl", desirable, undesirable)
    answers, _ = readers.read(path, Unpaired)
    assert answers == [
        Unpaired(PROMPT, "a", True, f"{path}:1"),
        Unpaired(PROMPT, "a", False, f"{path}:2"),
    ]


MALFORMED = [
    (Demonstration, "{", "is not JSON"),
    (Demonstration, "[1]", "is not a JSON object"),
    (Demonstration, {"completion": "a"}, "field 'prompt' .* is missing"),
    (Demonstration, {"prompt": "q"}, "field 'completion' .* is missing"),
    (Demonstration, {"prompt": " ", "completion": "a"}, "field 'prompt' is empty"),
    (
        Demonstration,
        {"prompt": "q", "completion": None},
        "'completion' is null; expected text",
    ),
    (
        Demonstration,
        {"prompt": "q", "completion": 3},
        "'completion' is a number; expected text",
    ),
    (
        Demonstration,
        {"messages": []},
        "'messages' is not a text or a list",
    ),
    (Demonstration, {"messages": ["q"]}, "'messages', message 0: is text"),
    (Demonstration, {"messages": [{"role": "x"}]}, "message 0: has role 'x'"),
    (Demonstration, {"messages": [{"role": ["x"]}]}, "message 0: has role"),
    (Demonstration, {"messages": [{"role": "user"}]}, "content is null; expected text"),
    (
        Demonstration,
        {"messages": [user([{"image": 1}])]},
        "content is a list; expected text",
    ),
    (Demonstration, {"instruction": "q", "output": "a", "history": ["h"]}, "'history'"),
    (Preference, {"prompt": "q", "chosen": "a"}, "field 'rejected' is missing"),
    (Preference, {"chosen": "a", "rejected": "b"}, "field 'prompt' .* is missing"),
    (
        Preference,
        {"prompt": "q", "chosen": "a", "rejected": 1},
        "'rejected' is a number; expected text",
    ),
    (
        Preference,
        {
            "chosen": [user("q"), assistant("a")],
            "rejected": [user("r"), assistant("b")],
        },
        "'chosen' and 'rejected' differ before",
    ),
    (
        Preference,
        {"chosen": [*PROMPT, user("a")], "rejected": [*PROMPT, user("b")]},
        "do not end with an answer",
    ),
    (Preference, PREFERENCES[0] | {"margin": "big"}, "field 'margin'"),
    (Preference, PREFERENCES[0] | {"margin": float("nan")}, "field 'margin'"),
    (Ranking, {"prompt": "q", "answers": ["a"]}, "field 'answers' .* two or more"),
    (
        Ranking,
        {"prompt": "q", "answers": ["a", 1]},
        r"'answers\[1\]' is a number; expected text",
    ),
    (Unpaired, {"prompt": "q", "completion": "a"}, "field 'label' .* is missing"),
    (Unpaired, {"prompt": "q", "completion": "a", "label": 2}, "'label' is 2"),
    (Unpaired, {"prompt": "q", "completion": "a", "label": None}, "'label'"),
    (Prompt, {"messages": [assistant("a")]}, "has an answer, but no prompt"),
]


@pytest.mark.parametrize(("kind", "row", "message"), MALFORMED)
def test_a_malformed_row_is_named(kind, row, message, tmp_path, jsonl):
    good = {
        Demonstration: DEMONSTRATIONS[0],
        Preference: PREFERENCES[0],
        Ranking: {"prompt": "q", "answers": ["a", "b"]},
        Unpaired: {"prompt": "q", "completion": "a", "label": True},
        Prompt: {"prompt": "q"},
    }[kind]
    path = jsonl(tmp_path / "rows.jsonl", good, "", row, good)
    with pytest.raises(ValueError, match=message) as error:
        readers.read(path, kind)
    assert str(error.value).startswith(f"{path}:3: ")
    assert str(error.value).endswith("skip and count such rows")
    records, report = readers.read(path, kind, skip_bad_rows=True)
    assert [r.location for r in records] == [f"{path}:1", f"{path}:4"]
    assert str(report) == "2 of 3 rows (1 malformed)"
