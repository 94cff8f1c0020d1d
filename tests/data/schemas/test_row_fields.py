"""What a whole row says (system prompt, tools, fields, weights) in every layout."""

import json

import pytest

from jaxalign.data import readers
from jaxalign.data.records import Demonstration, Prompt
from jaxalign.data.row_errors import MalformedRow, UnusableRow
from tests.data.rows import (
    FUNCTION,
    INF,
    NAN,
    PAIR,
    SCORES,
    SHP,
    TALK,
    TOOL,
    TREE,
    ULTRA,
    UP,
    a,
    asks,
    pair,
    ranks,
    read,
    s,
    sft,
    thumb,
    u,
)

# one row of each layout, the kind it is read as, and its record without a system prompt
LAYOUTS = {
    "prompt completion": ({"prompt": "q", "completion": "a"}, sft(u(), a())),
    "messages": (TALK, sft(u(), a())),
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
    "answers": ({"prompt": "q", "answers": ["a", "b"]}, ranks("a", "b")),
    "tree": ({"prompt": TREE}, ranks("a", "b")),
    "pairs of answers": ({"prompt": "q", "answers": ["a", "b"]}, pair([u()])),
    "unpaired": (UP, thumb(True)),
    "rl prompt": ({"prompt": "q"}, asks([u()])),
    "rl messages": (TALK, asks([u()], "a")),
    "rl pair": (PAIR, asks([u()], "a")),
    "rl answers": ({"prompt": "q", "answers": ["a", "b"]}, asks([u()], "a")),
    "shp": (SHP, pair([u()])),
    "ultrafeedback": (ULTRA, ranks("a", "b", fields=SCORES)),
}


def with_prompt(record, prompt, **more):
    """A record with another prompt, and what else its row says."""
    changed = dict(vars(record))
    if isinstance(record, Demonstration):
        changed["messages"] = [*prompt, record.messages[-1]]
    else:
        name = "messages" if isinstance(record, Prompt) else "prompt"
        changed[name] = prompt
    more["fields"] = {**record.fields, **more.get("fields", {})}
    return type(record)(**(changed | more))


@pytest.mark.parametrize("name", LAYOUTS)
class TestWholeRows:
    """What a row says beside its messages holds in every layout and kind."""

    def test_its_record(self, name):
        row, record = LAYOUTS[name]
        assert read(row, type(record)) == [record]

    @pytest.mark.parametrize(
        "field", ["system", "system_prompt", "system_message", "system_instruction"]
    )
    def test_a_system_column_begins_the_conversation(self, name, field):
        row, record = LAYOUTS[name]
        found = read(row | {field: "S"}, type(record))
        assert found == [with_prompt(record, [s(), u()])]
        assert read(row | {field: ""}, type(record)) == [record]
        assert read(row | {field: None}, type(record)) == [record]
        assert read(row | {field: "S", "system": "S"}, type(record)) == found

    def test_two_system_prompts_that_differ_are_refused(self, name):
        row, record = LAYOUTS[name]
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
        row, record = LAYOUTS[name]
        found = read(row | {field: tools}, type(record))
        assert found == [with_prompt(record, [u()], tools=(TOOL,))]

    @pytest.mark.parametrize("tools", ["{", ["weather"], [{"name": 1}], 3, [{}]])
    def test_what_is_no_tool_is_refused(self, name, tools):
        row, record = LAYOUTS[name]
        with pytest.raises(MalformedRow, match=r"'tools(\[0\])?' (is|has)"):
            read(row | {"tools": tools}, type(record))

    @pytest.mark.parametrize("tools", ["[]", [], "", None])
    def test_no_tools(self, name, tools):
        row, record = LAYOUTS[name]
        (found,) = read(row | {"tools": tools}, type(record))
        assert found.tools == ()

    def test_other_fields_are_kept(self, name):
        row, record = LAYOUTS[name]
        others = {"source": "web", "id": 7, "category": ["x"], "annotator": {"a": 1}}
        found = read(row | others, type(record))
        assert found == [with_prompt(record, [u()], fields=others)]

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
    def test_what_cannot_be_honoured_is_refused_by_name(self, name, field, value):
        row, record = LAYOUTS[name]
        with pytest.raises(MalformedRow, match=f"^field '{field}'"):
            read(row | {field: value}, type(record))

    @pytest.mark.parametrize(
        ("field", "value"),
        [("weight", 1), ("loss_weight", 1.0), ("weight", None), ("images", [])],
    )
    def test_what_changes_nothing_is_read(self, name, field, value):
        row, record = LAYOUTS[name]
        found = read(row | {field: value}, type(record))
        assert found == [with_prompt(record, [u()], fields={field: value})]

    @pytest.mark.parametrize("value", [NAN, INF, -INF, 10**400, 1e39])
    @pytest.mark.parametrize("field", ["score_chosen", "rating", "reward"])
    def test_absurd_numbers_are_refused(self, name, field, value):
        row, record = LAYOUTS[name]
        with pytest.raises(
            MalformedRow, match=f"'{field}' is .*; expected a finite number"
        ) as error:
            read(row | {field: value}, type(record))
        assert len(str(error.value)) < 100


def test_no_layout_puts_two_answers_in_a_row():
    for row, record in LAYOUTS.values():
        for more in (TALK, {"answer": "1"}, {"response": "a"}, {"prompt": [u(), a()]}):
            try:
                found = read(more | row, type(record))
            except (MalformedRow, UnusableRow):
                continue
            for one in found:
                messages = getattr(one, "messages", None) or [*one.prompt, a()]
                roles = [message["role"] for message in messages]
                pairs = zip(roles, roles[1:], strict=False)
                assert ("assistant", "assistant") not in pairs


def test_what_is_refused_is_counted_by_its_field(tmp_path, jsonl):
    path = jsonl(
        tmp_path / "rows.jsonl",
        TALK,
        TALK | {"images": ["x"]},
        TALK | {"images": ["y"]},
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
