"""System prompt, tools, metadata and weights of rows, in every schema."""

import json

import pytest

from jaxalign.data import readers
from jaxalign.data.records import Demonstration, Prompt
from jaxalign.data.row_errors import MalformedRow, UnusableRow
from tests.data.rows import (
    CHAT,
    FUNCTION,
    INF,
    LABELED,
    NAN,
    PAIR,
    SCORES,
    SHP,
    TOOL,
    TREE,
    ULTRA,
    a,
    labeled,
    pair,
    ranking_record,
    read,
    rl_prompt,
    s,
    sft,
    u,
)

# one row of each schema, and its record without a system prompt
SCHEMAS = {
    "prompt completion": ({"prompt": "q", "completion": "a"}, sft(u(), a())),
    "messages": (CHAT, sft(u(), a())),
    "sharegpt": (
        {
            "conversations": [
                {"from": "human", "value": "q"},
                {"from": "gpt", "value": "a"},
            ]
        },
        sft(u(), a()),
    ),
    "instruction": ({"instruction": "q", "output": "a"}, sft(u(), a())),
    "question": ({"question": "q", "answer": "a"}, sft(u(), a())),
    "pair": (PAIR, pair([u()])),
    "question pair": (
        {"question": "q", "chosen": "a", "rejected": "b"},
        pair([u()]),
    ),
    "lists": ({"chosen": [u(), a()], "rejected": [u(), a("b")]}, pair([u()])),
    "dialogues": (
        {
            "chosen": "\n\nHuman: q\n\nAssistant: a",
            "rejected": "\n\nHuman: q\n\nAssistant: b",
        },
        pair([u()]),
    ),
    "sft of a pair": (PAIR, sft(u(), a())),
    "answers": ({"prompt": "q", "answers": ["a", "b"]}, ranking_record("a", "b")),
    "tree": ({"prompt": TREE}, ranking_record("a", "b")),
    "pairs of answers": ({"prompt": "q", "answers": ["a", "b"]}, pair([u()])),
    "unpaired": (LABELED, labeled(True)),
    "rl prompt": ({"prompt": "q"}, rl_prompt([u()])),
    "rl messages": (CHAT, rl_prompt([u()], "a")),
    "rl pair": (PAIR, rl_prompt([u()], "a")),
    "rl answers": ({"prompt": "q", "answers": ["a", "b"]}, rl_prompt([u()], "a")),
    "shp": (SHP, pair([u()])),
    "ultrafeedback": (ULTRA, ranking_record("a", "b", fields=SCORES)),
}


def with_prompt(record, prompt, **more):
    """A record with another prompt, and other changes."""
    changed = dict(vars(record))
    if isinstance(record, Demonstration):
        changed["messages"] = [*prompt, record.messages[-1]]
    else:
        name = "messages" if isinstance(record, Prompt) else "prompt"
        changed[name] = prompt
    more["fields"] = {**record.fields, **more.get("fields", {})}
    return type(record)(**(changed | more))


@pytest.mark.parametrize("name", SCHEMAS)
class TestRowFields:
    """Fields beside prompt and answers, in every schema and kind of record."""

    def test_record(self, name):
        row, record = SCHEMAS[name]
        assert read(row, type(record)) == [record]

    @pytest.mark.parametrize(
        "field", ["system", "system_prompt", "system_message", "system_instruction"]
    )
    def test_a_system_field_begins_the_conversation(self, name, field):
        row, record = SCHEMAS[name]
        parsed = read(row | {field: "S"}, type(record))
        assert parsed == [with_prompt(record, [s(), u()])]
        assert read(row | {field: ""}, type(record)) == [record]
        assert read(row | {field: None}, type(record)) == [record]
        assert read(row | {field: "S", "system": "S"}, type(record)) == parsed

    def test_different_system_prompts_are_refused(self, name):
        row, record = SCHEMAS[name]
        with pytest.raises(MalformedRow, match="'system' and 'system_prompt' differ"):
            read(row | {"system": "S", "system_prompt": "other"}, type(record))
        with pytest.raises(MalformedRow, match="'system' is .*; expected text"):
            read(row | {"system": 3}, type(record))

    @pytest.mark.parametrize(
        "tools",
        [
            [TOOL],
            json.dumps([TOOL]),
            json.dumps([FUNCTION]),
            json.dumps(TOOL),
            [json.dumps(FUNCTION)],
        ],
    )
    @pytest.mark.parametrize("field", ["tools", "functions"])
    def test_tools_are_declared(self, name, field, tools):
        row, record = SCHEMAS[name]
        parsed = read(row | {field: tools}, type(record))
        assert parsed == [with_prompt(record, [u()], tools=(TOOL,))]

    @pytest.mark.parametrize("tools", ["{", ["weather"], [{"name": 1}], 3, [{}]])
    def test_malformed_tools_are_refused(self, name, tools):
        row, record = SCHEMAS[name]
        with pytest.raises(MalformedRow, match=r"'tools(\[0\])?' (is|has)"):
            read(row | {"tools": tools}, type(record))

    @pytest.mark.parametrize("tools", ["[]", [], "", None])
    def test_empty_tools(self, name, tools):
        row, record = SCHEMAS[name]
        (parsed,) = read(row | {"tools": tools}, type(record))
        assert parsed.tools == ()

    def test_other_fields_are_kept(self, name):
        row, record = SCHEMAS[name]
        others = {"source": "web", "id": 7, "category": ["x"], "annotator": {"a": 1}}
        parsed = read(row | others, type(record))
        assert parsed == [with_prompt(record, [u()], fields=others)]

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("weight", 0.5),
            ("weight", 0),
            ("loss_weight", 2),
            ("sample_weight", -1),
            ("weight", NAN),
            ("weight", "heavy"),
            ("train", False),
            ("mask", [0, 1]),
            ("images", ["cat.png"]),
            ("image", "cat.png"),
            ("videos", ["cat.mp4"]),
            ("audio", {"bytes": "x"}),
            ("loss_mask", [1, 0]),
            ("chat_template_kwargs", {"enable_thinking": False}),
            ("enable_thinking", False),
            ("documents", [{"text": "x"}]),
        ],
    )
    def test_unsupported_fields_are_refused_by_name(self, name, field, value):
        row, record = SCHEMAS[name]
        with pytest.raises(MalformedRow, match=f"^field '{field}'"):
            read(row | {field: value}, type(record))

    @pytest.mark.parametrize(
        ("field", "value"),
        [("weight", 1), ("loss_weight", 1.0), ("weight", None), ("images", [])],
    )
    def test_neutral_values_are_kept(self, name, field, value):
        row, record = SCHEMAS[name]
        parsed = read(row | {field: value}, type(record))
        assert parsed == [with_prompt(record, [u()], fields={field: value})]

    @pytest.mark.parametrize("value", [NAN, INF, -INF, 10**400, 1e39])
    @pytest.mark.parametrize("field", ["score_chosen", "rating", "reward"])
    def test_invalid_numbers_are_refused(self, name, field, value):
        row, record = SCHEMAS[name]
        with pytest.raises(
            MalformedRow, match=f"'{field}' is .*; expected a finite number"
        ) as error:
            read(row | {field: value}, type(record))
        assert len(str(error.value)) < 100


def test_no_schema_gives_two_consecutive_answers():
    for row, record in SCHEMAS.values():
        for more in (CHAT, {"answer": "1"}, {"response": "a"}, {"prompt": [u(), a()]}):
            try:
                parsed = read(more | row, type(record))
            except (MalformedRow, UnusableRow):
                continue
            for one in parsed:
                messages = getattr(one, "messages", None) or [*one.prompt, a()]
                roles = [message["role"] for message in messages]
                pairs = zip(roles, roles[1:], strict=False)
                assert ("assistant", "assistant") not in pairs


def test_unsupported_fields_are_counted_by_name(tmp_path, jsonl):
    path = jsonl(
        tmp_path / "rows.jsonl",
        CHAT,
        CHAT | {"images": ["x"]},
        CHAT | {"images": ["y"]},
        {"messages": [u(), a(weight=0.5)]},
        {"messages": 3},
    )
    with pytest.raises(ValueError, match="rows.jsonl:2: field 'images' holds media"):
        readers.read(path, Demonstration)
    _, report = readers.read(path, Demonstration, skip_bad_rows=True)
    assert report.reasons == {
        "refused for 'images'": 2,
        "refused for 'weight'": 1,
        "malformed": 1,
    }
