"""What a row means: a table of rows, kinds, and the record or the sentence of refusal.

Each expectation is derived from the rule that a field which changes what is trained,
scored or sampled is honoured, or refused by its name, and that all others are kept.
"""

import json
from pathlib import Path

import pytest

from jaxalign.data import formats, layouts, splits
from jaxalign.data.dialogues import Odd
from jaxalign.data.fields import Malformed
from jaxalign.data.records import (
    Demonstration,
    Preference,
    Prompt,
    Ranking,
    Unpaired,
    prompts,
)

CASES = Path(__file__).resolve().parents[3] / "shared" / "cases" / "data"


def u(text="q"):
    return {"role": "user", "content": text}


def a(text="a", **more):
    return {"role": "assistant", "content": text, **more}


def s(text="S"):
    return {"role": "system", "content": text}


def tool(text="4 degrees", **more):
    return {"role": "tool", "content": text, **more}


def call(name="weather", arguments=None, **more):
    function = {"name": name, "arguments": arguments or {"town": "Oslo"}}
    return {**more, "type": "function", "function": function}


def sft(*messages, **more):
    return Demonstration(list(messages), "f:1", **more)


def pair(prompt, chosen="a", rejected="b", **more):
    return Preference(prompt, chosen, rejected, where="f:1", **more)


def asks(prompt, *references, **more):
    return Prompt(prompt, "f:1", references, **more)


def thumb(up, prompt=None, answer="a", **more):
    return Unpaired(prompt or [u()], answer, up, "f:1", **more)


def ranks(*answers, **more):
    return Ranking([u()], answers, "f:1", **more)


FUNCTION = {"name": "weather", "parameters": {"type": "object"}}
TOOL = {"type": "function", "function": FUNCTION}
TOOLS = {"tools": [TOOL]}
TALK = {"messages": [u(), a()]}
PAIR = {"prompt": "q", "chosen": "a", "rejected": "b"}
TREE = {
    "text": "q",
    "role": "prompter",
    "replies": [
        {"text": "b", "role": "assistant", "rank": 1},
        {"text": "a", "role": "assistant", "rank": 0},
    ],
}
UP = {"prompt": "q", "completion": "a", "label": True}
SHP = {"history": "q", "human_ref_A": "a", "human_ref_B": "b", "labels": 1}
ULTRA = {
    "instruction": "q",
    "completions": [
        {"response": "a", "overall_score": 2.0},
        {"response": "b", "overall_score": 1.0},
    ],
}
SCORES = {"completions": [{"overall_score": 2.0}, {"overall_score": 1.0}]}
NAN, INF = float("nan"), float("inf")

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


def read(row, kind):
    return list(layouts.records(json.loads(json.dumps(row)), kind, "f:1"))


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
        with pytest.raises(Malformed, match="'system' and 'system_prompt' differ"):
            read(row | {"system": "S", "system_prompt": "other"}, type(record))
        with pytest.raises(Malformed, match="'system' should be text"):
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
        with pytest.raises(Malformed, match=r"'tools(\[0\])?' should be"):
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
        with pytest.raises(Malformed, match=f"^field '{field}'"):
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
        with pytest.raises(Malformed, match=f"'{field}' should be a number") as error:
            read(row | {field: value}, type(record))
        assert len(str(error.value)) < 100


def named(value):
    """The first of a case's values names it."""
    return value.replace(" ", "-") if isinstance(value, str) else ""


def message_cases():
    """(message of the assistant, what it becomes)."""
    null = {"content": None}
    listed = [{"function": {"name": "weather", "arguments": '{"town": "Oslo"}'}}]
    old = {"name": "weather", "arguments": '{"town": "Oslo"}'}
    yield "content", a(), a()
    for name in ("reasoning_content", "reasoning", "thinking", "thought"):
        yield name, a(**{name: "hm"}), a(reasoning_content="hm")
        yield f"{name} null", a(**{name: None}), a()
        yield f"{name} empty", a(**{name: ""}), a()
    yield (
        "one thought twice",
        a(reasoning="hm", thinking="hm"),
        a(reasoning_content="hm"),
    )
    yield (
        "thought in parts",
        a([{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "a"}]),
        a(reasoning_content="hm"),
    )
    yield (
        "thought in LLaMA-Factory's parts",
        a([{"type": "reasoning", "value": "hm"}, {"type": "text", "value": "a"}]),
        a(reasoning_content="hm"),
    )
    yield "call", a(tool_calls=[call()]) | null, a("", tool_calls=[call()])
    yield "call and text", a(tool_calls=[call()]), a(tool_calls=[call()])
    yield "arguments as JSON", a(tool_calls=listed) | null, a("", tool_calls=[call()])
    yield (
        "calls as JSON",
        a(tool_calls=json.dumps(listed)) | null,
        a("", tool_calls=[call()]),
    )
    yield (
        "arguments that are no object",
        a(tool_calls=[call(arguments="Oslo")]),
        a(tool_calls=[call(arguments="Oslo")]),
    )
    yield (
        "an id",
        a(tool_calls=[call(id="c1")]),
        a(tool_calls=[call(id="c1")]),
    )
    yield "function_call", a(function_call=old) | null, a("", tool_calls=[call()])
    yield (
        "both forms of one call",
        a(function_call=old, tool_calls=listed) | null,
        a("", tool_calls=[call()]),
    )
    yield (
        "a role of its own",
        {"from": "function_call", "value": json.dumps(call()["function"])},
        a("", tool_calls=[call()]),
    )
    yield (
        "two calls in one",
        {"from": "tool_call", "value": json.dumps([old, old])},
        a("", tool_calls=[call(), call()]),
    )
    yield "no calls", a(tool_calls=[], function_call=None), a()
    for name in ("weight", "loss_weight", "train", "mask", "loss"):
        for no in (0, 0.0, False):
            yield f"{name} {no}", a(**{name: no}), a(train=False)
        for yes in (1, 1.0, True, None):
            yield f"{name} {yes}", a(**{name: yes}), a()
    for role in ("gpt", "model", "bot", "chatgpt", "Assistant", "MODEL"):
        yield role, {"role": role, "content": "a"}, a()


def refused_messages():
    """(message of the assistant, sentence)."""
    yield "two thoughts", a(reasoning="x", thinking="y"), "'reasoning' and 'thinking'"
    yield "a thought that is none", a(thinking=["x"]), "'thinking' should be text"
    for name in ("weight", "loss_weight", "train", "mask", "loss"):
        for value in (0.5, -1, 2, [0, 1], "high", NAN, 10**400):
            yield f"{name} {str(value)[:5]}", a(**{name: value}), f"'{name}' should be"
    yield "weights that differ", a(weight=0, train=True), "'weight' and 'train' differ"
    yield "null", a() | {"content": None}, "content should be text, not null"
    yield (
        "null beside a thought",
        a(reasoning_content="x") | {"content": None},
        "content should be text, not null",
    )
    yield "a call without a name", a(tool_calls=[{"arguments": {}}]), "a 'name'"
    yield "a call of text", a(tool_calls="weather"), "'tool_calls' should be JSON"
    yield (
        "two calls that differ",
        a(tool_calls=[call()], function_call={"name": "time"}),
        "'tool_calls' and 'function_call' differ",
    )
    yield "a call in words", {"from": "function_call", "value": "hm"}, "should be JSON"
    yield "an image", a([{"type": "image_url", "image_url": "x"}]), "'image_url'"
    yield "an image's text", a([{"type": "image", "value": "x"}]), "type 'image'"
    yield "images", a(images=["x"]), "'images' cannot be read"
    yield "audio", a(audio={"id": "x"}), "'audio' cannot be read"
    yield "a mask of tokens", a(loss_mask=[1]), "'loss_mask'"
    yield "a training detail", a(train_detail=[{"begin_offset": 0}]), "'train_detail'"
    yield "a refusal", a(refusal="no") | {"content": None}, "'refusal'"
    yield "tools in a message", a(tools=[TOOL]), "'tools' of a message"
    yield "an unknown role", {"role": "narrator", "content": "x"}, "role 'narrator'"


@pytest.mark.parametrize(
    ("name", "message", "wanted"), list(message_cases()), ids=named
)
def test_a_message_of_the_assistant(name, message, wanted):
    """As the last message, an earlier one, a completion and an answer."""
    assert read({"messages": [u(), message]}, Demonstration) == [sft(u(), wanted)]
    earlier = {"conversations": [u(), message, u("r"), a("b")]}
    assert read(earlier, Demonstration) == [sft(u(), wanted, u("r"), a("b"))]
    assert read({"prompt": [u()], "completion": [message]}, Demonstration) == [
        sft(u(), wanted)
    ]
    answer = wanted["content"] if wanted == a(wanted["content"]) else wanted
    row = {"prompt": [u()], "chosen": [message], "rejected": [a("b")]}
    ranked = {"prompt": "q", "answers": [message, "b"]}
    if "train" in wanted:
        with pytest.raises(Malformed, match="'chosen' compares an answer that is not"):
            read(row, Preference)
        with pytest.raises(Malformed, match="compares an answer that is not"):
            read(ranked, Ranking)
        with pytest.raises(Malformed, match="'label' compares an answer that is not"):
            read({"messages": [u(), message], "label": True}, Unpaired)
        return
    assert read(row, Preference) == [pair([u()], answer, "b")]
    assert read(ranked, Ranking) == [ranks(answer, "b")]
    assert read({"messages": [u(), message], "label": False}, Unpaired) == [
        thumb(False, answer=answer)
    ]


@pytest.mark.parametrize(
    ("name", "message", "sentence"), list(refused_messages()), ids=named
)
def test_a_message_that_is_refused(name, message, sentence):
    for row, kind in (
        ({"messages": [u(), message]}, Demonstration),
        ({"messages": [u(), message, u("r"), a("b")]}, Prompt),
        ({"prompt": [u()], "chosen": [message], "rejected": [a("b")]}, Preference),
        ({"prompt": "q", "answers": [message, "b"]}, Ranking),
    ):
        with pytest.raises(Malformed, match=sentence):
            read(row, kind)


OTHER_ROLES = {
    **{
        role: ({"role": role, "content": "4 degrees"}, tool())
        for role in ("tool", "function", "observation", "ipython", "tool_response")
    },
    "id and name": (
        {"role": "tool", "content": "4", "tool_call_id": "c1", "name": "weather"},
        tool("4", tool_call_id="c1", name="weather"),
    ),
    "an object": (tool({"t": 4}), tool('{"t": 4}')),
}


@pytest.mark.parametrize("name", OTHER_ROLES)
def test_a_result_of_a_tool(name):
    message, wanted = OTHER_ROLES[name]
    before = [u(), a("", tool_calls=[call()])]
    row = {"messages": [*before, message, a()]}
    assert read(row, Demonstration) == [sft(*before, wanted, a())]
    assert read(row, Prompt) == [asks([*before, wanted], "a")]
    alone = {"messages": [u(), message, a()]}
    with pytest.raises(Malformed, match="message 1: is of role 'tool', a result that"):
        read(alone, Demonstration)
    with pytest.raises(Malformed, match="message 0: is of role 'tool'"):
        read({"messages": [message, a()]}, Demonstration)


ROWS = [
    # system prompts: the row's own conversation first, the column else
    (TALK | {"system": "S"}, Demonstration, sft(s(), u(), a())),
    ({"messages": [s(), u(), a()], "system": "S"}, Demonstration, sft(s(), u(), a())),
    ({"messages": [s(), u(), a()], "system": "T"}, Demonstration, "'system' and the"),
    ({"messages": [s(), u(), a()], "system_prompt": "T"}, Prompt, "'system_prompt'"),
    (
        {"chosen": [s(), u(), a()], "rejected": [s(), u(), a("b")], "system": "T"},
        Preference,
        "'system' and the",
    ),
    (PAIR | {"system": s()}, Preference, pair([s(), u()])),
    # two prompts of one row
    (
        {"messages": [s(), u(), a()], "prompt": [s("T"), u()]},
        Demonstration,
        "'prompt' and the conversation have two system prompts",
    ),
    (
        {"messages": [{"role": "developer", "content": "S"}, u(), a()]},
        Demonstration,
        sft({"role": "developer", "content": "S"}, u(), a()),
    ),
    (
        {"messages": [{"role": "developer", "content": "S"}, u(), a()], "system": "T"},
        Demonstration,
        "'system' and the conversation",
    ),
    # thoughts beside a single answer
    (
        {"prompt": "q", "completion": "a", "reasoning_content": "hm"},
        Demonstration,
        sft(u(), a(reasoning_content="hm")),
    ),
    (
        {"question": "q", "answer": "a", "reasoning": "hm"},
        Demonstration,
        sft(u(), a(reasoning_content="hm")),
    ),
    (
        {"instruction": "q", "output": "a", "thinking": "hm"},
        Demonstration,
        sft(u(), a(reasoning_content="hm")),
    ),
    (TALK | {"thought": "hm"}, Demonstration, sft(u(), a(reasoning_content="hm"))),
    (
        UP | {"reasoning": "hm"},
        Unpaired,
        thumb(True, answer=a(reasoning_content="hm")),
    ),
    (
        {"question": "q", "answer": "a", "reasoning": "x", "thinking": "y"},
        Demonstration,
        "'reasoning' and 'thinking' differ",
    ),
    (
        {"messages": [u(), a(thinking="x")], "reasoning": "y"},
        Demonstration,
        "'reasoning' and the answer's own thought differ",
    ),
    (
        {"messages": [u(), a("<think>hm</think>a")], "reasoning": "hm"},
        Demonstration,
        sft(u(), a("<think>hm</think>a")),
    ),
    (
        {"question": "q", "answer": "a", "reasoning": "on"},
        Demonstration,
        sft(u(), a(), fields={"reasoning": "on"}),
    ),
    (PAIR | {"reasoning_content": "hm"}, Preference, "'reasoning_content' beside a"),
    (
        {"prompt": "q", "answers": ["a", "b"], "reasoning": "hm"},
        Ranking,
        "'reasoning' beside a ranking",
    ),
    (
        {
            "prompt": [u()],
            "chosen": [a(reasoning_content="x")],
            "rejected": [a(reasoning="y")],
        },
        Preference,
        pair([u()], a(reasoning_content="x"), a(reasoning_content="y")),
    ),
    # who is trained
    (
        {"messages": [u() | {"weight": 0}, a(weight=1)]},
        Demonstration,
        sft(u(), a()),
    ),
    ({"messages": [u() | {"train": True}, a()]}, Demonstration, "'train' is 1, but"),
    ({"messages": [s() | {"weight": 1}, u(), a()]}, Demonstration, "'weight' is 1, b"),
    ({"messages": [u() | {"thinking": "x"}, a()]}, Demonstration, "not the assistant"),
    ({"messages": [u() | {"tool_calls": [call()]}, a()]}, Prompt, "not the assistant"),
    # which field answers
    (TALK | {"answer": "1"}, Demonstration, sft(u(), a(), fields={"answer": "1"})),
    (TALK | {"response": "1"}, Demonstration, sft(u(), a(), fields={"response": "1"})),
    (TALK | {"output": "1"}, Prompt, asks([u()], "1")),
    (
        TALK | {"answer": "1", "reference": "2"},
        Prompt,
        asks([u()], "2", fields={"answer": "1"}),
    ),
    ({"messages": [u()], "answer": "a"}, Demonstration, sft(u(), a())),
    (TALK | {"prompt": "q"}, Demonstration, sft(u(), a())),
    (TALK | {"prompt": " Q "}, Prompt, asks([u()], "a")),
    (
        {"messages": [u("Think: q"), a()], "prompt": "q"},
        Prompt,
        asks([u("Think: q")], "a"),
    ),
    (TALK | {"prompt": "another"}, Demonstration, "'prompt' and 'messages' do not fit"),
    (TALK | {"question": "another"}, Demonstration, "'question' and 'messages' do not"),
    ({"messages": [a()], "prompt": "q"}, Demonstration, sft(u(), a())),
    (TALK | {"prompt": [s()]}, Demonstration, sft(s(), u(), a())),
    ({"messages": [a()]}, Demonstration, "'completion' .* is missing"),
    (
        {"prompt": [u(), a("x")], "completion": "a"},
        Demonstration,
        "'prompt' and 'completion' do not fit",
    ),
    ({"prompt": [u(), a()], "completion": "a"}, Demonstration, sft(u(), a())),
    (
        {"prompt": "q", "completion": [a("", tool_calls=[call()]), tool(), a()]},
        Demonstration,
        sft(u(), a("", tool_calls=[call()]), tool(), a()),
    ),
    (
        {"question": "q", "answer": "1", "response": "one"},
        Demonstration,
        "'answer' and 'response' answer and differ",
    ),
    (
        {"prompt": "q", "instruction": "i", "output": "a"},
        Demonstration,
        "'prompt' and 'instruction' both ask",
    ),
    (
        {"prompt": "Solve: q", "question": "q", "answer": "a"},
        Demonstration,
        sft(u("Solve: q"), a()),
    ),
    (
        {"instruction": "i", "context": "c", "response": "a"},
        Demonstration,
        sft(u("i\nc"), a()),
    ),
    ({"prompt": "q", "context": "c", "completion": "a"}, Demonstration, "'context'"),
    (
        {"prompt": "q", "completion": "a", "history": [["h", "r"]]},
        Demonstration,
        sft(u("h"), a("r"), u(), a()),
    ),
    (TALK | {"history": [["h", "r"]]}, Demonstration, "'history' beside 'messages'"),
    (
        {"messages": json.dumps([u(), a()])},
        Demonstration,
        sft(u(), a()),
    ),
    ({"messages": "q", "completion": "a"}, Demonstration, "'messages' should be JSON"),
    (
        {"chosen": [a("x")], "rejected": [a("y")], "messages": [u("h"), a("g"), u()]},
        Preference,
        pair([u("h"), a("g"), u()], "x", "y"),
    ),
    (
        PAIR | TALK,
        Preference,
        pair([u()]),
    ),
    (
        {"chosen": "x", "rejected": "y"} | TALK,
        Preference,
        "'messages' ends with an answer that is neither",
    ),
    (
        {"chosen": [u(), a()], "rejected": [u(), a("b")], "messages": [u(), a()]},
        Demonstration,
        sft(u(), a()),
    ),
    # a prompt beside an answer of several turns
    (
        {"prompt": "q", "chosen": [u(), a()], "rejected": [u(), a("b")]},
        Preference,
        pair([u()]),
    ),
    (
        {"prompt": "q", "chosen": [s(), u(), a()], "rejected": [s(), u(), a("b")]},
        Preference,
        pair([s(), u()]),
    ),
    (
        {
            "prompt": [u("1"), a("2"), u("3")],
            "chosen": [u("3"), a("4"), u("5"), a()],
            "rejected": [u("3"), a("4"), u("5"), a("b")],
        },
        Preference,
        pair([u("1"), a("2"), u("3"), a("4"), u("5")]),
    ),
    (
        {"prompt": "other", "chosen": [u(), a()], "rejected": [u(), a("b")]},
        Preference,
        "'prompt' and 'chosen' do not fit",
    ),
    (
        {"prompt": [u(), a("x")], "chosen": [a()], "rejected": [a("b")]},
        Preference,
        "'prompt' and 'chosen' do not fit",
    ),
    (
        {"prompt": [u(), a("x")], "chosen": [u(), a()], "rejected": [u(), a("b")]},
        Preference,
        "'prompt' and 'chosen' do not fit",
    ),
    (
        {"prompt": [u()], "chosen": [a("1"), u("2"), a()], "rejected": [a("b")]},
        Preference,
        "'chosen' and 'rejected' differ before",
    ),
    ({"prompt": "q", "chosen": [u()], "rejected": [u("b")]}, Preference, "do not fit"),
    (
        {"prompt": [s()], "chosen": [u(), a()], "rejected": [u(), a("b")]},
        Prompt,
        asks([s(), u()], "a"),
    ),
    # labels
    (UP | {"label": False}, Demonstration, Odd),
    (UP | {"label": 0}, Demonstration, Odd),
    (UP | {"label": "False"}, Demonstration, Odd),
    ({"messages": [u(), a()], "kto_tag": 0.0}, Demonstration, Odd),
    ({"question": "q", "answer": "a", "desirable": "0"}, Demonstration, Odd),
    (UP | {"label": "true"}, Demonstration, sft(u(), a())),
    (UP | {"label": "yes"}, Demonstration, "'label' should be true or false"),
    (UP | {"label": None}, Unpaired, "'label' should be true or false, not None"),
    (UP | {"label": NAN}, Unpaired, "'label' should be a number"),
    (UP | {"label": 2}, Demonstration, "'label' should be true or false, not 2"),
    (UP | {"kto_tag": False}, Unpaired, "'label' and 'kto_tag' differ"),
    (UP | {"label": "FALSE"}, Unpaired, thumb(False)),
    (UP | {"label": 1.0}, Unpaired, thumb(True)),
    (UP | {"label": False}, Prompt, asks([u()])),
    ({"messages": [u(), a()], "label": False}, Prompt, asks([u()])),
    ({"prompt": "q", "label": "safe"}, Prompt, asks([u()], fields={"label": "safe"})),
    # plain text
    ({"text": "t", "id": 1}, Demonstration, sft(a("t"), plain=True, fields={"id": 1})),
    ({"text": "t", "label": False}, Demonstration, Odd),
    ({"text": " "}, Demonstration, "'text' is empty"),
    ({"text": ["t"]}, Demonstration, "'text' should be text, not a list"),
    ({"text": "t", "system": "S"}, Demonstration, "'system' cannot be honoured beside"),
    ({"text": "t"} | TOOLS, Demonstration, "'tools' cannot be honoured beside"),
    ({"text": "t"}, Prompt, "'text' alone is plain text"),
    ({"text": "t"}, Preference, "'text' alone is plain text"),
    ({"text": "t"}, Ranking, "'text' alone is plain text"),
    ({"text": "t", "label": True}, Unpaired, "'text' alone is plain text"),
    (
        {"instruction": "q", "output": "a", "text": "q a"},
        Demonstration,
        sft(u(), a(), fields={"text": "q a"}),
    ),
    # numbers
    (PAIR | {"margin": NAN}, Preference, "'margin' should be a number"),
    (PAIR | {"margin": True}, Preference, "'margin' should be a number, not True"),
    (PAIR | {"margin": "3"}, Preference, "'margin' should be a number"),
    (PAIR | {"margin": 10**400}, Preference, "'margin' should be a number, not 1000"),
    (PAIR | {"margin": 1e39}, Preference, "'margin' should be a number"),
    (PAIR | {"margin": 2}, Preference, pair([u()], margin=2.0)),
    (SHP | {"labels": NAN}, Preference, "'labels' should be a number"),
    (SHP | {"labels": True}, Preference, "'labels' should be a number"),
    (SHP | {"labels": 7}, Preference, "'labels' should be 0 or 1"),
    (
        {"prompt": TREE | {"replies": [r | {"rank": NAN} for r in TREE["replies"]]}},
        Ranking,
        "'rank' should be a number",
    ),
    (
        {"prompt": "q", "answers": ["b", "a"], "scores": [1, 2]},
        Ranking,
        ranks("a", "b"),
    ),
    ({"prompt": "q", "answers": ["a", "b"], "ranks": [0, 1]}, Ranking, ranks("a", "b")),
    ({"prompt": "q", "answers": ["a", "b"], "scores": [1]}, Ranking, "'scores' should"),
    ({"prompt": "q", "answers": ["a", "b"], "scores": [1, 1]}, Ranking, Odd),
    (
        {"prompt": "q", "answers": ["a", "b"], "scores": [1, True]},
        Ranking,
        r"'scores\[1\]' should be a number",
    ),
]


@pytest.mark.parametrize(("row", "kind", "wanted"), ROWS)
def test_a_row(row, kind, wanted):
    if isinstance(wanted, kind):
        assert read(row, kind) == [wanted]
        return
    odd = wanted is Odd
    with pytest.raises(Odd if odd else Malformed, match=None if odd else wanted):
        read(row, kind)


PIRATE = "Speak like a pirate."
ARR = sft(s(PIRATE), u("Name colour 0"), a("Arr, blue 0"))
ARR_OR_BLUE = pair([s(PIRATE), u("Name colour 0")], "Arr, blue 0", "Blue 0")
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "weather of a town",
        "parameters": {"type": "object", "properties": {"town": {"type": "string"}}},
    },
}
BAD = a("BAD ANSWER", train=False)
AGAIN = sft(u("q0"), BAD, u("again"), a("good answer"))
TWO_TURNS = [s("Be kind."), u("FIRST QUESTION 0"), a("a first"), u("second question")]
# file: its rows, and the record of the first of them, or the sentence that refuses it
FILES = {
    "loss_weight_zero": (12, AGAIN),
    "weight_zero": (12, AGAIN),
    "train_false": (12, AGAIN),
    "long_prompts": (40, sft(u("word word word 0"), a("c"))),
    "messages_and_answer": (
        12,
        sft(
            u("What is 0 + 1?"),
            a("<think>\none more\n</think>\n\nIt is 1."),
            fields={
                "problem": "What is 0 + 1?",
                "solution": "Add one: 1.",
                "answer": "1",
            },
        ),
    ),
    "messages_and_answer, prompts": (
        12,
        asks(
            [u("What is 0 + 1?")],
            "1",
            fields={"problem": "What is 0 + 1?", "solution": "Add one: 1."},
        ),
    ),
    "mix_a": (1000, sft(u("a0"), a("from a"))),
    "mix_b": (100, sft(u("b0"), a("from b"))),
    "mix_pa": (1000, pair([u("a0")], "from a", "x")),
    "mix_pb": (100, pair([u("b0")], "from b", "x")),
    "prompt_and_messages": (
        12,
        sft(u("Hello 0"), a("Hi"), u("Bye"), a("Bye bye"), fields={"prompt_id": "x"}),
    ),
    "prompt_and_multi_turn_pair": (12, pair(TWO_TURNS, "kind", "rude")),
    "prompt_and_multi_turn_pair, sft": (12, sft(*TWO_TURNS, a("kind"))),
    "prompt_and_multi_turn_pair, prompts": (12, asks(TWO_TURNS, "kind")),
    "prompt_and_multi_turn_pair_differs": (
        Preference,
        "'chosen' and 'rejected' differ before their last message",
    ),
    "reasoning_content": (
        12,
        sft(u("0 + 0?"), a("0", reasoning_content="0 and 0 make 0.")),
    ),
    "reasoning_content_pairs": (
        12,
        pair(
            [u("0 + 0?")],
            a("0", reasoning_content="0 and 0 make 0."),
            a("0", reasoning_content="No idea."),
        ),
    ),
    "roles_developer": (
        12,
        sft({"role": "developer", "content": "Be brief."}, u("hello 0"), a("hi")),
    ),
    "roles_gemma": (12, sft(u("hello 0"), a("hi"))),
    "system_alpaca": (12, ARR),
    "system_messages": (12, ARR),
    "system_prompt_completion": (12, ARR),
    "system_question_answer": (12, ARR),
    "system_sharegpt": (12, ARR),
    "system_pairs_chosen_lists": (12, ARR_OR_BLUE),
    "system_pairs_prompt": (12, ARR_OR_BLUE),
    "system_pairs_question": (12, ARR_OR_BLUE),
    "system_prompt_and_chosen": (12, pair([s("Be kind."), u("Q 0")], "kind", "rude")),
    "text_only": (12, sft(a("line 0 of plain text"), plain=True)),
    "text_only, pairs": (Preference, "'text' alone is plain text"),
    "think_text": (
        12,
        sft(u("0 + 0?"), a("<think>double</think><answer>0</answer>")),
    ),
    "thumbs": (40, thumb(False, [u("p0")], "c0 bad")),
    "thumbs, sft": (20, sft(u("p1"), a("c1 good"))),
    "tool_call_null_content": (
        12,
        sft(
            u("Weather in Oslo? 0"),
            a("", tool_calls=[call()]),
            tool(name="weather"),
            a("It is 4 degrees."),
            tools=(WEATHER,),
        ),
    ),
    "tools_column": (
        12,
        sft(
            u("Which tools have you? 0"),
            a("I can look up the weather."),
            tools=(WEATHER,),
        ),
    ),
    "tools_column_pairs": (
        12,
        pair([u("Which tools have you? 0")], "The weather.", "None.", tools=(WEATHER,)),
    ),
    "bom_crlf_blank_dup": (Preference, "'chosen' .* is missing"),
}


@pytest.mark.parametrize("name", FILES)
def test_the_files_of_rows_whose_meaning_was_lost(name):
    path = CASES / f"{name.partition(',')[0]}.jsonl"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    first, second = FILES[name]
    if isinstance(second, str):
        with pytest.raises(ValueError, match=f"{path.name}:[0-9]+: field.* {second}"):
            formats.read(path, first)
        return
    found, report = formats.read(path, type(second))
    wanted = {**vars(second), "where": found[0].where}
    assert found[0] == type(second)(**wanted)
    assert len(found) == first
    if name == "thumbs, sft":
        assert str(report) == "20 of 40 rows (20 with an answer labelled false)"
        assert [r.messages[-1]["content"][-4:] for r in found] == ["good"] * 20


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
        formats.read(path, Demonstration)
    _, report = formats.read(path, Demonstration, skip_bad_rows=True)
    assert report.reasons == {
        "refused for 'images'": 2,
        "refused for 'weight'": 1,
        "malformed": 1,
    }


def test_prompts_that_differ_in_tools_or_calls_are_two():
    one, two = sft(u(), a()), sft(u(), a("b"), tools=(TOOL,), fields={"id": 1})
    asked = [u(), a("", tool_calls=[call()]), tool()]
    other = [u(), a("", tool_calls=[call("time")]), tool()]
    calls = [sft(*asked, a()), sft(*other, a()), sft(*asked, a("b"))]
    found = prompts([one, two, one, *calls])
    assert found == [
        asks([u()], "a", "a"),
        asks([u()], "b", tools=(TOOL,), fields={"id": 1}),
        asks(asked, "a", "b"),
        asks(other, "a"),
    ]
    assert splits.unique_prompts(found + found) == [
        asks([u()], "a"),
        *found[1:],
    ]
    # all of them on one side of the split, whatever their tools and what is trained
    assert len(set(splits.prompt_hashes([*found, one, two, *calls]))) == 1
    masked = sft(u(), a("x", train=False), u("r"), a())
    trained = sft(u(), a("x"), u("r"), a("b"))
    (both,) = prompts([masked, trained])
    assert both.references == ("a", "b")


def test_plain_texts_are_split_by_themselves():
    hashes = splits.prompt_hashes([sft(a(t), plain=True) for t in ("x", "y", "x")])
    assert hashes[0] == hashes[2] != hashes[1]
    with pytest.raises(ValueError, match="f:1: a plain text has no prompt"):
        prompts([sft(a("x"), plain=True)])


def test_what_follows_from_a_record_has_its_tools_and_fields():
    more = {"tools": (TOOL,), "fields": {"id": 1}}
    thought = a(reasoning_content="hm")
    ranking = ranks(thought, "b", "c", **more)
    first, second, third = formats.pairs([ranking])
    assert first == pair([u()], thought, "b", **more)
    assert (second.rejected, third.chosen) == ("c", "b")
    assert formats.demonstrations([first]) == [sft(u(), thought, **more)]
    assert formats.unpaired([first]) == [
        thumb(True, answer=thought, **more),
        thumb(False, answer="b", **more),
    ]
    row = {"prompt": "q", "answers": [thought, "b", "c"], "id": 1} | TOOLS
    assert read(row, Ranking) == [ranking]
    assert read(row, Preference) == [first, second, third]
    assert read(row, Demonstration) == [sft(u(), thought, **more)]
    assert read(row, Prompt) == [asks([u()], "a", **more)]
    assert read(row, Unpaired) == [
        thumb(True, answer=thought, **more),
        thumb(False, answer="c", **more),
    ]


def test_no_layout_puts_two_answers_in_a_row():
    for row, record in LAYOUTS.values():
        for more in (TALK, {"answer": "1"}, {"response": "a"}, {"prompt": [u(), a()]}):
            try:
                found = read(more | row, type(record))
            except (Malformed, Odd):
                continue
            for one in found:
                messages = getattr(one, "messages", None) or [*one.prompt, a()]
                roles = [message["role"] for message in messages]
                pairs = zip(roles, roles[1:], strict=False)
                assert ("assistant", "assistant") not in pairs


def test_ratings_of_one_answer_alone_are_counted(tmp_path, jsonl):
    def rated(prompt, response, helpfulness, **more):
        return {
            "prompt": prompt,
            "response": response,
            "helpfulness": helpfulness,
            **more,
        }

    path = jsonl(
        tmp_path / "rows.jsonl",
        rated("q", "b", 1, verbosity=1, source="x"),
        rated("q", "a", 4, verbosity=2, source="x"),
        rated("r", "alone", 4),
    )
    found, report = formats.read(path, Preference)
    others = {"helpfulness": [1, 4], "verbosity": [1, 2], "source": "x"}
    assert found == [Preference([u()], "a", "b", 0.0, f"{path}:1", fields=others)]
    assert str(report) == "1 of 2 rows (1 rated without a second answer)"


def test_a_deep_tree_is_read():
    node = {"text": "t", "role": "assistant"}
    for depth in range(3000):
        role = ("prompter", "assistant")[depth % 2]
        node = {"text": "t", "role": role, "replies": [node]}
    assert list(layouts.records({"prompt": node}, Ranking, "f:1")) == []
