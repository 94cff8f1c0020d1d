"""Tool calls are trained on, results are not; unsupported templates are refused."""

import pytest

from jaxalign.data import chat, readers, tokenize
from jaxalign.data.records import (
    Demonstration,
    Preference,
    Prompt,
    Ranking,
    Unpaired,
    assistant_message,
)
from tests.data import chat_templates as known
from tests.data.tool_chats import (
    CALL,
    CALL_MESSAGE,
    CHAT,
    LLAMA,
    LLAMA_CALL,
    PROMPT,
    QWEN,
    QWEN_CALL,
    RESULT,
    WEATHER,
    skip_reasons,
    tokenize_records,
    trained_text,
)


@pytest.mark.parametrize(
    "shape, call, end",
    [(QWEN, QWEN_CALL, "<|im_end|>"), (LLAMA, LLAMA_CALL, "<|eot_id|>")],
)
def test_calls_are_trained_and_results_are_not(make_tokenizer, shape, call, end):
    tokenizer = make_tokenizer(*shape)
    # Qwen2.5 opens a call with "\n", which its generation prompt has written already
    record = Demonstration(CHAT, tools=(WEATHER,))
    every = trained_text(tokenizer, record, all_turns=True)
    assert every == [f"{call}It is cold.{end}Cold.{end}"]
    assert trained_text(tokenizer, record) == [f"Cold.{end}"]
    last = Demonstration(CHAT[:4], tools=(WEATHER,))
    assert trained_text(tokenizer, last) == [f"{call}It is cold.{end}"]
    ends = Demonstration(CHAT[:2], tools=(WEATHER,))
    assert trained_text(tokenizer, ends) == [call]
    encoded = chat.encode(tokenizer, CHAT[:4], (WEATHER,))
    rest = tokenizer.decode(encoded.tokens[~encoded.mask])
    for text in ('"name": "weather"', "weather of a town", "Oslo?", "4 degrees"):
        assert text in rest
    whole = tokenizer.apply_chat_template(CHAT[:4], tools=[WEATHER], tokenize=False)
    assert tokenizer.decode(encoded.tokens) == whole.removesuffix("\n")


def test_a_pair_after_a_result_compares_the_answers_alone(make_tokenizer):
    tokenizer = make_tokenizer(*QWEN)
    pair = Preference(CHAT[:3], "Cold.", "Hot.", tools=(WEATHER,))
    assert trained_text(tokenizer, pair) == ["Cold.<|im_end|>", "Hot.<|im_end|>"]
    calls = Preference([PROMPT], CALL_MESSAGE, "I do not know.", tools=(WEATHER,))
    assert trained_text(tokenizer, calls) == [QWEN_CALL, "I do not know.<|im_end|>"]


def test_tools_that_the_template_omits_are_refused_by_name(make_tokenizer, tokenizer):
    tools = "field 'tools': the chat template shows no tools"
    bare = make_tokenizer(known.QWEN25, *QWEN[1:])
    prompt = Prompt([PROMPT], tools=(WEATHER,))
    pair = Preference([PROMPT], "4", "5", tools=(WEATHER,))
    for record in (prompt, pair, Ranking([PROMPT], ("4", "5"), tools=(WEATHER,))):
        assert skip_reasons(bare, record) == {tools: 1}
    # the name of the tool stands in the text, and the tool does not
    named = Unpaired(
        [assistant_message("weather") | {"role": "user"}], "4", True, tools=(WEATHER,)
    )
    assert skip_reasons(bare, named) == {tools: 1}
    calls = "field 'tool_calls': the chat template shows no calls"
    assert calls in skip_reasons(
        make_tokenizer(known.PHI3, *QWEN[1:]), Demonstration(CHAT[:2])
    )
    with pytest.raises(ValueError, match=r"0 of 1 rows \(1 field 'tools'"):
        tokenize.tokenize([pair], bare, context=99)
    with pytest.raises(ValueError, match="field 'tools': the chat template shows no"):
        chat.encode_prompt(bare, [PROMPT], (WEATHER,))
    plain = make_tokenizer(None, *QWEN[1:])
    (reason,) = skip_reasons(plain, pair)
    assert reason == "field 'tools': the tokenizer, without a template, shows no tools"


def test_content_beside_a_call_that_the_template_omits_is_refused(make_tokenizer):
    beside = [
        PROMPT,
        CALL_MESSAGE | {"content": "Let me look."},
        RESULT,
        assistant_message("Cold."),
    ]
    record = Demonstration(beside, tools=(WEATHER,))
    text = "Let me look.\n" + QWEN_CALL + "Cold.<|im_end|>"
    assert trained_text(make_tokenizer(*QWEN), record) == [text]
    assert skip_reasons(make_tokenizer(*LLAMA), record) == {
        "field 'content': the chat template leaves out what the assistant says": 1
    }
    twice = Demonstration([PROMPT, CALL_MESSAGE | {"tool_calls": [CALL, CALL]}])
    (reason,) = skip_reasons(make_tokenizer(*LLAMA), twice)
    assert reason.startswith(
        "the chat template failed: This model only supports single"
    )


def test_a_public_file_of_tool_calls(make_tokenizer, public_data):
    file = public_data / "llama-factory-demo" / "glaive_toolcall_en_demo.json"
    records, _ = readers.read(file, Demonstration)
    for shape in (QWEN, LLAMA):
        tokenizer = make_tokenizer(*shape)
        examples, report = tokenize_records(tokenizer, *records, all_turns=True)
        assert report.usable == report.total == len(records) == 300
        for example in examples:
            (row,) = example.sequences
            text = tokenizer.decode(row.tokens[row.mask])
            messages = records[example.row].messages
            calls = [m for m in messages if m.get("tool_calls")]
            results = [m["content"] for m in messages if m["role"] == "tool"]
            assert text.count('{"name": ') >= len(calls)
            for answer in (m["content"] for m in messages if m["role"] == "assistant"):
                assert answer.strip() in text
            assert not any(result in text for result in results if len(result) > 30)
