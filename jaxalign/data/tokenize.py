"""Records as tokens: what is cut, what is left out, and how often."""

import collections
import dataclasses
import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from transformers import PreTrainedTokenizerFast

from jaxalign.data import chat, special_tokens, splits
from jaxalign.data.records import (
    Answer,
    Demonstration,
    Fields,
    Preference,
    Prompt,
    Ranking,
    Record,
    RowReport,
    Unpaired,
    assistant_message,
)
from jaxalign.data.templates import Conversation, Message


@dataclasses.dataclass(frozen=True)
class TokenRow:
    """One tokenised sequence, and True on the tokens that count, those of answers."""

    tokens: np.ndarray
    mask: np.ndarray

    @property
    def prompt(self) -> int:
        """How many tokens come before the first that counts."""
        return int(self.mask.argmax()) if self.mask.any() else len(self.mask)


@dataclasses.dataclass(frozen=True)
class Example:
    """A tokenised row: its sequences, its number in the data set, what else it says.

    A demonstration has one sequence, a pair two (chosen, rejected), a ranking K, an
    unpaired answer one, with the thumb in `value`, and a prompt one, in which nothing
    counts. A pair's `value` is its margin, and `label_prob` its soft label. `prompt` is `splits.prompt_hash` of the
    record: what the held-out split and intervals go by. `fields` are the row's others,
    which examples that are kept on disk have not.
    """

    sequences: tuple[TokenRow, ...]
    row: int
    value: float = 0.0
    prompt: int = 0
    fields: Fields = dataclasses.field(default_factory=dict)
    label_prob: float = 1.0


class DroppedRow(ValueError):
    """A row that is left out; the message is the reason that is counted."""


def tokenize(
    records: Sequence[Record],
    tokenizer: PreTrainedTokenizerFast,
    *,
    context: int,
    overlong: str = "drop",
    all_turns: bool = False,
) -> tuple[list[Example], RowReport]:
    """Tokenises records of one kind; drops and cuts are counted.

    An example's `row` is its record's place among all of them, dropped ones included,
    so that it does not depend on the context.

    Args:
      context: longest sequence.
      overlong: "drop" leaves longer rows out; "truncate" cuts the prompt from its
        start (its first token stays), alike for all answers to it, and then the
        answers at their ends.
      all_turns: count every answer in a demonstration, not the last alone.

    Raises:
      ValueError: nothing is left, a conversation that cannot be encoded (says where it
        is from), or an unknown `overlong`.
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
    """`tokenize`, of records from the `first` on; that nothing is left is no error."""
    if overlong not in ("drop", "truncate"):
        raise ValueError(f"overlong is drop or truncate, not {overlong!r}")
    examples, reasons = [], collections.Counter[str]()
    marks = re.compile(
        "|".join(map(re.escape, special_tokens.forbidden_tokens(tokenizer)))
    )
    told = [conversations(record) for record in records]
    found = encode_records(records, told, tokenizer, all_turns=all_turns)
    for row, (record, talks, rows) in enumerate(
        zip(records, told, found, strict=True), start=first
    ):
        try:
            check_usable(record, talks, rows, marks)
            sequences = tuple(TokenRow(each.tokens, each.mask) for each in rows)
            cut = fit_to_context(sequences, context, overlong)
            if isinstance(record, Preference) and is_identical_pair(cut):
                raise DroppedRow("identical where they are cut")
        except DroppedRow as reason:
            reasons[str(reason)] += 1
            continue
        reasons["cut to the context (kept)"] += cut is not sequences
        reasons.update({each.note for each in rows if each.note})
        prompt = splits.prompt_hash(record)
        label_prob = record.label_prob if isinstance(record, Preference) else 1.0
        value = value_of(record)
        examples.append(Example(cut, row, value, prompt, record.fields, label_prob))
    return examples, RowReport(len(records), len(examples), +reasons)


def encode_records(
    records: Sequence[Record],
    told: Sequence[list[Conversation]],
    tokenizer: PreTrainedTokenizerFast,
    *,
    all_turns: bool,
) -> Iterator[tuple[chat.EncodedConversation, ...]]:
    """The sequences of each record, of its conversations, all tokenised at once.

    Raises:
      ValueError: names the record that cannot be encoded.
    """

    def together(
        some: Sequence[tuple[Record, Conversation]],
    ) -> list[chat.EncodedConversation]:
        if not some or isinstance(some[0][0], Prompt):
            return chat.try_encode_prompts(tokenizer, [talk for _, talk in some])
        plain = [(r, t) for r, t in some if is_plain(r)]
        others = [(r, t) for r, t in some if not is_plain(r)]
        texts = [talk.messages[0]["content"] for _, talk in plain]
        whole = iter(chat.encode_plain(tokenizer, texts))
        counts = [trained_indices(record, talk, all_turns) for record, talk in others]
        talks = [talk for _, talk in others]
        turns = iter(chat.encode_batch(tokenizer, talks, counts))
        return [next(whole if is_plain(record) else turns) for record, _ in some]

    pairs = [
        (record, talk)
        for record, talks in zip(records, told, strict=True)
        for talk in talks
    ]
    try:
        rows = iter(together(pairs))
    except ValueError:
        for record, talk in pairs:
            try:
                together([(record, talk)])
            except ValueError as error:
                raise ValueError(f"{record.location}: {error}") from error
        raise
    for talks in told:
        yield tuple(next(rows) for _ in talks)


def is_plain(record: Record) -> bool:
    """Whether a record is a text without roles."""
    return isinstance(record, Demonstration) and record.plain


def trained_indices(record: Record, talk: Conversation, all_turns: bool) -> list[int]:
    """The places of the messages that count: of a pair's conversations the answer."""
    if isinstance(record, Demonstration):
        return chat.trained_answer_indices(talk.messages, all_turns=all_turns)
    return [len(talk.messages) - 1] * talk.messages[-1].get("train", True)


def conversations(record: Record) -> list[Conversation]:
    """The prompt with each of its answers."""
    if isinstance(record, Prompt | Demonstration):
        return [Conversation(record.messages, record.tools)]
    if isinstance(record, Preference):
        answers: tuple[Answer, ...] = (record.chosen, record.rejected)
    else:
        answers = record.answers if isinstance(record, Ranking) else (record.answer,)
    return [
        Conversation([*record.prompt, assistant_message(each)], record.tools)
        for each in answers
    ]


def value_of(record: Record) -> float:
    """The number that a record carries."""
    if isinstance(record, Preference):
        return record.margin
    return float(isinstance(record, Unpaired) and record.desirable)


def check_usable(
    record: Record,
    talks: list[Conversation],
    rows: tuple[chat.EncodedConversation, ...],
    marks: re.Pattern[str],
) -> None:
    """Refuses rows that teach nothing, or the wrong thing.

    Raises:
      Dropped: special tokens written out, what the chat template does not show, an
        empty answer, nothing that is trained, a pair of the same tokens.
    """
    texts = {text for talk in talks for text in talk.texts()}
    if any(map(marks.search, texts)):
        raise DroppedRow("with special tokens in their text")
    for row in rows:
        if row.drop_reason:
            raise DroppedRow(row.drop_reason)
    if isinstance(record, Prompt):
        return
    if any(is_empty_answer(talk.messages[-1]) for talk in talks):
        raise DroppedRow("with an empty answer")
    if not all(row.mask.any() for row in rows):
        raise DroppedRow("with nothing that is trained (field 'train')")
    if isinstance(record, Preference) and is_identical_pair(rows):
        raise DroppedRow("identical as tokens")


def is_empty_answer(message: Message) -> bool:
    """Whether an answer says nothing, and calls nothing."""
    return not (message["content"].strip() or message.get("tool_calls"))


def is_identical_pair(
    sequences: tuple[TokenRow | chat.EncodedConversation, ...],
) -> bool:
    """Whether the two sequences of a pair have the same tokens."""
    return np.array_equal(sequences[0].tokens, sequences[1].tokens)


def fit_to_context(
    sequences: tuple[TokenRow, ...], context: int, overlong: str
) -> tuple[TokenRow, ...]:
    """The sequences within the context, cut or refused; the same ones if they fit.

    Raises:
      Dropped: too long, and not to be cut; or an answer of which nothing would be left.
    """
    excess = max(len(sequence.tokens) for sequence in sequences) - context
    if excess <= 0:
        return sequences
    if overlong == "drop":
        raise DroppedRow(f"longer than {context} tokens")
    shortest = min(sequence.prompt for sequence in sequences)
    removed = min(excess, shortest - 1)  # the first token never counts

    def cut(x: np.ndarray) -> np.ndarray:
        return np.concatenate([x[:1], x[1 + removed :]])[:context]

    rows = tuple(TokenRow(cut(s.tokens), cut(s.mask)) for s in sequences)
    if any(
        s.mask.any() and not r.mask.any() for s, r in zip(sequences, rows, strict=True)
    ):
        raise DroppedRow(f"with no room for an answer in {context} tokens")
    return rows


def longest_sequence(examples: Sequence[Example]) -> int:
    """Tokens of the longest sequence; data on disk know it without being read."""
    known = getattr(examples, "longest", None)
    if known is not None:
        return int(known)
    return max(len(row.tokens) for example in examples for row in example.sequences)


def example_rows(examples: Sequence[Example]) -> np.ndarray:
    """The `row` of each example."""
    known = getattr(examples, "rows", None)
    return np.array([e.row for e in examples]) if known is None else known


def example_prompt_hashes(examples: Sequence[Example]) -> np.ndarray:
    """The `prompt` hash of each example, uint64 [R]."""
    known = getattr(examples, "prompts", None)
    if known is not None:
        return known
    return np.array([e.prompt for e in examples], np.uint64)


def example_values(examples: Sequence[Example]) -> np.ndarray:
    """The `value` of each example, float32 [R]."""
    known = getattr(examples, "values", None)
    if known is not None:
        return known
    return np.array([e.value for e in examples], np.float32)


def example_label_probs(examples: Sequence[Example]) -> np.ndarray:
    """The `label_prob` of each example, float32 [R]."""
    known = getattr(examples, "label_probs", None)
    if known is not None:
        return np.asarray(known)
    return np.array([e.label_prob for e in examples], np.float32)


def example_sizes(examples: Sequence[Example]) -> np.ndarray:
    """Tokens of each example, over its sequences [R]."""
    known = getattr(examples, "sizes", None)
    if known is not None:
        return known
    found = (sum(len(row.tokens) for row in e.sequences) for e in examples)
    return np.fromiter(found, np.int64, len(examples))


def digest(examples: Iterable[Example]) -> str:
    """A hash of the tokens, masks, lengths and numbers of examples, one at a time."""
    hashed = hashlib.blake2b(digest_size=16)
    for example in examples:
        for sequence in example.sequences:
            header = np.array([len(sequence.tokens), example.row], np.int64)
            hashed.update(header.tobytes())
            hashed.update(np.ascontiguousarray(sequence.tokens).tobytes())
            hashed.update(np.ascontiguousarray(sequence.mask).tobytes())
    return hashed.hexdigest()
