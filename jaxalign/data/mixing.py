"""Mixtures of data sets: each part has a fixed share of the training rows.

The share of a part is its weight over the sum of the weights, whatever its size.
"""

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from jaxalign import lazy

if TYPE_CHECKING:
    import grain
else:
    grain = lazy.module("grain")

MAX_WEIGHT_RATIO, MAX_WEIGHT = 1e9, 1e100  # beyond them only rounding errors remain
Item = TypeVar("Item")


def check_weights(parts: Sequence[Sequence[object]], weights: Sequence[float]) -> None:
    """Refuse a mixture whose shares are undefined.

    Raises:
      ValueError: no part, a part without rows, a weight that is not finite and
        positive, or weights whose ratio exceeds `MAX_WEIGHT_RATIO`.
    """
    if not parts or len(parts) != len(weights):
        raise ValueError("a mixture needs parts, each with a weight")
    for number, (part, weight) in enumerate(zip(parts, weights, strict=True), start=1):
        if not len(part):
            raise ValueError(f"part {number} of the mixture has no training rows")
        if not (math.isfinite(weight) and weight > 0):
            raise ValueError(
                f"a weight of the mixture is {weight}; expected a finite number above 0"
            )
    low, high = min(weights), max(weights)
    if high / MAX_WEIGHT_RATIO > low or high > MAX_WEIGHT:
        raise ValueError(
            f"the weights of the mixture are from {low:g} to {high:g}; expected the "
            f"largest to be at most {MAX_WEIGHT_RATIO:g} times the smallest, and "
            f"{MAX_WEIGHT:g}"
        )


class MixedRecords(list[Item]):
    """The records of all parts of a mixture, one part after the other.

    Args:
      parts: records of each part.
      weights: weight of each part; only their ratios matter.

    Raises:
      ValueError: as `check_weights`.
    """

    def __init__(
        self, parts: Sequence[Sequence[Item]], weights: Sequence[float]
    ) -> None:
        check_weights(parts, weights)
        super().__init__(itertools.chain.from_iterable(parts))
        self.parts = [list(part) for part in parts]
        self.weights = list(weights)

    @property
    def sizes(self) -> list[int]:
        """Number of records of each part."""
        return list(map(len, self.parts))


def sizes_and_weights(
    records: Sequence[Item],
) -> tuple[list[int], list[float]] | None:
    """Sizes and weights of the parts of a mixture; None of other records."""
    if not isinstance(records, MixedRecords):
        return None
    return records.sizes, records.weights


def select(records: Sequence[Item], mask: np.ndarray) -> list[Item]:
    """Select the records where the mask, bool [R], is True; a mixture stays a mixture.

    Raises:
      ValueError: no record of a part of a mixture is selected.
    """
    if not isinstance(records, MixedRecords):
        return [record for record, keep in zip(records, mask, strict=True) if keep]
    boundaries = np.cumsum(records.sizes)[:-1]
    parts = zip(records.parts, np.split(mask, boundaries), strict=True)
    return MixedRecords(
        [select(part, part_mask) for part, part_mask in parts], records.weights
    )


def mixed_order(
    sizes: Sequence[int], weights: Sequence[float], *, seed: int | None = None
) -> "grain.MapDataset":
    """Endless record indices of a mixture whose parts are stored one after the other.

    Every stretch of indices has the shares of the weights, up to about one row per
    part. A part that ends begins again, in a new shuffle.

    Args:
      sizes, weights: number of records and weight of each part.
      seed: seed of the shuffles; None keeps the order within each part.
    """
    begins = [0, *itertools.accumulate(sizes)][:-1]
    parts = []
    for k, (begin, size) in enumerate(zip(begins, sizes, strict=True)):
        part = grain.MapDataset.source(np.arange(begin, begin + size))
        part = part if seed is None else part.seed(seed + k).shuffle()
        parts.append(part.repeat(None))
    return grain.MapDataset.mix(parts, weights)


def interleave(parts: Sequence[Sequence[Item]]) -> list[Item]:
    """All records once, every stretch with each part in proportion to its size.

    >>> interleave(["abcd", "xy"])
    ['a', 'x', 'b', 'c', 'y', 'd']
    """
    positions = [
        ((i + 0.5) / len(part), k, record)
        for k, part in enumerate(parts)
        for i, record in enumerate(part)
    ]
    return [record for _, _, record in sorted(positions, key=lambda one: one[:2])]
