"""Records -> tokens -> batches: shuffled, sharded by process, resumable.

An iterator yields numpy batches of one shape, so that the step is traced once.
"""

import collections
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import grain
import jax
import numpy as np
from transformers import PreTrainedTokenizerFast

from jaxalign.batches import (
    PreferenceBatch,
    RankingBatch,
    TokenBatch,
    UnpairedBatch,
    from_lengths,
)
from jaxalign.data import chat
from jaxalign.data.records import (
    Demonstration,
    Messages,
    Preference,
    Ranking,
    Record,
    Report,
    Unpaired,
    said,
)


@dataclasses.dataclass(frozen=True)
class TokenRow:
    """One tokenised sequence: `prompt` tokens, then the answer's."""

    tokens: np.ndarray
    prompt: int


@dataclasses.dataclass(frozen=True)
class Example:
    """A tokenised row: its sequences, its number in the data set, what else it says.

    A demonstration has one sequence, a pair two (chosen, rejected), a ranking K, and an
    unpaired answer one, with the thumb in `value`; a pair's `value` is its margin.
    """

    sequences: tuple[TokenRow, ...]
    row: int
    value: float = 0.0


@dataclasses.dataclass(frozen=True)
class PromptBatch:
    """Prompts to answer, right-padded.

    Attributes:
      tokens: [B T].
      lengths: tokens of each prompt [B].
      row: which prompt of the data set [B].
    """

    tokens: np.ndarray
    lengths: np.ndarray
    row: np.ndarray


class Dropped(ValueError):
    """A row that is left out; the message is the reason that is counted."""


def tokenise(
    records: Sequence[Record],
    tokenizer: PreTrainedTokenizerFast,
    *,
    context: int,
    overlong: str = "drop",
) -> tuple[list[Example], Report]:
    """Tokenises records of one kind; drops and cuts are counted.

    Args:
      context: longest sequence.
      overlong: "drop" leaves longer rows out; "truncate" cuts the prompt from its
        start, and then the answer at its end.

    Raises:
      ValueError: nothing is left, or an unknown `overlong`.
    """
    if overlong not in ("drop", "truncate"):
        raise ValueError(f"overlong is drop or truncate, not {overlong!r}")
    examples, reasons = [], collections.Counter[str]()
    for row, record in enumerate(records):
        messages, answers, value = parts_of(record)
        try:
            sequences = [encode(tokenizer, [*messages, said(a)]) for a in answers]
            if isinstance(record, Preference) and alike(sequences):
                raise Dropped("identical as tokens")
            cut = [fit(s, context, overlong) for s in sequences]
        except Dropped as reason:
            reasons[str(reason)] += 1
            continue
        if any(a is not b for a, b in zip(cut, sequences, strict=True)):
            reasons["cut to the context (kept)"] += 1
        examples.append(Example(tuple(cut), row, value))
    report = Report(len(records), len(examples), reasons)
    if not examples:
        raise ValueError(f"no row can be used with a context of {context}: {report}")
    return examples, report


def parts_of(record: Record) -> tuple[Messages, tuple[str, ...], float]:
    """The prompt, the answers, and the number that a record carries."""
    if isinstance(record, Demonstration):
        return record.messages[:-1], (record.messages[-1]["content"],), 0.0
    if isinstance(record, Preference):
        return record.prompt, (record.chosen, record.rejected), record.margin
    if isinstance(record, Ranking):
        return record.prompt, record.answers, 0.0
    if isinstance(record, Unpaired):
        return record.prompt, (record.answer,), float(record.desirable)
    raise TypeError(f"{type(record).__name__} has no answers to train on")


def encode(tokenizer: PreTrainedTokenizerFast, messages: Messages) -> TokenRow:
    """One conversation as tokens."""
    if not messages[-1]["content"].strip():
        raise Dropped("with an empty answer")
    encoded = chat.encode(tokenizer, messages)
    return TokenRow(encoded.tokens, int(len(encoded.mask) - encoded.mask.sum()))


def alike(sequences: list[TokenRow]) -> bool:
    """Whether the two sequences of a pair have the same tokens."""
    return np.array_equal(sequences[0].tokens, sequences[1].tokens)


def fit(sequence: TokenRow, context: int, overlong: str) -> TokenRow:
    """The sequence within the context, cut or refused."""
    excess = len(sequence.tokens) - context
    if excess <= 0:
        return sequence
    if overlong == "drop":
        raise Dropped(f"longer than {context} tokens")
    removed = min(excess, sequence.prompt - 1)
    tokens = np.concatenate([sequence.tokens[:1], sequence.tokens[1 + removed :]])
    return TokenRow(tokens[:context], sequence.prompt - removed)


def unpaired(pairs: Sequence[Example]) -> list[Example]:
    """Each pair as two single answers, thumb up and thumb down, with rows of their own.

    The two answers of a prompt stand half the data set apart, so that neighbours, whose
    answers are exchanged for KTO's mismatched ones, have different prompts.
    """
    ups = [Example((p.sequences[0],), 2 * p.row, 1.0) for p in pairs]
    downs = [Example((p.sequences[1],), 2 * p.row + 1, 0.0) for p in pairs]
    return ups + downs


def longest(examples: Sequence[Example]) -> int:
    """The length that all batches are padded to: a multiple of 16."""
    most = max(len(s.tokens) for e in examples for s in e.sequences)
    return -(-most // 16) * 16


def padded(sequences: Sequence[TokenRow], length: int) -> TokenBatch:
    """Sequences as one right-padded batch."""
    tokens = np.zeros((len(sequences), length), np.int32)
    for row, sequence in zip(tokens, sequences, strict=True):
        row[: len(sequence.tokens)] = sequence.tokens
    lengths = np.array([len(s.tokens) for s in sequences], np.int32)
    prompts = np.array([s.prompt for s in sequences], np.int32)
    return from_lengths(tokens, lengths, prompts)


def mismatched(examples: Sequence[Example], i: int, length: int) -> TokenRow:
    """The prompt of one example with the answer of the next that differs from it."""
    own = examples[i].sequences[0]
    for step in range(1, len(examples)):
        other = examples[(i + step) % len(examples)].sequences[0]
        answer = other.tokens[other.prompt :]
        if not np.array_equal(own.tokens[: own.prompt], other.tokens[: other.prompt]):
            tokens = np.concatenate([own.tokens[: own.prompt], answer])[:length]
            return TokenRow(tokens, own.prompt)
    raise ValueError("KTO needs two different prompts, to exchange their answers")


def collator(
    examples: Sequence[Example], kind: str, length: int
) -> Callable[[Sequence[int]], Any]:
    """How indices of examples become a batch; negative ones only fill it up."""

    def collate(indices: Sequence[int]) -> Any:
        at = np.asarray(indices)
        valid, at = at >= 0, np.maximum(at, 0)
        chosen = [examples[i] for i in at]
        sides = list(zip(*(e.sequences for e in chosen), strict=False))
        row = np.array([e.row for e in chosen], np.int32)
        value = np.array([e.value for e in chosen], np.float32)
        if kind == "demonstration":
            batch = padded(sides[0], length)
            counts = batch.loss_mask & valid[:, None]
            return dataclasses.replace(batch, loss_mask=counts)
        if kind == "preference":
            both = (padded(sides[0], length), padded(sides[1], length))
            return PreferenceBatch(*both, margin=value, row=row, valid=valid)
        if kind == "unpaired":
            others = [mismatched(examples, int(i), length) for i in at]
            answers = (padded(sides[0], length), padded(others, length))
            return UnpairedBatch(*answers, desirable=value > 0, row=row, valid=valid)
        return ranked(chosen, row, length, max(len(e.sequences) for e in examples))

    return collate


def ranked(
    chosen: Sequence[Example], row: np.ndarray, length: int, most: int
) -> RankingBatch:
    """Rankings of up to K answers; missing ones repeat the last, and do not count."""
    mask = np.array([[k < len(e.sequences) for k in range(most)] for e in chosen])
    answers = [
        e.sequences[min(k, len(e.sequences) - 1)] for e in chosen for k in range(most)
    ]
    return RankingBatch(padded(answers, length), mask, row)


KINDS = {
    Demonstration: "demonstration",
    Preference: "preference",
    Ranking: "ranking",
    Unpaired: "unpaired",
}


class Batches:
    """An iterator of batches whose place can be saved and found again."""

    def __init__(self, iterator: Any, collate: Callable[[Sequence[int]], Any]) -> None:
        self.iterator = iterator
        self.collate = collate

    def __iter__(self) -> "Batches":
        return self

    def __next__(self) -> Any:
        return self.collate(next(self.iterator))

    def get_state(self) -> Any:
        """Where the iterator stands, as JSON."""
        return self.iterator.get_state()

    def set_state(self, state: Any) -> None:
        """Goes on from a place that `get_state` gave."""
        self.iterator.set_state(state)


def indices(
    count: int,
    batch_size: int,
    *,
    seed: int,
    shuffle: bool,
    epochs: int | None,
    drop_remainder: bool,
) -> Any:
    """Batches of row indices, this process's share of each.

    Every epoch has an order of its own. Without `drop_remainder` the last batch is
    filled up with -1.
    """
    processes = jax.process_count()
    if batch_size % processes:
        raise ValueError(f"batch {batch_size} does not divide by {processes} processes")
    if drop_remainder and epochs is not None and count < batch_size:
        raise ValueError(
            f"batch {batch_size} is larger than the data set of {count} rows"
        )
    rows = np.arange(count if drop_remainder else -(-count // batch_size) * batch_size)
    rows[rows >= count] = -1
    data = grain.MapDataset.source(rows).seed(seed)
    if shuffle:
        data = data.shuffle()
    data = data.repeat(epochs)
    data = data[jax.process_index() :: processes] if processes > 1 else data
    each = batch_size // processes
    batched = data.batch(each, drop_remainder=True, batch_fn=lambda x: np.stack(x))
    return iter(batched.to_iter_dataset(grain.ReadOptions(num_threads=0)))


def batches(
    examples: Sequence[Example],
    batch_size: int,
    *,
    kind: type[Record],
    seed: int,
    shuffle: bool = True,
    epochs: int | None = None,
    length: int | None = None,
    drop_remainder: bool = True,
) -> Batches:
    """Batches of tokenised examples, without end unless `epochs` says.

    Args:
      batch_size: rows over all processes; each yields its own share.
      kind: what the examples are; the batch is a TokenBatch (Demonstration), a
        PreferenceBatch, a RankingBatch or an UnpairedBatch.
      length: what rows are padded to; by default the longest, up to a multiple of 16.
      drop_remainder: leave the last, partial batch of all epochs out; or else fill it
        up with rows that are not valid.

    Raises:
      ValueError: the batch does not divide by the processes, or exceeds the data.
    """
    length = length or longest(examples)
    iterator = indices(
        len(examples),
        batch_size,
        seed=seed,
        shuffle=shuffle,
        epochs=epochs,
        drop_remainder=drop_remainder,
    )
    return Batches(iterator, collator(examples, KINDS[kind], length))


def prompt_batches(
    tokens: np.ndarray, lengths: np.ndarray, batch_size: int, *, seed: int
) -> Batches:
    """Batches of padded prompts [P T] with their lengths [P], shuffled, without end."""
    iterator = indices(
        len(tokens),
        batch_size,
        seed=seed,
        shuffle=True,
        epochs=None,
        drop_remainder=True,
    )

    def collate(at: Sequence[int]) -> PromptBatch:
        row = np.asarray(at, np.int32)
        return PromptBatch(tokens[row], lengths[row], row)

    return Batches(iterator, collate)
