"""An iterator of batches whose position can be saved, and counted in epochs."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from jaxalign import sharding

SEEN = "examples seen"  # in a state: examples in all batches so far


class BatchIterator:
    """An iterator of batches whose position can be saved and restored.

    The order of examples, and so the state, is that of global batches, the same on
    every process; each process collates its own rows alone.

    Attributes:
      batch_size: rows of a global batch.
      share: the rows of a global batch that this process collates.
      global_indices: indices of the last global batch's examples, before collation.
      rows: numbers of those examples in their data set, rising.
      seen: examples in all batches so far.
    """

    def __init__(
        self,
        iterator: Any,
        collate: Callable[[Any], Any],
        identity: dict[str, Any],
        row_numbers: np.ndarray,
        examples_in: Callable[[Any], np.ndarray] = lambda batch: batch[batch >= 0],
        mesh: Mesh | None = None,
        count: Callable[[Any], int] = lambda batch: int((batch >= 0).sum()),
    ) -> None:
        """Wraps an iterator of global batches of indices.

        Args:
          iterator: global batches of example indices; an array or a tree of arrays
            whose first axis is the rows.
          collate: rows of indices -> a batch of tokens.
          identity: what the data and their order are; a state of others is refused.
            `batch` of it is the number of rows of a global batch.
          row_numbers: of each example, in its data set [R].
          examples_in: the indices of the examples in a global batch.
          mesh: of the run, by which `sharding.local_rows` splits rows over processes.
          count: the number of examples in a global batch.
        """
        self.iterator = iterator
        self.collate = collate
        self.identity = identity
        self.row_numbers = row_numbers
        self.examples_in = examples_in
        self.batch_size = identity["batch"]
        self.share = sharding.local_rows(self.batch_size, mesh)
        self.global_indices: Any = row_numbers[:0]
        self.rows = row_numbers[:0]
        self.count, self.seen = count, 0

    def __iter__(self) -> "BatchIterator":
        return self

    def __next__(self) -> Any:
        self.global_indices = next(self.iterator)
        self.rows = np.unique(self.row_numbers[self.examples_in(self.global_indices)])
        self.seen += self.count(self.global_indices)
        return self.collate(jax.tree.map(lambda x: x[self.share], self.global_indices))

    @property
    def epoch(self) -> float:
        """Passes over the data so far: examples in batches / examples."""
        return self.seen / max(int(self.identity["rows"]), 1)

    def peek_indices(self, count: int) -> np.ndarray:
        """Indices of the examples in the next `count` global batches, rising.

        No example is read, and the iterator stays where it is.
        """
        position = self.iterator.get_state()
        upcoming = [self.examples_in(next(self.iterator)) for _ in range(count)]
        self.iterator.set_state(position)
        return np.unique(np.concatenate([self.row_numbers[:0], *upcoming]))

    def get_state(self) -> dict[str, Any]:
        """The iterator's position, as JSON; the same on every process."""
        return {**self.identity, **self.iterator.get_state(), SEEN: self.seen}

    def set_state(self, state: dict[str, Any]) -> None:
        """Continues from a position that `get_state` returned.

        Raises:
          ValueError: the state is of other data, another order or batch size.
        """
        other = {name: state.get(name) for name in self.identity}
        if other != self.identity:
            raise ValueError(
                f"cannot go on with the data: it stood in {other}, this is "
                f"{self.identity}"
            )
        position = {k: v for k, v in state.items() if k not in self.identity}
        self.seen = position.pop(SEEN, 0)  # checkpoints of 0.1 lack it
        self.iterator.set_state(position)
