"""Conversations as tokens, and which of them are the assistant's.

Special tokens are handled here and nowhere else: one beginning-of-sequence token where
the tokenizer has one, and one end token after the answer that is trained on: the one
that the chat template ends turns with, or else the tokenizer's end of sequence.
"""

import contextlib
import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from transformers import PreTrainedTokenizerFast

from jaxalign.data import template_probe, templates
from jaxalign.data import tokenizer as tokenizers
from jaxalign.data.answer_spans import AnswerSpan, TrainedAnswers
from jaxalign.data.answer_spans import find_answer_spans as turns_of
from jaxalign.data.records import Tools
from jaxalign.data.templates import Conversation, Messages
from jaxalign.data.text_encoding import Tokens, encode_texts, encode_with_bos


class EncodedConversation(NamedTuple):
    """A conversation: its tokens [T], and True on those of the assistant's answer.

    Attributes:
      drop_reason: why it must not be used, since its text lacks what it says; it then has
        no tokens.
      note: what is to be counted, of one that may.
    """

    tokens: np.ndarray
    mask: np.ndarray
    drop_reason: str = ""
    note: str = ""


def encode_prompt(
    tokenizer: PreTrainedTokenizerFast, messages: Messages, tools: Tools = ()
) -> np.ndarray:
    """The tokens [T] of a conversation up to where the assistant is to answer.

    By the chat template, or, for a base model that has none, the contents one after
    the other (see `templates.join_contents`).

    Raises:
      ValueError: no messages, a template that fails on them or leaves them out.
    """
    return encode_prompts(tokenizer, [Conversation(messages, tools)])[0]


def encode_prompts(
    tokenizer: PreTrainedTokenizerFast, talks: Sequence[Conversation | Messages]
) -> list[np.ndarray]:
    """`encode_prompt` of each conversation, much faster than one by one."""
    found = try_encode_prompts(tokenizer, list(map(as_conversation, talks)))
    for one in found:
        if one.drop_reason:
            raise ValueError(one.drop_reason)
    return [one.tokens for one in found]


def as_conversation(talk: Conversation | Messages) -> Conversation:
    """A conversation, of its messages or with its tools."""
    return talk if isinstance(talk, Conversation) else Conversation(talk)


def try_encode_prompts(
    tokenizer: PreTrainedTokenizerFast, talks: Sequence[Conversation]
) -> list[EncodedConversation]:
    """Prompts, in which nothing counts; some may be refused.

    Raises:
      ValueError: no messages, or a template that fails on them.
    """
    if not all(talk.messages for talk in talks):
        raise ValueError("a prompt needs at least one message")
    talks = [template_probe.map_developer_role(tokenizer, talk) for talk in talks]
    wholes = templates.render_prompts(tokenizer, talks)
    refused = [
        whole.template_error
        or template_probe.drop_reason(tokenizer, talk, (), whole.text)
        for talk, whole in zip(talks, wholes, strict=True)
    ]
    notes = [template_probe.omission_note(tokenizer, talk) for talk in talks]
    ids = encode_with_bos(tokenizer, [whole.text for whole in wholes])
    return [
        EncodedConversation(
            np.array(row, np.int32), np.zeros(len(row), bool), why, note
        )
        for row, why, note in zip(ids, refused, notes, strict=True)
    ]


def trained_answer_indices(messages: Messages, *, all_turns: bool) -> list[int]:
    """The places of the messages that are trained: of the last turn, or of all turns.

    The last turn is the last answer and the calls whose results led to it. A message
    with `train` False is not trained.
    """
    said = [i for i, m in enumerate(messages) if m["role"] == "assistant"]
    if not all_turns:
        asked = [i for i, m in enumerate(messages) if m["role"] != "assistant"]
        results = {i for i in asked if messages[i]["role"] == "tool"}
        since = max((i for i in asked if i not in results), default=-1)
        last = len(messages) - 1
        said = [
            i
            for i in said
            if i == last or (i > since and messages[i].get("tool_calls"))
        ]
    return [i for i in said if messages[i].get("train", True)]


def encode(
    tokenizer: PreTrainedTokenizerFast,
    messages: Messages,
    tools: Tools = (),
    *,
    all_turns: bool = False,
) -> EncodedConversation:
    """The tokens of a conversation that ends with the assistant's answer.

    The mask is True on that answer, the calls that led to it and their end tokens; with
    `all_turns`, on every answer of the assistant. The tokens before the answer are
    exactly those of `encode_prompt`, since they are what the model will see when it
    answers.

    Raises:
      ValueError: the last message is not the assistant's, the template or the tokenizer
        changes the prompt when an answer follows it, or the template leaves out what
        the conversation says.
    """
    trained = trained_answer_indices(messages, all_turns=all_turns)
    (found,) = encode_batch(tokenizer, [Conversation(messages, tools)], [trained])
    if found.drop_reason:
        raise ValueError(found.drop_reason)
    return found


def encode_batch(
    tokenizer: PreTrainedTokenizerFast,
    talks: Sequence[Conversation],
    trained: Sequence[Sequence[int]],
) -> list[EncodedConversation]:
    """`encode` of each conversation, much faster than one by one; some are refused.

    Args:
      trained: the places of the messages that count in each conversation.
    """
    end = templates.end_of_turn(tokenizer)
    end_id = tokenizers.token_id(tokenizer, end)
    talks = [template_probe.map_developer_role(tokenizer, talk) for talk in talks]
    turns = turns_of(tokenizer, talks, trained, end=end)
    refused = [
        told.whole.template_error
        or template_probe.drop_reason(tokenizer, talk, counts, told.whole.text)
        for talk, counts, told in zip(talks, trained, turns, strict=True)
    ]
    kept = [told for told, why in zip(turns, refused, strict=True) if not why]
    parts = itertools.chain(*([told.last, *told.earlier] for told in kept))
    texts = list(dict.fromkeys(itertools.chain(*parts)))
    ids = dict(zip(texts, encode_with_bos(tokenizer, texts), strict=True))
    nothing = (np.zeros(0, np.int32), np.zeros(0, bool))
    return [
        EncodedConversation(*nothing, why)
        if why
        else encode_answer_spans(
            tokenizer, told, ids, end_id, len(talk.messages) - 1 in counts
        )._replace(note=template_probe.omission_note(tokenizer, talk))
        for talk, counts, told, why in zip(talks, trained, turns, refused, strict=True)
    ]


def encode_plain(
    tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]
) -> list[EncodedConversation]:
    """Texts without roles: the beginning token, the text, the end of sequence.

    All but the first token count, which nothing predicts; no chat template is applied.
    """
    begin = [tokenizer.bos_token_id] * (tokenizer.bos_token_id is not None)
    found = []
    for ids in encode_texts(tokenizer, texts):
        tokens = np.array([*begin, *ids, tokenizer.eos_token_id], np.int32)
        found.append(EncodedConversation(tokens, np.arange(len(tokens)) > 0))
    return found


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
    return tuple(dict.fromkeys(tokenizers.token_id(tokenizer, end) for end in ends))


def encode_answer_spans(
    tokenizer: PreTrainedTokenizerFast,
    told: TrainedAnswers,
    ids: Mapping[str, Tokens],
    end: int,
    last_counts: bool,
) -> EncodedConversation:
    """The tokens of a conversation, True on those of its turns that are trained."""
    start = len(ids[told.last.prompt])
    tokens = prompt_and_answer_tokens(tokenizer, told.last, ids)
    # up to the first end token, which is there exactly once
    with contextlib.suppress(ValueError):
        tokens = tokens[: tokens.index(end, start)]
    tokens = [*tokens, end]
    mask = np.zeros(len(tokens), bool)
    mask[max(start, 1) :] = last_counts  # nothing predicts the first token
    for turn in told.earlier:
        asked = ids[turn.prompt]
        if tokens[: len(asked)] != asked:
            raise ValueError(boundary_error(turn))
        mask[max(len(asked), 1) : len(ids[turn.until])] = True
    return EncodedConversation(np.array(tokens, np.int32), mask)


def prompt_and_answer_tokens(
    tokenizer: PreTrainedTokenizerFast, turn: AnswerSpan, ids: Mapping[str, Tokens]
) -> Tokens:
    """The whole text's tokens, which begin with the prompt's.

    Where a token reaches over the boundary, the answer is tokenised apart, as the model
    would have to say it; a tokenizer that would then say another text is refused.
    """
    prompt, whole = ids[turn.prompt], ids[turn.until]
    if whole[: len(prompt)] == prompt:
        return whole
    (alone,) = encode_texts(tokenizer, [turn.until[len(turn.prompt) :]])
    if tokenizer.decode(prompt + alone) != tokenizer.decode(whole):
        raise ValueError(boundary_error(turn))
    return prompt + alone


def boundary_error(turn: AnswerSpan) -> str:
    """What is wrong where a token is both the prompt's and the answer's."""
    answer = turn.until[len(turn.prompt) :]
    return (
        f"the tokenizer has one token over the end of the prompt "
        f"{turn.prompt[-40:]!r} and the start of its answer {answer[:40]!r}: move "
        "white space from the prompt's end to the answer's start"
    )
