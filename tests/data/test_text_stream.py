"""Streams of answers: characters of several tokens, white space, and changed text."""

import pytest

from jaxalign.data import special_tokens
from jaxalign.data import tokenizer as tokenizers
from jaxalign.data.text_stream import TextStream


@pytest.fixture(scope="module")
def bytes_only():
    """A tokenizer whose tokens are single bytes: 261 leaves no room for merges."""
    return tokenizers.train(["a"], vocab_size=261)


def push_all(stream, tokens):
    return [stream.push(token) for token in tokens]


@pytest.mark.parametrize("text", ["naïve café", "日本語 🙂 ok", "a  b\n\n c"])
def test_the_pieces_are_the_text_and_no_piece_is_half_a_character(bytes_only, text):
    stream = TextStream(bytes_only)
    pieces = push_all(stream, bytes_only.encode(text, add_special_tokens=False))
    assert "".join([*pieces, stream.finish()]) == text
    assert not any("\ufffd" in piece for piece in pieces)


def test_a_character_appears_with_its_last_byte(bytes_only):
    tokens = bytes_only.encode("€x", add_special_tokens=False)
    assert push_all(TextStream(bytes_only), tokens) == ["", "", "€", "x"]


def test_white_space_waits_for_text_and_is_stripped_at_the_ends(bytes_only):
    stream = TextStream(bytes_only)
    tokens = bytes_only.encode(" a b ", add_special_tokens=False)
    assert push_all(stream, tokens) == ["", "a", "", " b", ""]
    assert stream.finish() == "" and stream.full_text == "a b"


def test_bytes_that_stay_incomplete_are_shown_at_the_end(bytes_only):
    stream = TextStream(bytes_only)
    tokens = bytes_only.encode("a€", add_special_tokens=False)[:-1]
    assert push_all(stream, tokens) == ["a", "", ""]
    assert set(stream.finish()) == {"\ufffd"}


def test_a_text_that_changes_does_not_stop_the_stream(bytes_only, monkeypatch):
    """Tokenizers that clean up spaces turn `do n't` into `don't` when the t comes."""
    clean = lambda tokenizer, rows: [
        tokenizer.decode(row).replace(" n't", "n't") for row in rows
    ]
    monkeypatch.setattr(special_tokens, "decode_answers", clean)
    stream = TextStream(bytes_only)
    pieces = push_all(stream, bytes_only.encode("do n't go"))
    # what was shown, `do n'`, cannot be taken back: the changed part is shown again
    assert "".join(pieces) == "do n'n't go"
