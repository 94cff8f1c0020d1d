"""Packing: batches whose rows hold several short sequences, told apart by segments.

A packed row trains like its sequences in rows of their own, without the padding; the
answers to one prompt can share it.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jax.sharding import Mesh

from jaxalign import lazy, sharding
from jaxalign.data import loader, mixing
from jaxalign.data.batch_size import check_divides, check_size
from jaxalign.data.dataset_ops import Mixture
from jaxalign.data.examples import (
    Example,
    example_rows,
    example_sizes,
    longest_sequence,
)
from jaxalign.data.loader import BatchIterator, weight_state
from jaxalign.data.packed_rows import (
    Columns,
    pack_answers,
    pack_tokens,
    packed_size,
    sequence_columns,
    shared_prefix_columns,
)
from jaxalign.data.records import Preference, Ranking, Unpaired

if TYPE_CHECKING:
    import grain
else:
    grain = lazy.module("grain")

BINS_PER_ROW = 4  # rows that are filled at once; more leave less padding
TARGET_ROW_TOKENS = 192  # of a row of short prompts with their answers, about
TYPICAL_FILL = 0.93  # the share of a row that is not padding, about
# the examples are in memory, so threads would only wait for each other
THREADS = 0


def packed_batches(
    examples: Sequence[Example],
    batch_size: int,
    *,
    length: int,
    seed: int,
    mesh: Mesh | None = None,
) -> BatchIterator:
    """Endless batches of SFT data, packed first-fit in rows of `length`.

    Reshuffled in each epoch, sharded by process, resumable. How many sequences a
    batch has varies; its shape does not.

    Args:
      batch_size: packed rows over all processes.
      length: tokens of a row; no example may be longer.

    Raises:
      ValueError: an example is too long, the batch does not divide by the processes, or
        there are no examples.

    Reference: Krell et al. 2021, arXiv:2107.02027 (packing without contamination).
    """
    if examples and length < (longest := longest_sequence(examples)):
        raise ValueError(f"length {length} is shorter than an example of {longest}")
    return first_fit_batches(
        examples,
        [len(example.sequences[0].tokens) for example in examples],
        lambda example: sequence_columns(example.sequences[0]),
        pack_tokens,
        batch_size,
        length,
        seed=seed,
        mesh=mesh,
    )


def row_length(
    examples: Sequence[Example], context: int, *, whole_context: bool
) -> int:
    """Tokens of a packed row: twice the context, or twice the longest sequence.

    Args:
      context: the longest sequence that the run uses, in tokens.
      whole_context: take twice the context, as for toy models; contexts of pretrained
        models are much longer than most data.
    """
    longest = context if whole_context else min(context, longest_sequence(examples))
    return 2 * longest


def examples_per_batch(
    examples: Sequence[Example], batch_size: int, *, length: int
) -> float:
    """The approximate number of sequences in a batch of `packed_batches`."""
    return batch_size * length * TYPICAL_FILL / float(example_sizes(examples).mean())


def preference_batches(
    examples: Sequence[Example],
    batch_size: int,
    *,
    kind: type[Preference] | type[Ranking] | type[Unpaired],
    seed: int,
    shares_prompts: bool,
    micro_batches: int = 1,
    mesh: Mesh | None = None,
) -> BatchIterator:
    """Endless batches of pairs, rankings or unpaired answers, packed or padded.

    With `shares_prompts` rows are packed with several prompts, each stored once, and
    `batch_size` is their mean number; else each answer has a padded row of its own.
    Mixtures are always padded: each of their batches has the shares of its parts.

    Args:
      batch_size: prompts in a step, over all processes.
      kind: of the examples; Unpaired cannot share prompts.
      shares_prompts: whether the model can, and the loss allows it.
      micro_batches: of a step.
      mesh: of the run, by which `sharding.local_rows` splits rows over processes.

    Returns:
      Iterator of AnswerBatch if packed; else of the kind's batch, as `loader.batches`.

    Raises:
      ValueError: names the flags of a batch that is too large or does not divide.
    """
    mixed = isinstance(examples, Mixture)
    devices = sharding.row_shards(mesh)
    if shares_prompts and not mixed:
        check_size(batch_size, len(examples), may_repeat=True)
        multiple = micro_batches * devices
        return answer_batches(
            examples, batch_size, seed=seed, multiple=multiple, mesh=mesh
        )
    check_divides(batch_size, micro_batches=micro_batches, devices=devices)
    check_size(batch_size, len(examples), may_repeat=mixed)
    return loader.batches(examples, batch_size, kind=kind, seed=seed, mesh=mesh)


def answer_batches(
    examples: Sequence[Example],
    batch_size: int,
    *,
    seed: int,
    multiple: int = 1,
    mesh: Mesh | None = None,
) -> BatchIterator:
    """Endless batches of pairs or rankings, in which each prompt is stored once.

    The answers to a prompt share it, and rows are filled with several prompts: that
    saves repeated prompts, and padding. How many prompts a batch has varies around
    `batch_size`; its shape does not.

    Args:
      batch_size: prompts over all processes, on average.
      multiple: divides the number of rows: devices times micro-batches.

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
        mesh=mesh,
        max_sequences_per_bin=prompts,
    )


def packed_shape(
    batch_size: int, longest: int, mean: float, multiple: int
) -> tuple[int, int]:
    """Rows that hold about `batch_size` prompts, and tokens of a row.

    As many prompts go in a row as make it `TARGET_ROW_TOKENS` tokens long, or as long
    as the longest; the rows are a multiple of 8, so that the batches are the same on 1
    to 8 devices.

    Args:
      longest: tokens of the longest prompt with its answers.
      mean: tokens of a prompt with its answers, on average.
      multiple: divides the number of rows.
    """
    prompts_per_row = max(longest, TARGET_ROW_TOKENS) / mean if mean else 1
    multiple = math.lcm(multiple, 8)
    rows = batch_size
    for prompts in range(1, max(round(prompts_per_row), 1) + 1):
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
    mesh: Mesh | None,
    **packing: Any,
) -> BatchIterator:
    """Endless batches of rows that are filled first-fit.

    The packing depends on the sizes alone: every process packs all rows, and reads
    the examples of its own rows.

    Args:
      sizes: tokens that `columns` makes of each example [R].
      columns: an example's columns.
      collate: (rows of examples' columns, length) -> the batch.
      rows: of a batch, over all processes.
      length: tokens of a row.
      packing: further arguments of grain's first-fit packing.
    """
    if rows < 1:
        raise ValueError(f"a batch needs rows, not {rows}")
    if not examples:
        raise ValueError("0 examples cannot be packed")
    indices, weights = example_order(examples, seed)
    filled = grain.experimental.FirstFitPackIterDataset(
        indices.map(lambda i: {"at": np.full(sizes[i], i, np.int32)}).to_iter_dataset(
            grain.ReadOptions(num_threads=THREADS)
        ),
        length_struct={"at": length},
        num_packing_bins=rows * BINS_PER_ROW,
        seed=seed,
        **packing,
    )

    def examples_in(batch: Columns) -> np.ndarray:
        return batch["at"][batch["at_segment_ids"] > 0]

    def count(batch: Columns) -> int:
        return int(begins_of(batch).sum())

    def collate_share(share: Columns) -> Any:
        by_row = zip(share["at"], begins_of(share), strict=True)
        return collate(
            [[columns(examples[i]) for i in row[first]] for row, first in by_row],
            length,
        )

    iterator = iter(filled.batch(rows, drop_remainder=True))
    identity = {"rows": len(examples), "batch": rows, "seed": seed, "length": length}
    row_numbers = example_rows(examples)
    return BatchIterator(
        *(iterator, collate_share, identity | weights, row_numbers, examples_in, mesh),
        count,
    )


def begins_of(batch: Columns) -> np.ndarray:
    """Where the examples of packed rows begin, bool [R T]."""
    begins: np.ndarray = (batch["at_segment_ids"] > 0) & (batch["at_positions"] == 0)
    return begins


def example_order(
    examples: Sequence[Example], seed: int
) -> "tuple[grain.MapDataset, dict[str, float]]":
    """Endless shuffled indices, and the weights of a mixture as iterator state."""
    if isinstance(examples, Mixture):  # rows, not tokens, have the shares
        counts = list(map(len, examples.parts))
        order = mixing.mixed_order(counts, examples.weights, seed=seed)
        return order, weight_state(examples.weights)
    source = grain.MapDataset.source(np.arange(len(examples)))
    return source.seed(seed).shuffle().repeat(None), {}
