"""Conversations as tokens, and which of them are the assistant's.

Special tokens are handled here and nowhere else: one beginning-of-sequence token where
the tokenizer has one, one end-of-sequence token after each answer that is trained on.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from transformers import PreTrainedTokenizerFast

Message = Mapping[str, str]


class Encoded(NamedTuple):
    """A conversation: its tokens, and True on those of the assistant's answer."""

    tokens: np.ndarray
    mask: np.ndarray


def encode_prompt(
    tokenizer: PreTrainedTokenizerFast, messages: Sequence[Message]
) -> np.ndarray:
    """The tokens of a conversation up to where the assistant is to answer.

    By the chat template, or, for a base model that has none, the contents one after
    the other.

    Raises:
      ValueError: no messages, or a template that fails on them.
    """
    if not messages:
        raise ValueError("a prompt needs at least one message")
    ids = ids_of(tokenizer, rendered(tokenizer, messages, prompt=True))
    return np.asarray(ids, np.int32)


def encode(tokenizer: PreTrainedTokenizerFast, messages: Sequence[Message]) -> Encoded:
    """The tokens of a conversation that ends with the assistant's answer.

    The mask is True on that answer and its end token. The tokens before it are exactly
    those of `encode_prompt`, since they are what the model will see when it answers.

    Raises:
      ValueError: the last message is not the assistant's, or the template rewrites what
        came before it.
    """
    if not messages or messages[-1]["role"] != "assistant":
        raise ValueError("a demonstration must end with a message of the assistant")
    prompt_text = rendered(tokenizer, messages[:-1], prompt=True)
    whole = rendered(tokenizer, messages, prompt=False)
    if not whole.startswith(prompt_text):
        raise ValueError(
            "the chat template changes the prompt when an answer follows it, so no "
            f"mask can be right: {prompt_text[-60:]!r} does not start {whole[:60]!r}"
        )
    # The prompt and the answer are tokenised apart: as when the model answers, no token
    # can reach over the boundary.
    prompt = ids_of(tokenizer, prompt_text)
    answer = tokenizer(whole[len(prompt_text) :], add_special_tokens=False).input_ids
    answer = ended(answer, tokenizer.eos_token_id)
    tokens = np.asarray(prompt + answer, np.int32)
    return Encoded(tokens, np.arange(len(tokens)) >= len(prompt))


def rendered(
    tokenizer: PreTrainedTokenizerFast, messages: Sequence[Message], *, prompt: bool
) -> str:
    """The conversation as text, special tokens of the template included."""
    if tokenizer.chat_template is None:
        return "".join(message["content"] for message in messages)
    if not messages:
        return ""
    try:
        text: str = tokenizer.apply_chat_template(
            [dict(message) for message in messages],
            tokenize=False,
            add_generation_prompt=prompt,
        )
    except Exception as error:  # jinja raises whatever the template says
        raise ValueError(f"the chat template failed: {error}") from error
    return text


def ids_of(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    """The tokens of a text, begun exactly once where the tokenizer has a beginning."""
    ids: list[int] = tokenizer(text, add_special_tokens=False).input_ids
    begin = tokenizer.bos_token_id
    while begin is not None and ids[:1] == [begin]:
        ids = ids[1:]
    templated = tokenizer.chat_template is not None
    starts = begin is not None and (
        not templated or tokenizer.bos_token in text or adds_bos(tokenizer)
    )
    return [begin, *ids] if starts else ids


def adds_bos(tokenizer: PreTrainedTokenizerFast) -> bool:
    """Whether the tokenizer by itself begins a text with its beginning token."""
    ids: list[int] = tokenizer("a").input_ids
    return ids[:1] == [tokenizer.bos_token_id]


def ended(answer: list[int], end: int) -> list[int]:
    """The answer up to its first end token, which is there exactly once."""
    kept = answer[: answer.index(end)] if end in answer else answer
    return [*kept, end]
