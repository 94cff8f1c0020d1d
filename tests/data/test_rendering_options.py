"""Options of rendering: special tokens in texts, and the day that a template writes."""

import datetime

from jaxalign.data import chat, special_tokens
from jaxalign.data import tokenizer as tokenizers
from jaxalign.data.records import Demonstration, assistant_message
from tests.data import chat_templates as known
from tests.data.tool_chats import (
    CALL_MESSAGE,
    IM,
    LLAMA,
    PROMPT,
    QWEN,
    QWEN3,
    skip_reasons,
    tokenize_records,
    trained_text,
)


def test_special_tokens_in_texts_are_kept_on_request(make_tokenizer):
    extra = ("<think>", "</think>")
    tokenizer = make_tokenizer(*QWEN, extra=extra)
    record = Demonstration([PROMPT, assistant_message("<think>cold</think>4")])
    others = [
        Demonstration([PROMPT, assistant_message(f"a{token}b")])
        for token in ("<|im_end|>", "<|im_start|>", "<|endoftext|>")
    ]
    refused = "with special tokens in their text"
    assert skip_reasons(tokenizer, record, *others) == {refused: 4}
    before = tokenizers.fingerprint(tokenizer)
    tokenizers.set_tokenization_options(
        tokenizer, tokenizers.TokenizationOptions(keep_special=True)
    )
    assert tokenizers.fingerprint(tokenizer) != before
    assert trained_text(tokenizer, record) == ["<think>cold</think>4<|im_end|>"]
    assert skip_reasons(tokenizer, record, *others) == {refused: 3}
    (example,), _ = tokenize_records(tokenizer, record)
    (row,) = example.sequences
    ids = tokenizer.convert_tokens_to_ids(list(extra))
    assert all((row.tokens[row.mask] == one).sum() == 1 for one in ids)
    # rewards of sampled answers see them, and no ends of turns
    (text,) = special_tokens.decode_answers(tokenizer, [row.tokens[row.mask]])
    assert text == "<think>cold</think>4"
    tokenizers.set_tokenization_options(tokenizer, tokenizers.TokenizationOptions())
    assert special_tokens.decode_answers(tokenizer, [row.tokens[row.mask]]) == ["cold4"]


def test_special_tokens_in_reasoning_and_calls_are_refused(make_tokenizer):
    tokenizer = make_tokenizer(*QWEN3)
    call = {"function": {"name": "weather", "arguments": {"town": "<|im_end|>"}}}
    for answer in (
        assistant_message("a") | {"reasoning_content": "b<|im_end|>"},
        CALL_MESSAGE | {"tool_calls": [call]},
    ):
        assert skip_reasons(tokenizer, Demonstration([PROMPT, answer])) == {
            "with special tokens in their text": 1
        }


def test_a_dated_template_writes_the_pinned_day(make_tokenizer, tmp_path):
    tokenizer = make_tokenizer(*LLAMA)
    prompt = lambda: tokenizer.decode(chat.encode_prompt(tokenizer, [PROMPT]))
    today = datetime.date.today()
    assert f"Today Date: {today:%d %b %Y}" in prompt()
    unpinned = tokenizers.fingerprint(tokenizer)
    for day in (datetime.date(2024, 7, 26), datetime.date(2025, 1, 2)):
        tokenizers.set_tokenization_options(
            tokenizer, tokenizers.TokenizationOptions(today=day)
        )
        assert f"Today Date: {day:%d %b %Y}" in prompt()
        assert tokenizers.fingerprint(tokenizer) != unpinned
    undated = make_tokenizer(*QWEN)
    before = tokenizers.fingerprint(undated)
    tokenizers.set_tokenization_options(
        undated, tokenizers.TokenizationOptions(today=day)
    )
    assert tokenizers.fingerprint(undated) == before
    tokenizer.save_pretrained(tmp_path)
    saved = tokenizers.load(tmp_path)
    assert saved.chat_template == known.LLAMA31_TOOLS
    assert tokenizers.tokenization_options(saved) == tokenizers.TokenizationOptions()


def test_special_tokens_that_a_text_may_hold(make_tokenizer):
    extra = ("<think>", "</think>", "<|reserved_0|>", "<|end_of_text|>")
    roles = ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "<|endoftext|>")
    # Qwen3's template writes thoughts itself; the roles of Phi-3 are its template's
    # and the toy's template puts its own together
    for template, tokens, eos in (
        (QWEN3[0], IM, IM[1]),
        (known.PHI3, roles, IM[2]),
        (tokenizers.CHAT_TEMPLATE, roles[:4], "<|end|>"),
    ):
        tokenizer = make_tokenizer(template, tokens, None, eos, extra=extra)
        tokenizers.set_tokenization_options(
            tokenizer, tokenizers.TokenizationOptions(keep_special=True)
        )
        refused = special_tokens.forbidden_tokens(tokenizer)
        assert {*tokens, "<|end_of_text|>"} <= {*refused}
        assert {*refused}.isdisjoint(extra[:3])
