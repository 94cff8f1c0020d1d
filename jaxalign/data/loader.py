"""Examples -> batches: shuffled, sharded by process, resumable.

All batches of an iterator are numpy arrays of one shape, so that a step is traced once.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jax.sharding import Mesh

from jaxalign import lazy
from jaxalign.batches import PromptBatch
from jaxalign.data.batch_iterator import BatchIterator as BatchIterator
from jaxalign.data.collate import make_collate
from jaxalign.data.dataset_ops import Mixture
from jaxalign.data.examples import Example, example_rows, longest_sequence
from jaxalign.data.mixing import mixed_order
from jaxalign.data.records import Record

if TYPE_CHECKING:
    import grain
else:
    grain = lazy.module("grain")

PADDING_MULTIPLE = 16  # columns; so that data of like lengths share a compiled step


def batches(
    examples: Sequence[Example],
    batch_size: int,
    *,
    kind: type[Record],
    seed: int,
    shuffle: bool = True,
    epochs: int | None = None,
    length: int | None = None,
    mesh: Mesh | None = None,
) -> BatchIterator:
    """Padded batches for training, without end unless `epochs` is given.

    Every epoch is reshuffled, and follows the one before without a gap; the last,
    partial batch of all epochs is left out. An endless shuffled mixture has no epochs:
    its parts give their shares of each batch.

    Args:
      batch_size: rows over all processes; each process gets its own.
      kind: of the examples; the batch is a TokenBatch (Demonstration), a
        PreferenceBatch, a RankingBatch, an UnpairedBatch or a PromptBatch.
      length: columns; by default those of the longest example, rounded up to a
        multiple of 16.
      mesh: of the run, by which `sharding.local_rows` splits rows over processes.

    Raises:
      ValueError: the batch does not divide by the processes or exceeds the data, or
        `length` is too short.
    """
    collate = padding_collate(examples, kind, length)
    rows = example_rows(examples)
    if isinstance(examples, Mixture) and shuffle and epochs is None:
        sizes = list(map(len, examples.parts))
        return mixture_batches(
            *(sizes, examples.weights, batch_size, collate, rows),
            seed=seed,
            mesh=mesh,
        )
    if len(examples) < batch_size:
        raise ValueError(
            f"batch {batch_size} is larger than the data set of {len(examples)} rows"
        )
    indices = np.arange(len(examples))
    iterator = index_batches(
        indices, batch_size, seed=seed, shuffle=shuffle, epochs=epochs
    )
    identity = {"rows": len(examples), "batch": batch_size, "seed": seed}
    identity |= {"shuffle": shuffle}
    return BatchIterator(iterator, collate, identity, rows, mesh=mesh)


def evaluation_batches(
    examples: Sequence[Example],
    batch_size: int,
    *,
    kind: type[Record],
    indices: np.ndarray | None = None,
    mesh: Mesh | None = None,
) -> BatchIterator:
    """Padded batches of every example once, in order, mixture or not.

    The last batch is filled up with rows that are not valid (or on which no token
    counts).

    Args:
      batch_size: rows over all processes; each process gets its own.
      kind: of the examples, as in `batches`.
      indices: of the examples to use; by default all.
      mesh: of the run, by which `sharding.local_rows` splits rows over processes.

    Raises:
      ValueError: there are no examples, or the batch does not divide by the processes.
    """
    collate = padding_collate(examples, kind, None)
    indices = np.arange(len(examples)) if indices is None else indices
    filled = np.pad(
        indices, (0, -len(indices) % max(batch_size, 1)), constant_values=-1
    )
    iterator = index_batches(filled, batch_size, seed=0, shuffle=False, epochs=1)
    identity = {"rows": len(indices), "batch": batch_size, "seed": 0, "shuffle": False}
    rows = example_rows(examples)
    return BatchIterator(iterator, collate, identity, rows, mesh=mesh)


def padding_collate(
    examples: Sequence[Example], kind: type[Record], length: int | None
) -> Callable[[np.ndarray], Any]:
    """The function that pads examples, by their indices, to one length.

    Raises:
      ValueError: there are no examples, or one is longer than `length`.
    """
    if not examples:
        raise ValueError("there are no examples to make batches of")
    longest = longest_sequence(examples)
    if length is None:
        length = -(-longest // PADDING_MULTIPLE) * PADDING_MULTIPLE
    if length < longest:
        raise ValueError(f"length {length} is shorter than an example of {longest}")
    return make_collate(examples, kind, length, longest)


def mixture_batches(
    sizes: Sequence[int],
    weights: Sequence[float],
    batch_size: int,
    collate: Callable[[Any], Any],
    row_numbers: np.ndarray,
    *,
    seed: int,
    mesh: Mesh | None,
) -> BatchIterator:
    """Endless batches to which each part gives its share, shuffled by itself.

    Args:
      sizes: examples of each part; indices count over the parts in this order.
      weights: of the parts; only their ratios matter.
      batch_size: rows over all processes.
    """
    indices = mixed_order(sizes, weights, seed=seed).batch(batch_size)
    identity = {"rows": sum(sizes), "batch": batch_size, "seed": seed, "shuffle": True}
    return BatchIterator(
        index_iterator(indices),
        collate,
        identity | weight_state(weights),
        row_numbers,
        mesh=mesh,
    )


def weight_state(weights: Sequence[float]) -> dict[str, float]:
    """The weights of a mixture's parts, as entries of an iterator's state."""
    return {f"weight {k}": weight for k, weight in enumerate(weights)}


def prompt_batches(
    tokens: np.ndarray,
    lengths: np.ndarray,
    batch_size: int,
    *,
    seed: int,
    mixture: tuple[Sequence[int], Sequence[float]] | None = None,
    mesh: Mesh | None = None,
) -> BatchIterator:
    """Endless shuffled batches of prompts that are padded already.

    Args:
      tokens: token ids, int32 [P T].
      lengths: tokens of each prompt, int32 [P].
      batch_size: prompts over all processes.
      mixture: sizes of the parts, one after the other, and their weights.
      mesh: of the run, by which `sharding.local_rows` splits rows over processes.
    """

    def collate(indices: np.ndarray) -> PromptBatch:
        row = indices.astype(np.int32)
        return PromptBatch(tokens[indices], lengths[indices], row, indices >= 0)

    rows = np.arange(len(tokens))
    if mixture is not None:
        return mixture_batches(
            *mixture, batch_size, collate, rows, seed=seed, mesh=mesh
        )
    if len(tokens) < batch_size:
        raise ValueError(
            f"batch {batch_size} is larger than the data set of {len(tokens)} rows"
        )
    iterator = index_batches(rows, batch_size, seed=seed, shuffle=True, epochs=None)
    identity = {"rows": len(tokens), "batch": batch_size, "seed": seed, "shuffle": True}
    return BatchIterator(iterator, collate, identity, rows, mesh=mesh)


def index_batches(
    indices: np.ndarray,
    batch_size: int,
    *,
    seed: int,
    shuffle: bool,
    epochs: int | None,
) -> Any:
    """An iterator over batches of these indices; a last, partial one is left out."""
    if batch_size < 1:
        raise ValueError(f"a batch needs rows, not {batch_size}")
    ordered = grain.MapDataset.source(indices).seed(seed)
    ordered = ordered.shuffle() if shuffle else ordered
    return index_iterator(ordered.repeat(epochs).batch(batch_size, drop_remainder=True))


def index_iterator(indices: "grain.MapDataset") -> Any:
    """An iterator over batches of indices, without threads of its own."""
    # only indices are read ahead, so threads would only wait for each other
    return iter(indices.to_iter_dataset(grain.ReadOptions(num_threads=0)))
