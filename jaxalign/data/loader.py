"""Examples -> batches: shuffled, sharded by process, resumable.

An iterator yields numpy batches of one shape, so that the step is traced once.
"""

from collections.abc import Callable, Sequence
from typing import Any

import grain
import jax
import numpy as np
from jax.sharding import Mesh

from jaxalign import sharding
from jaxalign.data.collate import PromptBatch, make_collate
from jaxalign.data.dataset_ops import Mixture, mask_special_tokens, unpair
from jaxalign.data.mixing import mixed_order
from jaxalign.data.records import Record
from jaxalign.data.tokenize import Example, TokenRow, example_rows, tokenize
from jaxalign.data.tokenize import longest_sequence as longest_of

__all__ = [
    "BatchIterator",
    "Example",
    "PromptBatch",
    "TokenRow",
    "batches",
    "prompt_batches",
    "tokenize",
    "unpair",
    "mask_special_tokens",
]


class BatchIterator:
    """An iterator of batches whose place can be saved and found again.

    The order of rows, and so the state, is that of the whole batch on every process;
    each makes a batch of its own share of the rows alone.

    Attributes:
      whole: the last whole batch, of all processes, before it was collated.
      rows: the numbers of its rows in the data set, rising.
    """

    def __init__(
        self,
        iterator: Any,
        collate: Callable[[Any], Any],
        order: dict[str, Any],
        numbers: np.ndarray,
        chosen: Callable[[Any], np.ndarray] = lambda whole: whole[whole >= 0],
        mesh: Mesh | None = None,
    ) -> None:
        """Args:

        iterator: whole batches, of what `collate` makes a batch of tokens.
        order: what the data are; `batch` of it is the rows of a whole batch.
        numbers: of each example, in its data set.
        chosen: the indices of the examples in a whole batch.
        mesh: of the run, by which `sharding.local_rows` splits rows over processes.
        """
        self.iterator = iterator
        self.collate = collate
        self.order = order
        self.numbers = numbers
        self.chosen = chosen
        self.share = sharding.local_rows(order["batch"], mesh)
        self.whole: Any = numbers[:0]
        self.rows = numbers[:0]

    def __iter__(self) -> "BatchIterator":
        return self

    def __next__(self) -> Any:
        self.whole = next(self.iterator)
        self.rows = np.unique(self.numbers[self.chosen(self.whole)])
        return self.collate(jax.tree.map(lambda x: x[self.share], self.whole))

    def peek_indices(self, count: int) -> np.ndarray:
        """The indices of the examples in the next `count` whole batches, rising.

        None is read, and the iterator stays where it is.
        """
        here = self.iterator.get_state()
        found = [self.chosen(next(self.iterator)) for _ in range(count)]
        self.iterator.set_state(here)
        return np.unique(np.concatenate([self.numbers[:0], *found]))

    def get_state(self) -> dict[str, Any]:
        """Where the iterator stands, as JSON; the same on every process."""
        return {**self.order, **self.iterator.get_state()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on from a place that `get_state` gave.

        Raises:
          ValueError: the state is of other data, another order or batch size.
        """
        found = {name: state.get(name) for name in self.order}
        if found != self.order:
            raise ValueError(
                f"cannot go on with the data: it stood in {found}, this is {self.order}"
            )
        self.iterator.set_state({k: v for k, v in state.items() if k not in self.order})


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
    indices: np.ndarray | None = None,
    mesh: Mesh | None = None,
) -> BatchIterator:
    """Batches of tokenised examples, without end unless `epochs` says.

    Every epoch has an order of its own, and follows the one before without a gap. A
    mixture has no epochs: without end, its parts give their shares; with `epochs` or
    unshuffled every row comes once.

    Args:
      batch_size: rows over all processes; each yields its own share.
      kind: what the examples are; the batch is a TokenBatch (Demonstration), a
        PreferenceBatch, a RankingBatch, an UnpairedBatch or a PromptBatch.
      length: what rows are padded to; by default the longest, up to a multiple of 16.
      drop_remainder: leave the last, partial batch of all epochs out; or else fill
        each epoch up with rows that are not valid (or on which no token counts).
      indices: of the examples that batches are made of; by default all.
      mesh: of the run, by which `sharding.local_rows` splits rows over processes.

    Raises:
      ValueError: the batch does not divide by the processes or exceeds the data, or
        `length` is too short.
    """
    if not examples:
        raise ValueError("there are no examples to make batches of")
    longest = longest_of(examples)
    length = -(-longest // 16) * 16 if length is None else length
    if length < longest:
        raise ValueError(f"length {length} is shorter than an example of {longest}")
    collate = make_collate(examples, kind, length, longest)
    if isinstance(examples, Mixture) and shuffle and epochs is None:
        sizes = list(map(len, examples.parts))
        return mixture_batches(
            *(sizes, examples.weights, batch_size, collate, example_rows(examples)),
            seed=seed,
            mesh=mesh,
        )
    return index_batches(
        example_rows(examples),
        batch_size,
        collate,
        seed=seed,
        shuffle=shuffle,
        epochs=epochs,
        drop_remainder=drop_remainder,
        indices=np.arange(len(examples)) if indices is None else indices,
        mesh=mesh,
    )


def mixture_batches(
    sizes: Sequence[int],
    weights: Sequence[float],
    batch_size: int,
    collate: Callable[[Any], Any],
    numbers: np.ndarray,
    *,
    seed: int,
    mesh: Mesh | None,
) -> BatchIterator:
    """Endless batches to which each part gives its share, shuffled by itself."""
    whole = mixed_order(sizes, weights, seed=seed).batch(batch_size)
    said = {"rows": sum(sizes), "batch": batch_size, "seed": seed, "shuffle": True}
    return BatchIterator(
        index_iterator(whole),
        collate,
        said | weight_state(weights),
        numbers,
        mesh=mesh,
    )


def weight_state(weights: Sequence[float]) -> dict[str, float]:
    """The weights of a mixture's parts, as the state of batches has them."""
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
    """Batches of padded prompts [P T] with their lengths [P], shuffled, without end.

    Args:
      mixture: sizes of the parts, one after the other, and their weights.
      mesh: of the run, by which `sharding.local_rows` splits rows over processes.
    """

    def collate(at: np.ndarray) -> PromptBatch:
        row = at.astype(np.int32)
        return PromptBatch(tokens[at], lengths[at], row, at >= 0)

    if mixture is not None:
        return mixture_batches(
            *mixture, batch_size, collate, np.arange(len(tokens)), seed=seed, mesh=mesh
        )
    return index_batches(
        np.arange(len(tokens)),
        batch_size,
        collate,
        seed=seed,
        shuffle=True,
        epochs=None,
        drop_remainder=True,
        indices=np.arange(len(tokens)),
        mesh=mesh,
    )


def index_batches(
    numbers: np.ndarray,
    batch_size: int,
    collate: Callable[[np.ndarray], Any],
    *,
    seed: int,
    shuffle: bool,
    epochs: int | None,
    drop_remainder: bool,
    indices: np.ndarray,
    mesh: Mesh | None,
) -> BatchIterator:
    """Batches of these indices; -1 fills up."""
    count = len(indices)
    if batch_size < 1:
        raise ValueError(f"a batch needs rows, not {batch_size}")
    if drop_remainder and count < batch_size:
        raise ValueError(
            f"batch {batch_size} is larger than the data set of {count} rows"
        )
    rest = 0 if drop_remainder else -count % batch_size
    rows = np.pad(indices, (0, rest), constant_values=-1)
    ordered = grain.MapDataset.source(rows).seed(seed)
    ordered = ordered.shuffle() if shuffle else ordered
    whole = ordered.repeat(epochs).batch(batch_size, drop_remainder=True)
    order = {"rows": count, "batch": batch_size, "seed": seed, "shuffle": shuffle}
    return BatchIterator(index_iterator(whole), collate, order, numbers, mesh=mesh)


def index_iterator(whole: grain.MapDataset) -> Any:
    """An iterator over batches of indices."""
    # only indices are read ahead, so threads would only wait for each other
    return iter(whole.to_iter_dataset(grain.ReadOptions(num_threads=0)))
