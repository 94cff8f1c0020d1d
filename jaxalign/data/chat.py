"""Conversations as tokens, and which of them are the assistant's.

Special tokens are handled here and nowhere else: one beginning-of-sequence token where
the tokenizer has one, and one end token after the answer that is trained on: the one
that the chat template ends turns with, or else the tokenizer's end of sequence.
"""

import contextlib
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from transformers import PreTrainedTokenizerFast

from jaxalign.data import templates
from jaxalign.data import tokenizer as tokenizers
from jaxalign.data.templates import Messages, Turn

Tokens = list[int]


class Encoded(NamedTuple):
    """A conversation: its tokens [T], and True on those of the assistant's answer."""

    tokens: np.ndarray
    mask: np.ndarray


def encode_prompt(tokenizer: PreTrainedTokenizerFast, messages: Messages) -> np.ndarray:
    """The tokens [T] of a conversation up to where the assistant is to answer.

    By the chat template, or, for a base model that has none, the contents one after
    the other (see `templates.joined`).

    Raises:
      ValueError: no messages, or a template that fails on them.
    """
    return encode_prompts(tokenizer, [messages])[0]


def encode_prompts(
    tokenizer: PreTrainedTokenizerFast, conversations: Sequence[Messages]
) -> list[np.ndarray]:
    """`encode_prompt` of each conversation, much faster than one by one."""
    if not all(conversations):
        raise ValueError("a prompt needs at least one message")
    texts = templates.prompt_texts(tokenizer, conversations)
    return [np.array(ids, np.int32) for ids in begun(tokenizer, texts)]


def encode(
    tokenizer: PreTrainedTokenizerFast, messages: Messages, *, all_turns: bool = False
) -> Encoded:
    """The tokens of a conversation that ends with the assistant's answer.

    The mask is True on that answer and its end token; with `all_turns`, on every answer
    of the assistant. The tokens before the answer are exactly those of `encode_prompt`,
    since they are what the model will see when it answers.

    Raises:
      ValueError: the last message is not the assistant's, or the template or the
        tokenizer changes the prompt when an answer follows it.
    """
    return encode_batch(tokenizer, [messages], all_turns=all_turns)[0]


def encode_batch(
    tokenizer: PreTrainedTokenizerFast,
    conversations: Sequence[Messages],
    *,
    all_turns: bool = False,
) -> list[Encoded]:
    """`encode` of each conversation, much faster than one by one."""
    end = templates.end_of_turn(tokenizer)
    end_id = tokenizers.id_of(tokenizer, end)
    turns = templates.turns(tokenizer, conversations, end=end, all_turns=all_turns)
    texts = list(dict.fromkeys(itertools.chain(*itertools.chain(*turns))))
    ids = dict(zip(texts, begun(tokenizer, texts), strict=True))
    return [masked(tokenizer, found, ids, end_id) for found in turns]


def describe(tokenizer: PreTrainedTokenizerFast, *, all_turns: bool) -> str:
    """One line for the log: which turns are trained, and how turns are joined."""
    which = "every answer" if all_turns else "the last answer alone"
    end = templates.end_of_turn(tokenizer)
    if tokenizer.chat_template is not None:
        how = f"the tokenizer's chat template joins turns, and {end!r} ends an answer"
    else:
        begin = f" after {tokenizer.bos_token!r}" * (tokenizer.bos_token is not None)
        how = (
            "the tokenizer has no chat template, so the texts of all turns stand one "
            f"after the other{begin}, without roles, a space between words that would "
            f"touch, and {end!r} ends an answer"
        )
    return f"trained: {which} of a conversation; {how}"


def stop_tokens(tokenizer: PreTrainedTokenizerFast) -> tuple[int, ...]:
    """The tokens that end an answer: the template's end of a turn, and of sequence."""
    ends = (templates.end_of_turn(tokenizer), str(tokenizer.eos_token))
    return tuple(dict.fromkeys(tokenizers.id_of(tokenizer, end) for end in ends))


def masked(
    tokenizer: PreTrainedTokenizerFast,
    turns: Sequence[Turn],
    ids: Mapping[str, Tokens],
    end: int,
) -> Encoded:
    """The tokens of a conversation, True on those of these turns."""
    *before, last = turns
    start = len(ids[last.prompt])
    tokens = continued(tokenizer, last, ids)
    # up to the first end token, which is there exactly once
    with contextlib.suppress(ValueError):
        tokens = tokens[: tokens.index(end, start)]
    tokens = [*tokens, end]
    mask = np.zeros(len(tokens), bool)
    mask[max(start, 1) :] = True  # nothing predicts the first token
    for turn in before:
        asked = ids[turn.prompt]
        if tokens[: len(asked)] != asked:
            raise ValueError(over_the_boundary(turn))
        mask[max(len(asked), 1) : len(ids[turn.until])] = True
    return Encoded(np.array(tokens, np.int32), mask)


def continued(
    tokenizer: PreTrainedTokenizerFast, turn: Turn, ids: Mapping[str, Tokens]
) -> Tokens:
    """The whole text's tokens, which begin with the prompt's.

    Where a token reaches over the boundary, the answer is tokenised apart, as the model
    would have to say it; a tokenizer that would then say another text is refused.
    """
    prompt, whole = ids[turn.prompt], ids[turn.until]
    if whole[: len(prompt)] == prompt:
        return whole
    (alone,) = tokenised(tokenizer, [turn.until[len(turn.prompt) :]])
    if tokenizer.decode(prompt + alone) != tokenizer.decode(whole):
        raise ValueError(over_the_boundary(turn))
    return prompt + alone


def over_the_boundary(turn: Turn) -> str:
    """What is wrong where a token is both the prompt's and the answer's."""
    answer = turn.until[len(turn.prompt) :]
    return (
        f"the tokenizer has one token over the end of the prompt "
        f"{turn.prompt[-40:]!r} and the start of its answer {answer[:40]!r}: move "
        "white space from the prompt's end to the answer's start"
    )


def begun(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> Iterator[Tokens]:
    """The tokens of each text, begun exactly once where the tokenizer begins texts."""
    begin = tokenizer.bos_token_id
    if begin is None:
        yield from tokenised(tokenizer, texts)
        return
    # A base model's text begins with the token there is; a template that writes none
    # gets it only where the tokenizer would add it by itself.
    always = tokenizer.chat_template is None or tokenizer("a").input_ids[:1] == [begin]
    for ids in tokenised(tokenizer, texts):
        first = next((i for i, t in enumerate(ids) if t != begin), len(ids))
        yield [begin, *ids[first:]] if always or first else ids


def tokenised(
    tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]
) -> Iterator[Tokens]:
    """The tokens of each text as it stands.

    Texts are cut before special tokens, where tokenizers cut them too, and equal parts
    are tokenised once: a prompt with several answers costs hardly more than one.
    """
    cut = list(cuts(seams(tokenizer), texts))
    parts = list(dict.fromkeys(itertools.chain(*cut)))
    backend = tokenizer.backend_tokenizer
    # what is too long is dropped or cut later, and counted
    backend.no_truncation()
    backend.no_padding()
    found = backend.encode_batch_fast(parts, add_special_tokens=False)
    ids = {part: one.ids for part, one in zip(parts, found, strict=True)}
    for pieces in cut:
        yield list(itertools.chain.from_iterable(ids[piece] for piece in pieces))


def cuts(seam: re.Pattern[str] | None, texts: Sequence[str]) -> Iterator[list[str]]:
    """Each text in parts; what follows a prompt is cut from its last part on.

    >>> list(cuts(re.compile("(?=<)"), ["<a><b", "<a><b>c<d>", "e"]))
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


def seams(tokenizer: PreTrainedTokenizerFast) -> re.Pattern[str] | None:
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
