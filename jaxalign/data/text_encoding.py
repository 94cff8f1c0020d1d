"""Texts -> token ids, fast: parts that several texts share are tokenized once."""

import itertools
import re
from collections.abc import Iterator, Sequence

from jaxalign.data.tokenizer_type import PreTrainedTokenizerFast

Tokens = list[int]


def encode_with_bos(
    tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]
) -> Iterator[Tokens]:
    """Token ids of each text, after exactly one beginning-of-sequence token.

    A tokenizer without that token gives none. A chat template that does not write it
    gets it only where the tokenizer would add it by itself.
    """
    bos = tokenizer.bos_token_id
    if bos is None:
        yield from encode_texts(tokenizer, texts)
        return
    always = tokenizer.chat_template is None or tokenizer("a").input_ids[:1] == [bos]
    for ids in encode_texts(tokenizer, texts):
        first = next((i for i, token in enumerate(ids) if token != bos), len(ids))
        yield [bos, *ids[first:]] if always or first else ids


def encode_texts(
    tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]
) -> Iterator[Tokens]:
    """Token ids of each text as it stands, no special token added.

    Texts are split before special tokens, where tokenizers split them too, and equal
    parts are tokenized once: a prompt with several answers costs hardly more than one.
    """
    split = list(split_texts(special_token_boundaries(tokenizer), texts))
    parts = list(dict.fromkeys(itertools.chain(*split)))
    backend = tokenizer.backend_tokenizer
    # what is too long is dropped or cut later, and counted
    backend.no_truncation()
    backend.no_padding()
    encodings = backend.encode_batch_fast(parts, add_special_tokens=False)
    ids = {part: one.ids for part, one in zip(parts, encodings, strict=True)}
    for pieces in split:
        yield list(itertools.chain.from_iterable(ids[piece] for piece in pieces))


def split_texts(
    boundary: re.Pattern[str] | None, texts: Sequence[str]
) -> Iterator[list[str]]:
    """Splits each text; one that continues the text before shares its first parts.

    >>> list(split_texts(re.compile("(?=<)"), ["<a><b", "<a><b>c<d>", "e"]))
    [['', '<a>', '<b'], ['', '<a>', '', '<b>c', '<d>'], ['e']]
    """
    stem, parts = None, [""]
    for text in texts:
        if boundary is None:
            yield [text]
        elif stem is not None and text.startswith(stem):
            yield parts[:-1] + boundary.split(parts[-1] + text[len(stem) :])
        else:
            stem, parts = text, boundary.split(text)
            yield parts


def special_token_boundaries(
    tokenizer: PreTrainedTokenizerFast,
) -> re.Pattern[str] | None:
    """Matches the places before special tokens at which splitting keeps the token ids.

    Left out are tokens that absorb white space before them, that match whole words
    only, or that another token could overlap.

    Returns:
      An empty-width pattern; None where no token qualifies.
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
