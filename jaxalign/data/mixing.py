"""Mixtures: parts that each give their share of what is read, whatever their sizes."""

import itertools
import math
from collections.abc import Sequence
from typing import TypeVar

import grain
import numpy as np

MAX_WEIGHT_RATIO, MAX_WEIGHT = (
    1e9,
    1e100,
)  # of weights; others leave rounding errors alone
Item = TypeVar("Item")


def check_weights(parts: Sequence[Sequence[object]], weights: Sequence[float]) -> None:
    """Refuses a mixture whose shares are not defined.

    Raises:
      ValueError: no part, a part without rows, or a weight that is not a finite number
        above 0, or that is nothing beside another.
    """
    if not parts or len(parts) != len(weights):
        raise ValueError("a mixture needs parts, each with a weight")
    for number, (part, weight) in enumerate(zip(parts, weights, strict=True), start=1):
        if not len(part):
            raise ValueError(f"part {number} of the mixture has no rows to train on")
        if not (math.isfinite(weight) and weight > 0):
            raise ValueError(
                f"weights of a mixture should be finite numbers above 0, not {weight}"
            )
    low, high = min(weights), max(weights)
    if high / MAX_WEIGHT_RATIO > low or high > MAX_WEIGHT:
        raise ValueError(
            f"weights of a mixture from {low:g} to {high:g}: the largest should be at "
            f"most {MAX_WEIGHT_RATIO:g} times the smallest, and {MAX_WEIGHT:g}"
        )


class MixedRecords(list[Item]):
    """Records of a mixture's parts, one part after the other, with their weights.

    Args:
      weights: of the parts; only their ratios matter.

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
        """How many records each part has."""
        return list(map(len, self.parts))


def sizes_and_weights(records: Sequence[Item]) -> tuple[list[int], list[float]] | None:
    """The sizes of a mixture's parts and their weights; None of other records."""
    if not isinstance(records, MixedRecords):
        return None
    return records.sizes, records.weights


def select(records: Sequence[Item], mask: np.ndarray) -> list[Item]:
    """The records where the mask [R] is True; a mixture stays one.

    Raises:
      ValueError: nothing is left of a part of a mixture.
    """
    if not isinstance(records, MixedRecords):
        return [record for record, keep in zip(records, mask, strict=True) if keep]
    cuts = np.cumsum(records.sizes)[:-1]
    parts = zip(records.parts, np.split(mask, cuts), strict=True)
    return MixedRecords([select(part, keep) for part, keep in parts], records.weights)


def mixed_order(
    sizes: Sequence[int], weights: Sequence[float], *, seed: int | None = None
) -> grain.MapDataset:
    """Endless indices of parts one after the other, each part with its share.

    Any stretch has the shares of the weights, to within a row or so a part. A part that
    ends begins again, shuffled anew.

    Args:
      seed: of the shuffling; None leaves each part in its order.
    """
    begins = [0, *itertools.accumulate(sizes)][:-1]
    parts = []
    for k, (begin, size) in enumerate(zip(begins, sizes, strict=True)):
        part = grain.MapDataset.source(np.arange(begin, begin + size))
        part = part if seed is None else part.seed(seed + k).shuffle()
        parts.append(part.repeat(None))
    return grain.MapDataset.mix(parts, weights)


def interleave(parts: Sequence[Sequence[Item]]) -> list[Item]:
    """All records once, so that any stretch has each part in proportion to its size.

    >>> interleave(["abcd", "xy"])
    ['a', 'x', 'b', 'c', 'y', 'd']
    """
    placed = [
        ((i + 0.5) / len(part), k, record)
        for k, part in enumerate(parts)
        for i, record in enumerate(part)
    ]
    return [record for _, _, record in sorted(placed, key=lambda one: one[:2])]
