"""Records -> examples: token ids with masks; cut and dropped rows are counted."""

import collections
import re
from collections.abc import Iterator, Sequence

import numpy as np

from jaxalign.data import chat, special_tokens, splits
from jaxalign.data.chat import EncodedConversation
from jaxalign.data.examples import Example, TokenRow
from jaxalign.data.records import (
    Answer,
    Demonstration,
    Preference,
    Prompt,
    Ranking,
    Record,
    RowReport,
    Unpaired,
    assistant_message,
)
from jaxalign.data.templates import Conversation, Message
from jaxalign.data.tokenizer_type import PreTrainedTokenizerFast


class DroppedRow(ValueError):
    """A row that is left out; the message is the reason, which is counted."""


def tokenize(
    records: Sequence[Record],
    tokenizer: PreTrainedTokenizerFast,
    *,
    context: int,
    overlong: str = "drop",
    all_turns: bool = False,
) -> tuple[list[Example], RowReport]:
    """Tokenizes records of one kind; drops and cuts are counted.

    An example's `row` is its record's index among all of them, dropped ones included,
    so that it does not depend on the context.

    Args:
      context: length of the longest sequence, in tokens.
      overlong: "drop" leaves longer rows out; "truncate" cuts the prompt from its
        start (its first token stays), alike for all answers to it, and then the
        answers at their ends.
      all_turns: train on every answer of SFT data, not the last alone.

    Returns:
      The examples, and how many records were dropped or cut, by reason.

    Raises:
      ValueError: nothing is left, a conversation that cannot be encoded (names its
        location), or an unknown `overlong`.
    """
    examples, report = tokenize_usable(
        records, tokenizer, context=context, overlong=overlong, all_turns=all_turns
    )
    if not examples:
        raise ValueError(f"no row can be used, with --context {context}: {report}")
    return examples, report


def tokenize_usable(
    records: Sequence[Record],
    tokenizer: PreTrainedTokenizerFast,
    *,
    context: int,
    overlong: str,
    all_turns: bool,
    first: int = 0,
) -> tuple[list[Example], RowReport]:
    """`tokenize`, but the result may be empty.

    Args:
      first: number of the first record; those of the others follow.
    """
    if overlong not in ("drop", "truncate"):
        raise ValueError(f"overlong is drop or truncate, not {overlong!r}")
    examples, reasons = [], collections.Counter[str]()
    forbidden = re.compile(
        "|".join(map(re.escape, special_tokens.forbidden_tokens(tokenizer)))
    )
    by_record = [conversations(record) for record in records]
    encoded = encode_records(records, by_record, tokenizer, all_turns=all_turns)
    for row, (record, dialogues, rows) in enumerate(
        zip(records, by_record, encoded, strict=True), start=first
    ):
        try:
            check_usable(record, dialogues, rows, forbidden)
            sequences = tuple(TokenRow(each.tokens, each.mask) for each in rows)
            fitted = fit_to_context(sequences, context, overlong)
            if isinstance(record, Preference) and is_identical_pair(fitted):
                raise DroppedRow("identical where they are cut")
        except DroppedRow as reason:
            reasons[str(reason)] += 1
            continue
        reasons["cut to the context (kept)"] += fitted is not sequences
        reasons.update({each.note for each in rows if each.note})
        prompt_hash = splits.prompt_hash(record)
        label_prob = record.label_prob if isinstance(record, Preference) else 1.0
        value = value_of(record)
        examples.append(
            Example(fitted, row, value, prompt_hash, record.fields, label_prob)
        )
    return examples, RowReport(len(records), len(examples), +reasons)


def encode_records(
    records: Sequence[Record],
    by_record: Sequence[list[Conversation]],
    tokenizer: PreTrainedTokenizerFast,
    *,
    all_turns: bool,
) -> Iterator[tuple[EncodedConversation, ...]]:
    """Encodes the conversations of each record, those of all records at once.

    Args:
      by_record: the conversations of each record.

    Raises:
      ValueError: names the location of the record that cannot be encoded.
    """
    pairs = [
        (record, conversation)
        for record, its in zip(records, by_record, strict=True)
        for conversation in its
    ]
    try:
        rows = iter(encode_conversations(pairs, tokenizer, all_turns=all_turns))
    except ValueError:
        for pair in pairs:
            try:
                encode_conversations([pair], tokenizer, all_turns=all_turns)
            except ValueError as error:
                raise ValueError(f"{pair[0].location}: {error}") from error
        raise
    for its in by_record:
        yield tuple(next(rows) for _ in its)


def encode_conversations(
    pairs: Sequence[tuple[Record, Conversation]],
    tokenizer: PreTrainedTokenizerFast,
    *,
    all_turns: bool,
) -> list[EncodedConversation]:
    """Encodes conversations, each by the kind of its record: prompt, chat or text."""
    if not pairs or isinstance(pairs[0][0], Prompt):
        return chat.try_encode_prompts(tokenizer, [c for _, c in pairs])
    texts = [c.messages[0]["content"] for record, c in pairs if is_plain(record)]
    chats = [(record, c) for record, c in pairs if not is_plain(record)]
    trained = [trained_indices(record, c, all_turns) for record, c in chats]
    plain = iter(chat.encode_plain(tokenizer, texts))
    others = iter(chat.encode_batch(tokenizer, [c for _, c in chats], trained))
    return [next(plain if is_plain(record) else others) for record, _ in pairs]


def is_plain(record: Record) -> bool:
    """Whether a record is a text without roles."""
    return isinstance(record, Demonstration) and record.plain


def trained_indices(
    record: Record, conversation: Conversation, all_turns: bool
) -> list[int]:
    """Indices of the trained messages: for preferences, of the last message alone."""
    messages = conversation.messages
    if isinstance(record, Demonstration):
        return chat.trained_answer_indices(messages, all_turns=all_turns)
    return [len(messages) - 1] * messages[-1].get("train", True)


def conversations(record: Record) -> list[Conversation]:
    """The prompt with each of its answers."""
    if isinstance(record, Prompt | Demonstration):
        return [Conversation(record.messages, record.tools)]
    if isinstance(record, Preference):
        answers: tuple[Answer, ...] = (record.chosen, record.rejected)
    else:
        answers = record.answers if isinstance(record, Ranking) else (record.answer,)
    return [
        Conversation([*record.prompt, assistant_message(answer)], record.tools)
        for answer in answers
    ]


def value_of(record: Record) -> float:
    """The value of a record's example, see `Example`."""
    if isinstance(record, Preference):
        return record.margin
    return float(isinstance(record, Unpaired) and record.desirable)


def check_usable(
    record: Record,
    dialogues: list[Conversation],
    rows: tuple[EncodedConversation, ...],
    forbidden: re.Pattern[str],
) -> None:
    """Refuses rows that would train nothing, or the wrong thing.

    Args:
      dialogues: the record's conversations.
      rows: the same, encoded.
      forbidden: matches special tokens that no text may contain.

    Raises:
      DroppedRow: special tokens written out, messages that the chat template omits, an
        empty answer, no trained message, or a pair of the same tokens.
    """
    texts = {text for conversation in dialogues for text in conversation.texts()}
    if any(map(forbidden.search, texts)):
        raise DroppedRow("with special tokens in their text")
    for row in rows:
        if row.drop_reason:
            raise DroppedRow(row.drop_reason)
    if isinstance(record, Prompt):
        return
    if any(is_empty_answer(conversation.messages[-1]) for conversation in dialogues):
        raise DroppedRow("with an empty answer")
    if not all(row.mask.any() for row in rows):
        raise DroppedRow("with nothing that is trained (field 'train')")
    if isinstance(record, Preference) and is_identical_pair(rows):
        raise DroppedRow("identical as tokens")


def is_empty_answer(message: Message) -> bool:
    """Whether an answer has neither text nor tool calls."""
    return not (message["content"].strip() or message.get("tool_calls"))


def is_identical_pair(pair: Sequence[TokenRow | EncodedConversation]) -> bool:
    """Whether the two sequences of a pair have the same tokens."""
    return np.array_equal(pair[0].tokens, pair[1].tokens)


def fit_to_context(
    sequences: tuple[TokenRow, ...], context: int, overlong: str
) -> tuple[TokenRow, ...]:
    """Cuts sequences to the context, as `overlong` says; those that fit are returned.

    Raises:
      DroppedRow: a sequence is too long and not to be cut, or nothing is left of an
        answer.
    """
    excess = max(len(sequence.tokens) for sequence in sequences) - context
    if excess <= 0:
        return sequences
    if overlong == "drop":
        raise DroppedRow(f"longer than {context} tokens")
    shortest = min(sequence.prompt_length for sequence in sequences)
    removed = min(excess, shortest - 1)  # the first token never counts

    def cut(x: np.ndarray) -> np.ndarray:
        return np.concatenate([x[:1], x[1 + removed :]])[:context]

    rows = tuple(TokenRow(cut(s.tokens), cut(s.mask)) for s in sequences)
    if any(
        s.mask.any() and not r.mask.any() for s, r in zip(sequences, rows, strict=True)
    ):
        raise DroppedRow(f"with no room for an answer in {context} tokens")
    return rows
