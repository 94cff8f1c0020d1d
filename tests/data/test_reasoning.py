"""Reasoning of the assistant is trained on as the chat template writes it."""

import pytest

from jaxalign.data import template_probe
from jaxalign.data.records import Demonstration, Preference, assistant_message
from tests.data.tool_chats import (
    CALL_MESSAGE,
    LLAMA,
    PROMPT,
    QWEN,
    QWEN3,
    QWEN_CALL,
    RESULT,
    WEATHER,
    skip_reasons,
    tokenize_records,
    trained_text,
)


def test_reasoning_is_trained_as_qwen3_documents_it(make_tokenizer):
    tokenizer = make_tokenizer(*QWEN3)
    answer = assistant_message("ANSWER") | {"reasoning_content": "THOUGHT"}
    record = Demonstration([PROMPT, answer])
    expected = "<think>\nTHOUGHT\n</think>\n\nANSWER<|im_end|>"
    assert trained_text(tokenizer, record) == [expected]
    # pairs whose answers differ only in their reasoning are pairs
    pair = Preference([PROMPT], answer, answer | {"reasoning_content": "no"})
    assert trained_text(tokenizer, pair) == [
        expected,
        expected.replace("THOUGHT", "no"),
    ]
    assert skip_reasons(tokenizer, Preference([PROMPT], answer, dict(answer))) == {
        "identical as tokens": 1
    }
    # a template without reasoning would teach the model not to reason
    reason = {"field 'reasoning_content': the chat template shows no thoughts": 1}
    for shape in (QWEN, LLAMA):
        assert skip_reasons(make_tokenizer(*shape), record) == reason
        assert skip_reasons(make_tokenizer(*shape), pair) == reason


def test_earlier_reasoning_is_omitted_and_counted(make_tokenizer):
    tokenizer = make_tokenizer(*QWEN3)
    answer = assistant_message("ANSWER") | {"reasoning_content": "THOUGHT"}
    messages = [PROMPT, answer, PROMPT, answer]
    assert trained_text(tokenizer, Demonstration(messages)) == [
        "<think>\nTHOUGHT\n</think>\n\nANSWER<|im_end|>"
    ]
    assert skip_reasons(tokenizer, Demonstration(messages)) == {
        template_probe.OMITTED_THOUGHTS: 1
    }
    with pytest.raises(ValueError, match="rewrites an earlier answer"):
        tokenize_records(tokenizer, Demonstration(messages), all_turns=True)
    # a template that never writes reasoning loses it
    reason = {"field 'reasoning_content': the chat template shows no thoughts": 1}
    assert (
        skip_reasons(
            make_tokenizer(*QWEN),
            Demonstration([PROMPT, answer, PROMPT, assistant_message("b")]),
        )
        == reason
    )


def test_calls_of_the_last_turn_are_trained_with_their_reasoning(make_tokenizer):
    tokenizer = make_tokenizer(*QWEN3)
    thinks = CALL_MESSAGE | {"reasoning_content": "LOOK"}
    messages = [
        PROMPT,
        thinks,
        RESULT,
        assistant_message("Cold.") | {"reasoning_content": "4"},
    ]
    assert trained_text(tokenizer, Demonstration(messages, tools=(WEATHER,))) == [
        f"<think>\nLOOK\n</think>\n\n{QWEN_CALL}<think>\n4\n</think>\n\nCold.<|im_end|>"
    ]
    # without reasoning Qwen3 writes an empty one only in the last message
    bare = Demonstration(
        [PROMPT, CALL_MESSAGE, RESULT, assistant_message("Cold.")], tools=(WEATHER,)
    )
    assert trained_text(tokenizer, bare) == [
        f"{QWEN_CALL}<think>\n\n</think>\n\nCold.<|im_end|>"
    ]
