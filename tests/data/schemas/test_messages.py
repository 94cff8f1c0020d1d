"""Messages: reasoning, tool calls and results, loss masks, content in parts."""

import json

import pytest

from jaxalign.data.records import Demonstration, Preference, Prompt, Ranking, Unpaired
from jaxalign.data.row_errors import MalformedRow
from tests.data.rows import (
    NAN,
    TOOL,
    a,
    call,
    labeled,
    pair,
    ranking_record,
    read,
    rl_prompt,
    sft,
    tool,
    u,
)


def case_id(value):
    """Test id of a case: the first of its values."""
    return value.replace(" ", "-") if isinstance(value, str) else ""


def message_cases():
    """(name, message of the assistant, parsed message)."""
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
        "no arguments",
        a(tool_calls=[{"name": "f", "arguments": ""}]),
        a(
            tool_calls=[
                {"type": "function", "function": {"name": "f", "arguments": {}}}
            ]
        ),
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
    yield "why it ended", a(finish_reason="stop", constraints=["short"]), a()
    yield "nulls", a(is_masked=None, reasoning_trace="", tools=[]), a()
    for name in ("weight", "loss_weight", "train", "training", "mask", "loss"):
        for no in (0, 0.0, False):
            yield f"{name} {no}", a(**{name: no}), a(train=False)
        for yes in (1, 1.0, True, None):
            yield f"{name} {yes}", a(**{name: yes}), a()
    for role in ("gpt", "model", "bot", "chatgpt", "Assistant", "MODEL"):
        yield role, {"role": role, "content": "a"}, a()


def refused_messages():
    """(name, message of the assistant, error message)."""
    yield "two thoughts", a(reasoning="x", thinking="y"), "'reasoning' and 'thinking'"
    yield (
        "a thought that is none",
        a(thinking=["x"]),
        "'thinking' is a list; expected text",
    )
    for name in ("weight", "loss_weight", "train", "training", "mask", "loss"):
        for value in (0.5, -1, 2, [0, 1], "high", NAN, 10**400):
            yield (
                f"{name} {str(value)[:5]}",
                a(**{name: value}),
                f"'{name}' is .*; expected 0 or 1",
            )
    yield "weights that differ", a(weight=0, train=True), "'weight' and 'train' differ"
    yield "null", a() | {"content": None}, "content is null; expected text"
    yield (
        "null beside a thought",
        a(reasoning_content="x") | {"content": None},
        "content is null; expected text",
    )
    yield "a call without a name", a(tool_calls=[{"arguments": {}}]), "a 'name'"
    yield "a call of text", a(tool_calls="weather"), "'tool_calls' is .*; expected JSON"
    yield (
        "two calls that differ",
        a(tool_calls=[call()], function_call={"name": "time"}),
        "'tool_calls' and 'function_call' differ",
    )
    yield (
        "a call in words",
        {"from": "function_call", "value": "hm"},
        "'function_call' is .*; expected JSON",
    )
    for text in ("Oslo", '{"town": ', "[1]", [1], 7):
        function = {"name": "weather", "arguments": text}
        sentence = "'arguments' is .*; expected"
        yield f"arguments {text}", a(tool_calls=[{"function": function}]), sentence
        yield f"old arguments {text}", a(function_call=function), sentence
    # unknown names of loss masks: even false is refused
    for name in ("is_trained", "trainable", "masked", "no_loss", "ignore", "untrained"):
        yield f"{name} false", a(**{name: False}), f"'{name}' is not a supported field"
    for name in ("thinking_content", "thoughts", "rationale", "function_calls"):
        yield name, a(**{name: "x"}), f"'{name}' is not a supported field"
    yield "two texts", a(value="b"), "'content' and 'value' differ"
    yield "two roles", a() | {"from": "human"}, "'role' and 'from' differ"
    yield "an image", a([{"type": "image_url", "image_url": "x"}]), "'image_url'"
    yield "an image's text", a([{"type": "image", "value": "x"}]), "type 'image'"
    yield "images", a(images=["x"]), "'images' cannot be read"
    yield "audio", a(audio={"id": "x"}), "'audio' cannot be read"
    yield "a mask of tokens", a(loss_mask=[1]), "'loss_mask'"
    yield "a training detail", a(train_detail=[{"begin_offset": 0}]), "'train_detail'"
    yield "a refusal", a(refusal="no") | {"content": None}, "'refusal'"
    yield "tools in a message", a(tools=[TOOL]), "'tools' is not a supported"
    yield "an unknown role", {"role": "narrator", "content": "x"}, "role 'narrator'"


@pytest.mark.parametrize(
    ("name", "message", "expected"), list(message_cases()), ids=case_id
)
def test_a_message_of_the_assistant(name, message, expected):
    """As the last message, an earlier one, a completion and a ranked answer."""
    assert read({"messages": [u(), message]}, Demonstration) == [sft(u(), expected)]
    earlier = {"conversations": [u(), message, u("r"), a("b")]}
    assert read(earlier, Demonstration) == [sft(u(), expected, u("r"), a("b"))]
    assert read({"prompt": [u()], "completion": [message]}, Demonstration) == [
        sft(u(), expected)
    ]
    answer = expected["content"] if expected == a(expected["content"]) else expected
    row = {"prompt": [u()], "chosen": [message], "rejected": [a("b")]}
    ranked = {"prompt": "q", "answers": [message, "b"]}
    if "train" in expected:
        with pytest.raises(
            MalformedRow, match="'chosen' compares an answer that is masked out"
        ):
            read(row, Preference)
        with pytest.raises(MalformedRow, match="compares an answer that is masked out"):
            read(ranked, Ranking)
        with pytest.raises(
            MalformedRow, match="'label' compares an answer that is masked out"
        ):
            read({"messages": [u(), message], "label": True}, Unpaired)
        return
    assert read(row, Preference) == [pair([u()], answer, "b")]
    assert read(ranked, Ranking) == [ranking_record(answer, "b")]
    assert read({"messages": [u(), message], "label": False}, Unpaired) == [
        labeled(False, answer=answer)
    ]


@pytest.mark.parametrize(
    ("name", "message", "sentence"), list(refused_messages()), ids=case_id
)
def test_a_refused_message(name, message, sentence):
    for row, kind in (
        ({"messages": [u(), message]}, Demonstration),
        ({"messages": [u(), message, u("r"), a("b")]}, Prompt),
        ({"prompt": [u()], "chosen": [message], "rejected": [a("b")]}, Preference),
        ({"prompt": "q", "answers": [message, "b"]}, Ranking),
    ):
        with pytest.raises(MalformedRow, match=sentence):
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
def test_a_tool_result(name):
    message, expected = OTHER_ROLES[name]
    before = [u(), a("", tool_calls=[call()])]
    row = {"messages": [*before, message, a()]}
    assert read(row, Demonstration) == [sft(*before, expected, a())]
    assert read(row, Prompt) == [rl_prompt([*before, expected], "a")]
    alone = {"messages": [u(), message, a()]}
    with pytest.raises(
        MalformedRow,
        match="message 1: has role 'tool', but no message of the assistant",
    ):
        read(alone, Demonstration)
    with pytest.raises(MalformedRow, match="message 0: has role 'tool'"):
        read({"messages": [message, a()]}, Demonstration)
