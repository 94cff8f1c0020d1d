"""Data sets made of others without copying them: some of their rows, or a mixture."""

import bisect
import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np

from jaxalign.data.examples import Example, longest, numbers_of


class View(Sequence[Example]):
    """Examples of another data set, by their indices in it."""

    def __init__(self, examples: Sequence[Example], indices: np.ndarray) -> None:
        self.examples = examples
        self.indices = indices
        self.longest = longest(examples)
        self.rows = numbers_of(examples)[indices]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, i):  # type: ignore[no-untyped-def]
        if isinstance(i, slice):
            return View(self.examples, self.indices[i])
        return self.examples[int(self.indices[i])]


class Mixture(Sequence[Example]):
    """Data sets that each give a share of every batch, whatever their sizes.

    Args:
      weights: of the parts; only their ratios matter.

    Raises:
      ValueError: an empty part, or a weight that is not positive.
    """

    def __init__(
        self, parts: Sequence[Sequence[Example]], weights: Sequence[float]
    ) -> None:
        if not parts or len(parts) != len(weights) or not all(map(len, parts)):
            raise ValueError("a mixture needs parts that hold rows, each with a weight")
        if min(weights) <= 0:
            raise ValueError(f"weights of a mixture are above 0, not {list(weights)}")
        self.parts = parts
        self.weights = list(weights)
        self.begins = [0, *itertools.accumulate(map(len, parts))][:-1]
        # rows are told apart over the parts
        rows = [max(part[-1].row, len(part)) + 1 for part in parts]
        self.first_rows = [0, *itertools.accumulate(rows)][:-1]
        self.longest = max(map(longest, parts))
        apart = zip(parts, self.first_rows, strict=True)
        self.rows = np.concatenate([numbers_of(p) + first for p, first in apart])

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def __getitem__(self, i):  # type: ignore[no-untyped-def]
        if isinstance(i, slice):
            return [self[k] for k in range(*i.indices(len(self)))]
        at = range(len(self))[i]
        k = bisect.bisect_right(self.begins, at) - 1
        example = self.parts[k][at - self.begins[k]]
        return dataclasses.replace(example, row=example.row + self.first_rows[k])
