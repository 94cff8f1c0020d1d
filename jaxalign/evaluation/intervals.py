"""How sure a number is: bootstrap intervals, seeded."""

from collections.abc import Callable, Sequence
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


class Gain(Interval):
    """A mean difference, with the bounds of its 95 % interval."""

    def __str__(self) -> str:
        """As of any interval, and a star where all of it is above 0.

        >>> str(Gain(0.5, 0.4, 0.6)), str(Gain(0.5, -0.1, 1.1))
        ('0.500 ± 0.100 *', '0.500 ± 0.600')
        """
        return f"{super().__str__()}{' *' if self.low > 0 else ''}"


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
    found = resampled(values, ROUNDS, np.random.default_rng(seed), statistic)
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(statistic(values, axis=0)), float(low), float(high))


def resampled(
    values: np.ndarray,
    rounds: int,
    rng: np.random.Generator,
    statistic: Callable[..., np.ndarray] = np.mean,
) -> np.ndarray:
    """The statistic of as many values, drawn from these with replacement [rounds]."""
    most = max(1, AT_ONCE // len(values))
    return np.concatenate(
        [
            statistic(values[rng.integers(0, len(values), (n, len(values)))], axis=1)
            for n in np.diff([*range(0, rounds, most), rounds])
        ]
    )


def nested(
    groups: Sequence[np.ndarray], *, seed: int = 0, level: float = 0.95
) -> Interval:
    """The mean over groups of their means, where whole groups vary too.

    Groups are drawn with replacement, and values within each that was drawn. So what
    the answers of one trained model have in common widens the interval, as it should:
    another seed would have another model.

    Args:
      groups: the values of each, such as those of a seed [R] each.

    Raises:
      ValueError: no groups, an empty one, or a value that is not finite.

    Reference: Davison and Hinkley 1997, Bootstrap Methods and their Application,
    section 3.8 (the first strategy).

    >>> nested([np.zeros(5), np.ones(5)])
    Interval(mean=0.5, low=0.0, high=1.0)
    """
    groups = [np.asarray(group, np.float64) for group in groups]
    if not groups or not all(len(g) and np.isfinite(g).all() for g in groups):
        raise ValueError("a bootstrap needs values in each group, all of them finite")
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(groups), np.full(len(groups), 1 / len(groups)), ROUNDS)
    total = np.zeros(ROUNDS)
    for group, times in zip(groups, drawn.T, strict=True):
        means = resampled(group, int(times.sum()), rng) if times.any() else np.zeros(0)
        np.add.at(total, np.repeat(np.arange(ROUNDS), times), means)
    low, high = np.quantile(total / len(groups), [(1 - level) / 2, (1 + level) / 2])
    mean = np.mean([group.mean() for group in groups])
    return Interval(float(mean), float(low), float(high))


def paired(ours: np.ndarray, theirs: np.ndarray, *, seed: int = 0) -> Interval:
    """The mean difference between two numbers of the same units [R] each.

    What units have in common falls out, so that the interval is often much narrower
    than two intervals side by side suggest.

    >>> paired(np.array([2.0, 3.0, 7.0]), np.array([1.0, 2.0, 6.0]))
    Interval(mean=1.0, low=1.0, high=1.0)
    """
    return bootstrap(np.subtract(ours, theirs), seed=seed)
