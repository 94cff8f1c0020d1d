"""Several short sequences in one row, told apart by segments.

A packed row trains like its sequences in rows of their own, without the padding; the
answers to one prompt can share it.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import grain
import numpy as np

from jaxalign.batches import BRANCH_STRIDE, AnswerBatch, TokenBatch
from jaxalign.data import mixing
from jaxalign.data.dataset_ops import Mixture
from jaxalign.data.loader import BatchIterator, weight_state
from jaxalign.data.tokenize import (
    Example,
    TokenRow,
    example_rows,
    example_sizes,
    longest_sequence,
)

BINS_PER_ROW = 4  # rows that are filled at once; more leave less padding
TARGET_ROW_TOKENS = (
    192  # tokens that a row of short prompts with their answers should have, about
)
TYPICAL_FILL = 0.93  # how much of a row is not padding, about
PER_PROMPT = (
    ("answers", np.int32),
    ("row", np.int32),
    ("value", np.float32),
    ("label_prob", np.float32),
)
Columns = dict[str, Any]  # of an example, or of a packed row: arrays and numbers
# the examples are in memory, so threads would only wait for each other
NO_THREADS = grain.ReadOptions(num_threads=0)


def packed_batches(
    examples: Sequence[Example], batch_size: int, *, length: int, seed: int
) -> BatchIterator:
    """Endless batches of demonstrations, packed first-fit in rows of `length`.

    Shuffled anew in each epoch, sharded by process, resumable. How many sequences a
    batch has varies; its shape does not.

    Args:
      batch_size: packed rows over all processes.
      length: of a row; no example may be longer.

    Raises:
      ValueError: an example is too long, the batch does not divide by the processes, or
        there are no examples.

    Reference: Krell et al. 2021, arXiv:2107.02027 (packing without contamination).
    """
    if examples and length < longest_sequence(examples):
        raise ValueError(
            f"length {length} is shorter than an example of {longest_sequence(examples)}"
        )
    return first_fit_batches(
        examples,
        [len(example.sequences[0].tokens) for example in examples],
        lambda example: sequence_columns(example.sequences[0]),
        pack_tokens,
        batch_size,
        length,
        seed=seed,
    )


def examples_per_batch(
    examples: Sequence[Example], batch_size: int, *, length: int
) -> float:
    """How many demonstrations `packed_batches` puts in a batch, about."""
    return batch_size * length * TYPICAL_FILL / float(example_sizes(examples).mean())


def answer_batches(
    examples: Sequence[Example],
    batch_size: int,
    *,
    seed: int,
    multiple: int = 1,
) -> BatchIterator:
    """Endless batches of pairs or rankings, in which each prompt is there once.

    The answers to a prompt share it, and rows are filled with several prompts: that
    saves repeated prompts, and padding. How many prompts a batch has varies around
    `batch_size`; its shape does not.

    Args:
      batch_size: prompts over all processes, on average.
      multiple: of what the number of rows must be: devices times micro-batches.

    Raises:
      ValueError: the batch does not divide by the processes, or there are no examples.
    """
    if not examples:
        raise ValueError("there are no examples to pack")
    sizes, counts = np.fromiter(
        ((packed_size(example), len(example.sequences)) for example in examples),
        np.dtype((np.int64, 2)),
        len(examples),
    ).T
    mean = float(sizes.mean())
    rows, length = packed_shape(batch_size, int(sizes.max()), mean, multiple)
    prompts = 2 * math.ceil(length / mean)
    answers = int(counts.max())
    return first_fit_batches(
        examples,
        sizes,
        shared_prefix_columns,
        functools.partial(pack_answers, prompts=prompts, answers=answers),
        rows,
        length,
        seed=seed,
        max_sequences_per_bin=prompts,
    )


def packed_shape(
    batch_size: int, longest: int, mean: float, multiple: int
) -> tuple[int, int]:
    """How many rows hold about `batch_size` prompts, and how long they are.

    As many prompts go in a row as make it `TARGET_ROW_TOKENS` tokens long, or as the longest is; the
    rows are a multiple of 8, so that the batches are the same on 1 to 8 devices.

    Args:
      longest: prompt with its answers, in tokens; `mean`, on average.
    """
    wanted = max(longest, TARGET_ROW_TOKENS) / mean if mean else 1
    multiple = math.lcm(multiple, 8)
    rows = batch_size
    for prompts in range(1, max(round(wanted), 1) + 1):
        if batch_size % (prompts * multiple) == 0:
            rows = batch_size // prompts
    length = max(longest, batch_size * mean / (rows * TYPICAL_FILL))
    return rows, -(-math.ceil(length) // 8) * 8


def first_fit_batches(
    examples: Sequence[Example],
    sizes: Sequence[int] | np.ndarray,
    columns: Callable[[Example], Columns],
    collate: Callable[[list[list[Columns]], int], Any],
    rows: int,
    length: int,
    *,
    seed: int,
    **packing: Any,
) -> BatchIterator:
    """Batches of rows over all processes, filled first-fit; without end.

    What goes in which row depends on the sizes alone: every process packs them all, and
    reads the examples of its own rows.

    Args:
      sizes: tokens that `columns` makes of each example.
      collate: (rows of examples' columns, length) -> the batch.
    """
    if rows < 1:
        raise ValueError(f"a batch needs rows, not {rows}")
    if not examples:
        raise ValueError("0 examples cannot be packed")
    weights: dict[str, float] = {}
    if isinstance(examples, Mixture):  # rows, not tokens, have the shares
        counts = list(map(len, examples.parts))
        order = mixing.mixed_order(counts, examples.weights, seed=seed)
        weights = weight_state(examples.weights)
    else:
        source = grain.MapDataset.source(np.arange(len(examples)))
        order = source.seed(seed).shuffle().repeat(None)
    places = order.map(lambda i: {"at": np.full(sizes[i], i, np.int32)})
    filled = grain.experimental.FirstFitPackIterDataset(
        places.to_iter_dataset(NO_THREADS),
        length_struct={"at": length},
        num_packing_bins=rows * BINS_PER_ROW,
        seed=seed,
        **packing,
    )

    def chosen(whole: Columns) -> np.ndarray:
        return whole["at"][whole["at_segment_ids"] > 0]

    def collated(share: Columns) -> Any:
        begins = (share["at_segment_ids"] > 0) & (share["at_positions"] == 0)
        found = zip(share["at"], begins, strict=True)
        return collate(
            [[columns(examples[i]) for i in at[first]] for at, first in found], length
        )

    iterator = iter(filled.batch(rows, drop_remainder=True))
    said = {"rows": len(examples), "batch": rows, "seed": seed, "length": length}
    return BatchIterator(
        iterator, collated, said | weights, example_rows(examples), chosen
    )


def sequence_columns(sequence: TokenRow) -> Columns:
    """A sequence; nothing predicts its first token."""
    counts = sequence.mask & (np.arange(len(sequence.mask)) > 0)
    return {
        "tokens": sequence.tokens,
        "positions": np.arange(len(sequence.tokens)),
        "branch": np.zeros(len(sequence.tokens), np.int32),
        "loss_mask": counts,
    }


def shared_prefix_length(example: Example) -> int:
    """How many first tokens all sequences have in common, that count in none."""
    first = example.sequences[0].tokens
    most = min(sequence.prompt for sequence in example.sequences)
    for sequence in example.sequences[1:]:
        same = sequence.tokens[:most] == first[:most]
        most = most if same.all() else int(same.argmin())
    return most


def packed_size(example: Example) -> int:
    """How many tokens `shared_prefix_columns` makes of an example."""
    start = max(shared_prefix_length(example), 1) - 1
    return start + sum(len(s.tokens) - start for s in example.sequences)


def shared_prefix_columns(example: Example) -> Columns:
    """What the answers share but for its last token, then each one, after that token.

    That is their prompt, or, where prompts differ, what they have in common.
    """
    first = example.sequences[0]
    start = max(shared_prefix_length(example), 1) - 1
    parts = [TokenRow(first.tokens[:start], first.mask[:start])]
    parts += [TokenRow(s.tokens[start:], s.mask[start:]) for s in example.sequences]
    places = [
        np.arange(len(part.tokens)) + (k > 0) * start for k, part in enumerate(parts)
    ]
    branches = [np.full(len(part.tokens), k, np.int32) for k, part in enumerate(parts)]
    masks = [p.mask & (np.arange(len(p.mask)) > 0) for p in parts]
    return {
        "tokens": np.concatenate([part.tokens for part in parts]),
        "positions": np.concatenate(places),
        "branch": np.concatenate(branches),
        "loss_mask": np.concatenate(masks),
        "answers": np.int32(len(example.sequences)),
        "row": np.int32(example.row),
        "value": np.float32(example.value),
        "label_prob": np.float32(example.label_prob),
    }


def pack_tokens(rows: list[list[Columns]], length: int) -> TokenBatch:
    """Rows of examples' columns as a batch."""
    kinds = dict.fromkeys(("tokens", "positions", "segments"), np.int32)
    found: Columns = {
        name: np.zeros((len(rows), length), kind)
        for name, kind in (kinds | {"loss_mask": bool}).items()
    }
    for i, row in enumerate(rows):
        begin = 0
        for number, columns in enumerate(row, start=1):
            end = begin + len(columns["tokens"])
            segments = number + columns["branch"] * BRANCH_STRIDE
            for name, array in found.items():
                part = segments if name == "segments" else columns[name]
                array[i, begin:end] = part
            begin = end
    return TokenBatch(**found)


def pack_answers(
    rows: list[list[Columns]], length: int, *, prompts: int, answers: int
) -> AnswerBatch:
    """Rows of prompts with their answers as a batch."""
    found = {name: np.zeros((len(rows), prompts), kind) for name, kind in PER_PROMPT}
    for i, row in enumerate(rows):
        for name, array in found.items():
            array[i, : len(row)] = [columns[name] for columns in row]
    there = found["answers"].reshape(-1, 1)
    return AnswerBatch(
        sequences=pack_tokens(rows, length),
        mask=np.arange(answers)[None, :] < there,
        margin=found["value"].reshape(-1),
        row=found["row"].reshape(-1),
        label_prob=found["label_prob"].reshape(-1),
    )
