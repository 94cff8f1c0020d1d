"""Conversations as tokens, and which of them are the assistant's.

Special tokens are handled here and nowhere else: one beginning-of-sequence token where
the tokenizer has one, one end-of-sequence token after the answer that is trained on.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from transformers import PreTrainedTokenizerFast

Message = Mapping[str, str]
Messages = Sequence[Message]


class Encoded(NamedTuple):
    """A conversation: its tokens [T], and True on those of the assistant's answer."""

    tokens: np.ndarray
    mask: np.ndarray


class Turn(NamedTuple):
    """An answer of the assistant: the text that it answers, and the text it ends."""

    prompt: str
    until: str


def encode_prompt(tokenizer: PreTrainedTokenizerFast, messages: Messages) -> np.ndarray:
    """The tokens [T] of a conversation up to where the assistant is to answer.

    By the chat template, or, for a base model that has none, the contents one after
    the other (see `joined`).

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
    texts = [rendered(tokenizer, messages, prompt=True) for messages in conversations]
    return [np.asarray(ids, np.int32) for ids in begun(tokenizer, texts)]


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
    turns = [turns_of(tokenizer, c, all_turns=all_turns) for c in conversations]
    # A pair's two answers share their prompt, so each text is tokenised once.
    texts = list(dict.fromkeys(itertools.chain(*itertools.chain(*turns))))
    ids = dict(zip(texts, begun(tokenizer, texts), strict=True))
    return [masked(tokenizer, found, ids) for found in turns]


def turns_of(
    tokenizer: PreTrainedTokenizerFast, messages: Messages, *, all_turns: bool
) -> list[Turn]:
    """The assistant's last turn, or all of its turns."""
    if not messages or messages[-1]["role"] != "assistant":
        raise ValueError(
            "a demonstration must end with a message of the assistant, or no token of "
            "it would be trained on"
        )
    first = 0 if all_turns else len(messages) - 1
    return [
        Turn(
            rendered(tokenizer, messages[:i], prompt=True),
            rendered(tokenizer, messages[: i + 1], prompt=False),
        )
        for i in range(first, len(messages))
        if messages[i]["role"] == "assistant"
    ]


def masked(
    tokenizer: PreTrainedTokenizerFast,
    turns: Sequence[Turn],
    ids: Mapping[str, list[int]],
) -> Encoded:
    """The tokens of a conversation, True on those of these turns."""
    *earlier, (prompt, whole) = turns
    start = len(ids[prompt])
    tokens = continued(tokenizer, turns[-1], ids)
    tokens = tokens[:start] + ended(tokens[start:], tokenizer.eos_token_id)
    mask = np.arange(len(tokens)) >= max(start, 1)  # nothing predicts the first token
    for turn in earlier:
        begin = len(ids[turn.prompt])
        if tokens[:begin] != ids[turn.prompt]:
            raise ValueError(changed(turn.prompt, whole))
        answer = ids[turn.until][begin:]
        end = (
            answer.index(tokenizer.eos_token_id) + 1
            if (tokenizer.eos_token_id in answer)
            else len(answer)
        )
        mask[max(begin, 1) : begin + end] = True
    return Encoded(np.asarray(tokens, np.int32), mask)


def continued(
    tokenizer: PreTrainedTokenizerFast, turn: Turn, ids: Mapping[str, list[int]]
) -> list[int]:
    """The whole text's tokens, which begin with the prompt's.

    Where a token reaches over the boundary, the answer is tokenised apart, as the model
    would have to say it; a tokenizer that would then say another text is refused.
    """
    prompt, whole = ids[turn.prompt], ids[turn.until]
    if whole[: len(prompt)] == prompt:
        return whole
    if not turn.until.startswith(turn.prompt):
        raise ValueError(changed(turn.prompt, turn.until))
    answer = turn.until[len(turn.prompt) :]
    apart = prompt + tokenizer(answer, add_special_tokens=False).input_ids
    if tokenizer.decode(apart) != tokenizer.decode(whole):
        raise ValueError(
            f"the tokenizer has one token over the end of the prompt "
            f"{turn.prompt[-40:]!r} and the start of its answer {answer[:40]!r}: move "
            "white space from the prompt's end to the answer's start"
        )
    return apart


def changed(prompt: str, whole: str) -> str:
    """What is wrong with a template that rewrites prompts."""
    return (
        "the chat template changes the prompt when an answer follows it, so no mask "
        f"can be right: {prompt[-60:]!r} does not start {whole[-120:]!r}"
    )


def rendered(
    tokenizer: PreTrainedTokenizerFast, messages: Messages, *, prompt: bool
) -> str:
    """The conversation as text, special tokens of the template included."""
    if tokenizer.chat_template is None:
        return joined([message["content"] for message in messages])
    try:
        text = tokenizer.apply_chat_template(
            [dict(message) for message in messages],
            tokenize=False,
            add_generation_prompt=prompt,
        )
    except Exception as error:  # jinja raises whatever the template says
        raise ValueError(f"the chat template failed: {error}") from error
    return str(text)


def joined(contents: Sequence[str]) -> str:
    """Contents one after the other; words at a seam are kept apart by a space.

    Answers that were stripped, as sampled ones are, would run into the prompt.

    >>> joined(["Once upon a time", "there was"]), joined(["2 + 2 =", " 4"])
    ('Once upon a time there was', '2 + 2 = 4')
    >>> joined(["Once upon a time", ", long ago"])
    'Once upon a time, long ago'
    """
    text = ""
    for content in contents:
        before, after = text[-1:], content[:1]
        ends = before.isascii() and (before.isalnum() or before in tuple(".,;:!?)\"'"))
        text += " " * (ends and after.isascii() and after.isalnum()) + content
    return text


def begun(tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> Iterator[list[int]]:
    """The tokens of each text, begun exactly once where the tokenizer begins texts."""
    begin = tokenizer.bos_token_id
    # A base model's text begins with the token there is; a template that writes none
    # gets it only where the tokenizer would add it by itself.
    always = begin is not None and (
        tokenizer.chat_template is None or tokenizer("a").input_ids[:1] == [begin]
    )
    # what is too long is dropped or cut later, and counted: no warning here
    encoded = (
        tokenizer(texts, add_special_tokens=False, verbose=False).input_ids
        if texts
        else []
    )
    for ids in encoded:
        first = next((i for i, t in enumerate(ids) if t != begin), len(ids))
        yield [begin, *ids[first:]] if always or first else ids


def ended(answer: list[int], end: int) -> list[int]:
    """The answer up to its first end token, which is there exactly once."""
    kept = answer[: answer.index(end)] if end in answer else answer
    return [*kept, end]
