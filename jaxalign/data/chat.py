"""Conversations -> token ids and the mask of the assistant's trained tokens.

Special tokens are added here and nowhere else: one beginning-of-sequence token where
the tokenizer has one, and one end token after the answer that is trained on: the one
that the chat template ends turns with, or else the tokenizer's end of sequence.
"""

import contextlib
import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxalign.data import template_probe, templates
from jaxalign.data import tokenizer as tokenizers
from jaxalign.data.answer_spans import AnswerSpan, TrainedAnswers, find_answer_spans
from jaxalign.data.records import Tools
from jaxalign.data.templates import Conversation, Messages
from jaxalign.data.text_encoding import Tokens, encode_texts, encode_with_bos
from jaxalign.data.tokenizer_type import PreTrainedTokenizerFast


class EncodedConversation(NamedTuple):
    """A tokenized conversation.

    Attributes:
      tokens: token ids, int32 [T].
      mask: True on the tokens of trained answers, bool [T].
      drop_reason: why it must not be used (its text lacks part of its messages); it
        then has no tokens. Else "".
      note: what to count of a conversation that may be used; else "".
    """

    tokens: np.ndarray
    mask: np.ndarray
    drop_reason: str = ""
    note: str = ""


def encode_prompt(
    tokenizer: PreTrainedTokenizerFast, messages: Messages, tools: Tools = ()
) -> np.ndarray:
    """Token ids of a conversation up to where the assistant is to answer, int32 [T].

    By the chat template or, for a base model without one, the contents one after the
    other (see `templates.join_contents`).

    Raises:
      ValueError: no messages, a template that fails on them or leaves them out.
    """
    return encode_prompts(tokenizer, [Conversation(messages, tools)])[0]


def encode_prompts(
    tokenizer: PreTrainedTokenizerFast, prompts: Sequence[Conversation | Messages]
) -> list[np.ndarray]:
    """`encode_prompt` of each conversation, much faster than one by one."""
    encoded = try_encode_prompts(tokenizer, list(map(as_conversation, prompts)))
    for one in encoded:
        if one.drop_reason:
            raise ValueError(one.drop_reason)
    return [one.tokens for one in encoded]


def as_conversation(prompt: Conversation | Messages) -> Conversation:
    """A conversation as it is, or of messages without tools."""
    return prompt if isinstance(prompt, Conversation) else Conversation(prompt)


def try_encode_prompts(
    tokenizer: PreTrainedTokenizerFast, prompts: Sequence[Conversation]
) -> list[EncodedConversation]:
    """`encode_prompt` of each conversation, with a `drop_reason` in place of an error.

    Raises:
      ValueError: no messages, or a template that fails on them.
    """
    if not all(prompt.messages for prompt in prompts):
        raise ValueError("a prompt needs at least one message")
    prompts = [template_probe.map_developer_role(tokenizer, p) for p in prompts]
    rendered = templates.render_prompts(tokenizer, prompts)
    reasons = [
        one.template_error
        or template_probe.drop_reason(tokenizer, prompt, (), one.text)
        for prompt, one in zip(prompts, rendered, strict=True)
    ]
    notes = [template_probe.omission_note(tokenizer, prompt) for prompt in prompts]
    ids = encode_with_bos(tokenizer, [one.text for one in rendered])
    return [
        EncodedConversation(
            np.array(row, np.int32), np.zeros(len(row), bool), reason, note
        )
        for row, reason, note in zip(ids, reasons, notes, strict=True)
    ]


def trained_answer_indices(messages: Messages, *, all_turns: bool) -> list[int]:
    """Indices of the messages that are trained: of the last turn, or of all turns.

    The last turn is the last answer and the calls whose results led to it. A message
    with `train` False is not trained.
    """
    answers = [i for i, m in enumerate(messages) if m["role"] == "assistant"]
    if not all_turns:
        users = [
            i for i, m in enumerate(messages) if m["role"] not in ("assistant", "tool")
        ]
        turn_start = max(users, default=-1)
        last = len(messages) - 1
        answers = [
            i
            for i in answers
            if i == last or (i > turn_start and messages[i].get("tool_calls"))
        ]
    return [i for i in answers if messages[i].get("train", True)]


def encode(
    tokenizer: PreTrainedTokenizerFast,
    messages: Messages,
    tools: Tools = (),
    *,
    all_turns: bool = False,
) -> EncodedConversation:
    """Tokenizes a conversation that ends with the assistant's answer.

    The mask is True on that answer, the calls that led to it and their end tokens; with
    `all_turns`, on every answer of the assistant. The tokens before the answer are
    exactly those of `encode_prompt`, which the model will see when it answers.

    Raises:
      ValueError: the last message is not the assistant's, the template or the tokenizer
        changes the prompt when an answer follows it, or the template leaves out part of
        the messages.
    """
    trained = trained_answer_indices(messages, all_turns=all_turns)
    (encoded,) = encode_batch(tokenizer, [Conversation(messages, tools)], [trained])
    if encoded.drop_reason:
        raise ValueError(encoded.drop_reason)
    return encoded


def encode_batch(
    tokenizer: PreTrainedTokenizerFast,
    conversations: Sequence[Conversation],
    trained: Sequence[Sequence[int]],
) -> list[EncodedConversation]:
    """`encode` of each conversation, much faster than one by one.

    Args:
      trained: indices of each conversation's trained messages, rising.

    Returns:
      One result a conversation; a `drop_reason` stands in place of an error about the
      conversation alone.
    """
    end = templates.end_of_turn(tokenizer)
    end_id = tokenizers.token_id(tokenizer, end)
    conversations = [
        template_probe.map_developer_role(tokenizer, c) for c in conversations
    ]
    answers = find_answer_spans(tokenizer, conversations, trained, end=end)
    reasons = [
        one.rendered.template_error
        or template_probe.drop_reason(tokenizer, c, indices, one.rendered.text)
        for c, indices, one in zip(conversations, trained, answers, strict=True)
    ]
    usable = [one for one, reason in zip(answers, reasons, strict=True) if not reason]
    spans = itertools.chain(*([one.last, *one.earlier] for one in usable))
    texts = list(dict.fromkeys(itertools.chain(*spans)))
    ids = dict(zip(texts, encode_with_bos(tokenizer, texts), strict=True))
    encoded = []
    for conversation, indices, one, reason in zip(
        conversations, trained, answers, reasons, strict=True
    ):
        if reason:
            nothing = np.zeros(0, np.int32), np.zeros(0, bool)
            encoded.append(EncodedConversation(*nothing, reason))
            continue
        last_is_trained = len(conversation.messages) - 1 in indices
        tokens, mask = encode_answer_spans(tokenizer, one, ids, end_id, last_is_trained)
        note = template_probe.omission_note(tokenizer, conversation)
        encoded.append(EncodedConversation(tokens, mask, note=note))
    return encoded


def encode_plain(
    tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]
) -> list[EncodedConversation]:
    """Tokenizes texts without roles: beginning token, text, end of sequence.

    All tokens are trained but the first, which nothing predicts; no chat template is
    applied.
    """
    begin = [tokenizer.bos_token_id] * (tokenizer.bos_token_id is not None)
    encoded = []
    for ids in encode_texts(tokenizer, texts):
        tokens = np.array([*begin, *ids, tokenizer.eos_token_id], np.int32)
        encoded.append(EncodedConversation(tokens, np.arange(len(tokens)) > 0))
    return encoded


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
    """Ids of the tokens that end an answer: the template's end of turn, and of text."""
    ends = (templates.end_of_turn(tokenizer), str(tokenizer.eos_token))
    return tuple(dict.fromkeys(tokenizers.token_id(tokenizer, end) for end in ends))


def encode_answer_spans(
    tokenizer: PreTrainedTokenizerFast,
    answers: TrainedAnswers,
    ids: Mapping[str, Tokens],
    end: int,
    last_is_trained: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Token ids of a conversation and the mask of its trained answers.

    Args:
      ids: token ids of every text in `answers`.
      end: id of the token that ends a turn.

    Returns:
      tokens, int32 [T]; mask, bool [T].
    """
    start = len(ids[answers.last.prompt])
    tokens = prompt_and_answer_tokens(tokenizer, answers.last, ids)
    # up to the first end token, of which there is exactly one
    with contextlib.suppress(ValueError):
        tokens = tokens[: tokens.index(end, start)]
    tokens = [*tokens, end]
    mask = np.zeros(len(tokens), bool)
    mask[max(start, 1) :] = last_is_trained  # nothing predicts the first token
    for span in answers.earlier:
        prompt = ids[span.prompt]
        if tokens[: len(prompt)] != prompt:
            raise ValueError(boundary_error(span))
        mask[max(len(prompt), 1) : len(ids[span.through_answer])] = True
    return np.array(tokens, np.int32), mask


def prompt_and_answer_tokens(
    tokenizer: PreTrainedTokenizerFast, span: AnswerSpan, ids: Mapping[str, Tokens]
) -> Tokens:
    """Token ids of prompt and answer, beginning with exactly the prompt's.

    Where a token of the whole text spans the boundary, the answer is tokenized by
    itself, as the model would sample it.

    Raises:
      ValueError: the tokens would then decode to another text.
    """
    prompt, whole = ids[span.prompt], ids[span.through_answer]
    if whole[: len(prompt)] == prompt:
        return whole
    (answer,) = encode_texts(tokenizer, [span.through_answer[len(span.prompt) :]])
    if tokenizer.decode(prompt + answer) != tokenizer.decode(whole):
        raise ValueError(boundary_error(span))
    return prompt + answer


def boundary_error(span: AnswerSpan) -> str:
    """The error message for a token that belongs to both prompt and answer."""
    answer = span.through_answer[len(span.prompt) :]
    return (
        f"the tokenizer has one token over the end of the prompt "
        f"{span.prompt[-40:]!r} and the start of its answer {answer[:40]!r}: move "
        "white space from the prompt's end to the answer's start"
    )
