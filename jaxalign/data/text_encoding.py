"""Texts as tokens, in pieces: what several texts share is tokenised once."""

import itertools
import re
from collections.abc import Iterator, Sequence

from transformers import PreTrainedTokenizerFast

Tokens = list[int]


def encode_with_bos(
    tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]
) -> Iterator[Tokens]:
    """The tokens of each text, begun exactly once where the tokenizer begins texts."""
    begin = tokenizer.bos_token_id
    if begin is None:
        yield from encode_texts(tokenizer, texts)
        return
    # A base model's text begins with the token there is; a template that writes none
    # gets it only where the tokenizer would add it by itself.
    always = tokenizer.chat_template is None or tokenizer("a").input_ids[:1] == [begin]
    for ids in encode_texts(tokenizer, texts):
        first = next((i for i, t in enumerate(ids) if t != begin), len(ids))
        yield [begin, *ids[first:]] if always or first else ids


def encode_texts(
    tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]
) -> Iterator[Tokens]:
    """The tokens of each text as it stands.

    Texts are cut before special tokens, where tokenizers cut them too, and equal parts
    are tokenised once: a prompt with several answers costs hardly more than one.
    """
    cut = list(split_texts(special_token_boundaries(tokenizer), texts))
    parts = list(dict.fromkeys(itertools.chain(*cut)))
    backend = tokenizer.backend_tokenizer
    # what is too long is dropped or cut later, and counted
    backend.no_truncation()
    backend.no_padding()
    found = backend.encode_batch_fast(parts, add_special_tokens=False)
    ids = {part: one.ids for part, one in zip(parts, found, strict=True)}
    for pieces in cut:
        yield list(itertools.chain.from_iterable(ids[piece] for piece in pieces))


def split_texts(
    seam: re.Pattern[str] | None, texts: Sequence[str]
) -> Iterator[list[str]]:
    """Each text in parts; what follows a prompt is cut from its last part on.

    >>> list(split_texts(re.compile("(?=<)"), ["<a><b", "<a><b>c<d>", "e"]))
    [['', '<a>', '<b'], ['', '<a>', '', '<b>c', '<d>'], ['e']]
    """
    stem, parts = None, [""]
    for text in texts:
        if seam is None:
            yield [text]
        elif stem is not None and text.startswith(stem):
            yield parts[:-1] + seam.split(parts[-1] + text[len(stem) :])
        else:
            stem, parts = text, seam.split(text)
            yield parts


def special_token_boundaries(
    tokenizer: PreTrainedTokenizerFast,
) -> re.Pattern[str] | None:
    """Places before special tokens: a text cut there has the same tokens.

    Left out are tokens that take white space before them, or words around them, into
    account, and those that another token could reach into.
    """
    added = list(tokenizer.added_tokens_decoder.values())
    inside = {letter for token in added for letter in token.content[1:]}
    firm = [
        re.escape(token.content)
        for token in added
        if not (token.lstrip or token.single_word or token.normalized)
        and token.content[0] not in inside
    ]
    return re.compile(f"(?={'|'.join(firm)})") if firm else None
