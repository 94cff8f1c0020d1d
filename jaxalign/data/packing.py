"""Several short sequences in one row, told apart by segments.

A packed row trains like its sequences in rows of their own, without the padding.
"""

from collections.abc import Sequence
from typing import Any

import grain
import jax
import numpy as np

from jaxalign.batches import TokenBatch
from jaxalign.data.examples import Example
from jaxalign.data.loader import Batches

BINS_PER_ROW = 4  # rows that are filled at once; more leave less padding


def packed_batches(
    examples: Sequence[Example], batch_size: int, *, length: int, seed: int
) -> Batches:
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
    processes = jax.process_count()
    if batch_size < 1 or batch_size % processes:
        raise ValueError(f"batch {batch_size} does not divide by {processes} processes")
    if len(examples) < processes:
        raise ValueError(f"{len(examples)} examples cannot be packed")
    longest = max(len(e.sequences[0].tokens) for e in examples)
    if length < longest:
        raise ValueError(f"length {length} is shorter than an example of {longest}")
    rows = batch_size // processes

    def columns(index: int) -> dict[str, np.ndarray]:
        sequence = examples[index].sequences[0]
        counts = sequence.mask & (np.arange(len(sequence.mask)) > 0)
        return {"tokens": sequence.tokens, "loss_mask": counts}

    order = grain.MapDataset.source(np.arange(len(examples))).seed(seed).shuffle()
    share = order.repeat(None)[jax.process_index() :: processes].map(columns)
    packed = grain.experimental.FirstFitPackIterDataset(
        share.to_iter_dataset(grain.ReadOptions(num_threads=0)),
        length_struct={"tokens": length, "loss_mask": length},
        num_packing_bins=rows * BINS_PER_ROW,
        seed=seed,
    )
    iterator = iter(packed.batch(rows, drop_remainder=True))
    said = {"rows": len(examples), "batch": batch_size, "seed": seed, "length": length}
    return Batches(iterator, batch_of, said)


def batch_of(packed: dict[str, Any]) -> TokenBatch:
    """Grain's packed columns as a batch."""
    return TokenBatch(
        tokens=packed["tokens"].astype(np.int32),
        positions=packed["tokens_positions"].astype(np.int32),
        segments=packed["tokens_segment_ids"].astype(np.int32),
        loss_mask=packed["loss_mask"].astype(bool),
    )
