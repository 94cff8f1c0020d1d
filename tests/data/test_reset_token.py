"""[RESET]: texts begin after it, and streams take back what they showed."""

import datetime

import numpy as np
import pytest

from jaxalign.data import special_tokens
from jaxalign.data import tokenizer as tokenizers
from jaxalign.data.text_stream import Retraction, TextStream
from jaxalign.data.tokenizer import TokenizationOptions


@pytest.fixture
def tokenizer():
    new = tokenizers.train(["first get"], vocab_size=261)
    new.add_special_tokens(
        {"extra_special_tokens": [special_tokens.RESET]},
        replace_extra_special_tokens=False,
    )
    return new


def ids(tokenizer, text):
    return np.array(tokenizer(text, add_special_tokens=False).input_ids, np.int32)


@pytest.mark.parametrize(
    ("raw", "visible"),
    [
        ("first[RESET] no.<|end|>", "no."),
        ("first[RESET]get[RESET]no.", "no."),  # the last one counts
        ("first[RESET]", ""),
        ("[RESET]no.", "no."),
        ("no.<|end|>", "no."),
    ],
)
def test_an_answer_is_what_follows_its_last_reset(tokenizer, raw, visible):
    (text,) = special_tokens.decode_answers(tokenizer, [ids(tokenizer, raw)])
    assert text.strip() == visible


def test_the_raw_text_is_shown_with_its_special_tokens(tokenizer):
    options = TokenizationOptions(datetime.date(2026, 1, 1), keep_special=True)
    tokenizers.set_tokenization_options(tokenizer, options)
    raw = "first[RESET]no."
    row = ids(tokenizer, raw + "<|end|>")
    assert special_tokens.decode_answers(tokenizer, [row]) == [raw]
    stream = TextStream(tokenizer)
    assert "".join(map(str, map(stream.push, row))) == raw


def test_a_stream_takes_back_what_it_showed(tokenizer):
    stream = TextStream(tokenizer)
    pieces = [stream.push(t) for t in ids(tokenizer, "fi [RESET]né")]
    # the space was held back; é comes with its second byte
    assert pieces == ["f", "i", "", Retraction("fi"), "n", "", "é"]
    assert stream.finish() == "" and stream.full_text == "né"
    assert stream.discarded == 4


def test_a_word_of_that_text_is_not_the_token():
    plain = tokenizers.train(["[RESET] "] * 9, vocab_size=300)
    assert special_tokens.reset_id(plain) is None
    row = ids(plain, "first[RESET]no.")
    assert special_tokens.decode_answers(plain, [row]) == ["first[RESET]no."]
