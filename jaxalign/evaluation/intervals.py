"""How sure a number is: bootstrap intervals, seeded."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

ROUNDS = 2000
AT_ONCE = 2_000_000  # resampled values held at a time


class Interval(NamedTuple):
    """A mean, with the bounds of its 95 % interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        """The mean and half the width.

        >>> str(Interval(0.5, 0.4, 0.6))
        '0.500 ± 0.100'
        """
        return f"{self.mean:.3f} ± {(self.high - self.low) / 2:.3f}"


def bootstrap(
    values: np.ndarray,
    *,
    seed: int = 0,
    statistic: Callable[..., np.ndarray] = np.mean,
    level: float = 0.95,
) -> Interval:
    """The percentile bootstrap of a statistic of independent values.

    Args:
      values: one of each independent unit [R].
      statistic: a function with an `axis`.

    Raises:
      ValueError: no values, or one that is not finite.

    Reference: Efron and Tibshirani 1993, section 13.3.

    >>> bootstrap(np.ones(10))
    Interval(mean=1.0, low=1.0, high=1.0)
    """
    values = np.asarray(values, np.float64)
    if not len(values) or not np.isfinite(values).all():
        raise ValueError("a bootstrap needs values, all of them finite")
    rng = np.random.default_rng(seed)
    rounds = max(1, AT_ONCE // len(values))
    found = np.concatenate(
        [
            statistic(values[rng.integers(0, len(values), (n, len(values)))], axis=1)
            for n in np.diff([*range(0, ROUNDS, rounds), ROUNDS])
        ]
    )
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(statistic(values, axis=0)), float(low), float(high))


def paired(ours: np.ndarray, theirs: np.ndarray, *, seed: int = 0) -> Interval:
    """The mean difference between two numbers of the same units [R] each.

    What units have in common falls out, so that the interval is often much narrower
    than two intervals side by side suggest.

    >>> paired(np.array([2.0, 3.0, 7.0]), np.array([1.0, 2.0, 6.0]))
    Interval(mean=1.0, low=1.0, high=1.0)
    """
    return bootstrap(np.subtract(ours, theirs), seed=seed)
