import gzip
import json

import numpy as np
import pytest

from jaxalign.data import readers
from jaxalign.data.records import (
    Demonstration,
    Preference,
    Prompt,
    Ranking,
    RowReport,
    Unpaired,
    demonstrations,
    extract_prompts,
    ranking_pairs,
    unpaired_answers,
)


def user(text):
    return {"role": "user", "content": text}


def told(text):
    return {"role": "assistant", "content": text}


ASKED = [user("q")]
DEMONSTRATIONS = [
    {"prompt": "q", "completion": "a"},
    {"prompt": ASKED, "completion": [told("a")]},
    {"messages": [user("q"), told("a")]},
    {"messages": [user("q"), {"role": "assistant", "content": [{"text": "a"}]}]},
    {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
    {"instruction": "q", "input": "", "output": "a"},
    {"question": "q", "answer": "a"},
    {"prompt": "q", "chosen": "a", "rejected": "b"},
]
PREFERENCES = [
    {"prompt": "q", "chosen": "a", "rejected": "b"},
    {"prompt": ASKED, "chosen": [told("a")], "rejected": [told("b")]},
    {"chosen": [user("q"), told("a")], "rejected": [user("q"), told("b")]},
    {
        "chosen_messages": [user("q"), told("a")],
        "rejected_messages": [*ASKED, told("b")],
    },
    {"prompt": "q", "chosen": [*ASKED, told("a")], "rejected": [*ASKED, told("b")]},
    {"conversations": ASKED, "chosen": told("a"), "rejected": {"value": "b"}},
    {"instruction": "q", "input": "", "output": "c", "chosen": "a", "rejected": "b"},
    {
        "chosen": "\n\nHuman: q\n\nAssistant: a",
        "rejected": "\n\nHuman: q\n\nAssistant: b",
    },
]


@pytest.mark.parametrize("row", DEMONSTRATIONS)
def test_layouts_of_demonstrations(row, tmp_path, jsonl):
    path = jsonl(tmp_path / "rows.jsonl", row)
    records, report = readers.read(path, Demonstration)
    assert records == [Demonstration([user("q"), told("a")], f"{path}:1")]
    assert str(report) == "1 of 1 rows"
    assert readers.read(path, Prompt)[0] == [Prompt(ASKED, f"{path}:1", ("a",))]


@pytest.mark.parametrize("row", PREFERENCES)
def test_layouts_of_preferences(row, tmp_path, jsonl):
    path = jsonl(tmp_path / "rows.jsonl", row, row | {"margin": 2})
    records, _ = readers.read(path, Preference)
    others = {"output": "c"} if "output" in row else {}
    assert records == [
        Preference(ASKED, "a", "b", 0.0, f"{path}:1", fields=others),
        Preference(ASKED, "a", "b", 2.0, f"{path}:2", fields=others),
    ]
    assert readers.read(path, Prompt)[0][0] == Prompt(
        ASKED, f"{path}:1", ("a",), fields=others
    )


def test_references_of_prompts(tmp_path, jsonl):
    told_of = {
        ("z",): {"prompt": "q", "reference": "z", "completion": "a"},
        ("y", "z"): {"question": "q", "references": ["y", "z"]},
        ("best",): {"prompt": "q", "answers": ["best", "poor"]},
        (): {"prompt": "q", "completion": "a", "label": False},
        ("a",): {"prompt": "q", "completion": "a", "label": True},
    }
    path = jsonl(tmp_path / "rows.jsonl", *told_of.values(), {"prompt": "q"})
    prompts, _ = readers.read(path, Prompt)
    assert [p.references for p in prompts] == [*told_of, ()]
    path = jsonl(tmp_path / "bad.jsonl", {"prompt": "q", "references": [1]})
    with pytest.raises(ValueError, match="bad.jsonl:1: field 'references'"):
        readers.read(path, Prompt)


def test_instructions_with_input_system_and_history(tmp_path, jsonl):
    row = {"instruction": "q", "input": "i", "output": "a", "system": "s"}
    path = jsonl(tmp_path / "rows.jsonl", row | {"history": [["h", "r"]]})
    records, _ = readers.read(path, Demonstration)
    system = {"role": "system", "content": "s"}
    before = [system, user("h"), told("r")]
    assert records[0].messages == [*before, user("q\ni"), told("a")]


def test_rankings_and_thumbs(tmp_path, jsonl):
    path = jsonl(tmp_path / "rank.jsonl", {"prompt": "q", "answers": ["a", "b", "c"]})
    rankings, _ = readers.read(path, Ranking)
    assert rankings == [Ranking(ASKED, ("a", "b", "c"), f"{path}:1")]
    found = [(p.chosen, p.rejected) for p in ranking_pairs(rankings)]
    assert found == [("a", "b"), ("a", "c"), ("b", "c")]
    up = {"prompt": "q", "completion": "a", "label": True}
    down = {"messages": [user("q"), told("a")], "label": 0}
    path = jsonl(tmp_path / "thumbs.jsonl", up, down)
    thumbs, _ = readers.read(path, Unpaired)
    assert thumbs == [
        Unpaired(ASKED, "a", True, f"{path}:1"),
        Unpaired(ASKED, "a", False, f"{path}:2"),
    ]


def test_conversions():
    pair = Preference(ASKED, "a", "b", 1.0, "here:1")
    assert demonstrations([pair]) == [Demonstration([user("q"), told("a")], "here:1")]
    assert unpaired_answers([pair]) == [
        Unpaired(ASKED, "a", True, "here:1"),
        Unpaired(ASKED, "b", False, "here:1"),
    ]
    demonstration = Demonstration([user("q"), told("z")], "there:1")
    other = Demonstration([user("r"), told("z")], "there:2")
    assert extract_prompts([pair, demonstration, other]) == [
        Prompt(ASKED, "here:1", ("a", "z")),
        Prompt([user("r")], "there:2", ("z",)),
    ]


BAD = [
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
        {"chosen": [user("q"), told("a")], "rejected": [user("r"), told("b")]},
        "'chosen' and 'rejected' differ before",
    ),
    (
        Preference,
        {"chosen": [*ASKED, user("a")], "rejected": [*ASKED, user("b")]},
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
    (Prompt, {"messages": [told("a")]}, "has an answer, but no prompt"),
]


@pytest.mark.parametrize(("kind", "row", "message"), BAD)
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


def test_a_file_of_nothing_is_refused(tmp_path, jsonl):
    with pytest.raises(ValueError, match="holds no usable Prompt rows: 0 of 0 rows"):
        readers.read(jsonl(tmp_path / "rows.jsonl"), Prompt)
    path = jsonl(tmp_path / "bad.jsonl", "{", "]")
    with pytest.raises(ValueError, match=r"0 of 2 rows \(2 malformed\)"):
        readers.read(path, Prompt, skip_bad_rows=True)


def test_paths_that_are_none(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file: .*nowhere.jsonl"):
        readers.read(tmp_path / "nowhere.jsonl", Prompt)
    with pytest.raises(FileNotFoundError, match="holds no .jsonl"):
        readers.read(tmp_path, Prompt)
    (tmp_path / "rows.txt").write_text("prompt\n")
    with pytest.raises(
        ValueError, match="rows.txt has the ending '.txt'; expected .jsonl"
    ):
        readers.read(tmp_path / "rows.txt", Prompt)


def test_text_that_is_not_utf8_is_a_malformed_line(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"prompt": "q"}\r\n{"prompt": "\xff"}\n')
    with pytest.raises(ValueError, match="rows.jsonl:2: is not JSON .*UTF-8"):
        readers.read(path, Prompt)
    records, _ = readers.read(path, Prompt, skip_bad_rows=True)
    assert [r.messages for r in records] == [ASKED]


def test_a_folder_is_read_in_order_of_names(tmp_path, jsonl):
    jsonl(tmp_path / "b.jsonl", {"prompt": "2"})
    with gzip.open(tmp_path / "a.jsonl.gz", "wt") as file:
        file.write('{"prompt": "1"}\n')
    (tmp_path / "c.json").write_text('[{"prompt": "3"}]')
    (tmp_path / "notes.txt").write_text("not read")
    records, report = readers.read(tmp_path, Prompt)
    assert [r.messages[0]["content"] for r in records] == ["1", "2", "3"]
    assert report == RowReport(3, 3)


def test_half_a_gzip_file_is_named(tmp_path):
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"prompt": "q"}\n' * 99)[:-12])
    with pytest.raises(
        ValueError, match=r"rows.jsonl.gz:\d+: is not a complete gzip file"
    ):
        readers.read(path, Prompt)


@pytest.mark.parametrize("indent", [None, 2])
def test_a_json_array_has_lines_too(tmp_path, indent):
    rows = [{"prompt": "a\nb, ] [", "k": [1, {}]}, {"prompt": "2"}, {"prompt": 3}]
    path = tmp_path / "rows.json"
    path.write_text("\n" + json.dumps(rows, indent=indent) + "\n")
    lines = path.read_text().split("\n")
    first = [i for i, line in enumerate(lines, 1) if line.startswith("  {")]
    lines_wanted = first if indent else [2, 2, 2]
    records, report = readers.read(path, Prompt, skip_bad_rows=True)
    assert [r.location for r in records] == [f"{path}:{n}" for n in lines_wanted[:2]]
    assert report.total == 3
    with pytest.raises(
        ValueError, match=f"rows.json:{lines_wanted[2]}: field 'prompt'"
    ):
        readers.read(path, Prompt)


@pytest.mark.parametrize("text", ["[", "[{}", '[{"prompt": "q"} 1]', "[1,]", "[1] 2"])
def test_a_broken_json_array_is_named(text, tmp_path):
    path = tmp_path / "rows.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"rows.json:1: is not JSON \("):
        readers.read(path, Prompt, skip_bad_rows=True)


def test_rows_of_tensorflow_datasets():
    rows = [
        {
            "prompt": b"q",
            "chosen": b"a",
            "rejected": np.bytes_(b"b"),
            "margin": np.float32(1),
        },
        {
            "prompt": b"\xc3\xa9",
            "chosen": b"a",
            "rejected": b"b",
            "margin": np.float32(0),
        },
    ]
    records, _ = readers.from_tfds(rows, Preference, name="toy/train")
    assert records[0] == Preference(ASKED, "a", "b", 1.0, "toy/train:0")
    assert records[1].prompt == [user("é")]
    columns = {
        "role": np.array([b"user", b"assistant"], object),
        "content": np.array([b"q", b"a"], object),
    }
    records, _ = readers.from_tfds([{"messages": columns}], Demonstration)
    assert records[0].messages == [user("q"), told("a")]
    with pytest.raises(ValueError, match="toy:0: field 'chosen'"):
        readers.from_tfds([{"prompt": b"q"}], Preference, name="toy")


def test_reports_add_up(tmp_path, jsonl):
    path = jsonl(tmp_path / "rows.jsonl", {"prompt": "q"}, "{")
    _, report = readers.read(path, Prompt, skip_bad_rows=True)
    assert str(report + report) == "2 of 4 rows (2 malformed)"


PUBLIC = [
    # the counts are those of the files' own NOTICE and README
    ("rasbt-instructions/instruction-data.json", Demonstration, 1100),
    ("rasbt-instructions/instruction-data-with-preference.json", Preference, 1100),
    ("dolly/dolly_train.json", Demonstration, 2000),
    ("gsm8k/test.jsonl", Demonstration, 1319),
    ("llama-factory-demo/alpaca_en_demo.json", Demonstration, 999),
    ("llama-factory-demo/identity.json", Demonstration, 91),
    ("llama-factory-demo/v1_sft_demo.jsonl", Demonstration, 500),
    ("llama-factory-demo/dpo_en_demo.json", Preference, 300),
    ("llama-factory-demo/v1_dpo_demo.jsonl", Preference, 10),
    ("llama-factory-demo/kto_en_demo.json", Unpaired, 300),
]


@pytest.mark.parametrize(("name", "kind", "count"), PUBLIC)
def test_public_files(public_data, name, kind, count):
    records, report = readers.read(public_data / name, kind)
    assert len(records) == report.total == report.usable == count
    path, _, line = records[-1].location.rpartition(":")
    with open(path, encoding="utf-8") as file:
        lines = file.read().split("\n")
    assert lines[int(line) - 1].lstrip().startswith("{")
    if kind is Unpaired:
        assert sum(r.desirable for r in records) == 150


def test_public_rankings(public_data):
    path = public_data / "oasst-trees" / "en_100_tree.jsonl"
    rankings, report = readers.read(path, Ranking)
    assert report == RowReport(100, 100)

    def ranked_sets(node):
        replies = node["replies"]
        ranks = [r["rank"] for r in replies if r.get("rank") is not None]
        own = node["role"] == "prompter" and len(ranks) > 1
        return own + sum(map(ranked_sets, replies))

    lines = path.read_text("utf-8").splitlines()
    trees = [json.loads(line)["prompt"] for line in lines]
    assert len(rankings) == sum(map(ranked_sets, trees))
    # the best reply to the first question has rank 0
    best = [r["text"] for r in trees[0]["replies"] if r["rank"] == 0]
    assert list(rankings[0].answers[:1]) == best
    assert any(len(r.prompt) == 3 for r in rankings)
    assert all(r.prompt[-1]["role"] == "user" for r in rankings)


def test_trees_without_a_ranking_are_counted(tmp_path, jsonl):
    def tree(*ranks):
        replies = [{"text": f"a{r}", "role": "assistant", "rank": r} for r in ranks]
        return {"prompt": {"text": "q", "role": "prompter", "replies": replies}}

    path = jsonl(tmp_path / "trees.jsonl", tree(1, 0), tree(0), tree())
    rankings, report = readers.read(path, Ranking)
    assert rankings == [Ranking(ASKED, ("a0", "a1"), f"{path}:1")]
    assert str(report) == "1 of 3 rows (2 without a ranking)"


def test_calls_of_tools_are_not_read_as_speech(public_data):
    path = public_data / "llama-factory-demo" / "glaive_toolcall_en_demo.json"
    records, report = readers.read(path, Demonstration)
    assert report == RowReport(300, 300)
    rows = json.loads(path.read_text("utf-8"))
    for record, row in zip(records, rows, strict=True):
        assert [tool["function"] for tool in record.tools] == json.loads(row["tools"])
        for message, told in zip(record.messages, row["conversations"], strict=True):
            if told["from"] == "function_call":
                (call,) = message["tool_calls"]
                assert call == {
                    "type": "function",
                    "function": json.loads(told["value"]),
                }
                assert message["role"] == "assistant" and message["content"] == ""
            else:
                roles = {"human": "user", "gpt": "assistant", "observation": "tool"}
                assert message == {
                    "role": roles[told["from"]],
                    "content": told["value"],
                }
