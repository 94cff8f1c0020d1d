"""Bootstrap of statistics that are no means: weights of units, percentile intervals.

`intervals.bootstrap` is for means. A statistic of sums, such as an agreement
coefficient, is computed for all resamples at once from the numbers of times that each
unit was drawn.
"""

import math
from collections.abc import Callable, Iterator

import numpy as np

from jaxalign.evaluation.intervals import LEVEL, RESAMPLES, Interval

WEIGHTS_PER_CHUNK = 4_000_000  # float64 numbers in memory at a time: 32 MB

# Numbers of draws of each unit [S U] -> the statistic of each resample [S].
Statistic = Callable[[np.ndarray], np.ndarray]


def resample_weights(
    units: int, *, resamples: int = RESAMPLES, seed: int = 0
) -> Iterator[np.ndarray]:
    """How often each unit is drawn in each resample, float64 [S U], in chunks of S.

    A row sums to the number of units.

    >>> [rows.sum(axis=1).tolist() for rows in resample_weights(4, resamples=3)]
    [[4.0, 4.0, 4.0]]
    """
    rng = np.random.default_rng(seed)
    most = max(1, WEIGHTS_PER_CHUNK // max(units, 1))
    for start in range(0, resamples, most):
        rows = min(most, resamples - start)
        drawn = rng.integers(0, units, (rows, units))
        drawn += np.arange(rows)[:, None] * units
        counts = np.bincount(drawn.reshape(-1), minlength=rows * units)
        yield counts.reshape(rows, units).astype(np.float64)


def percentile_interval(
    estimate: float, resampled: np.ndarray, level: float = LEVEL
) -> Interval:
    """The interval between percentiles of a statistic's resampled values [S].

    Resamples in which the statistic is undefined (NaN) are left out. The bounds are NaN
    where more than half of them are.

    Reference: Efron and Tibshirani 1993, section 13.3.

    >>> percentile_interval(0.5, np.linspace(0.0, 1.0, 101), level=0.5)
    Interval(mean=0.5, low=0.25, high=0.75)
    """
    defined = resampled[np.isfinite(resampled)]
    if 2 * len(defined) <= len(resampled):
        return Interval(float(estimate), math.nan, math.nan)
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(estimate), float(low), float(high))


def bootstrap_statistic(
    statistic: Statistic,
    units: int,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> Interval:
    """A statistic with its percentile bootstrap interval over units.

    Args:
      statistic: of weights [S U] -> [S]; its value at weights of 1 is the estimate.
      units: their number U; the bounds are NaN below 2.

    >>> values = np.array([1.0, 2.0, 3.0, 6.0])
    >>> found = bootstrap_statistic(lambda weights: weights @ values / 4, 4)
    >>> found.mean, 1.0 < found.low < found.high < 6.0
    (3.0, True)
    """
    estimate = float(statistic(np.ones((1, units)))[0])
    if units < 2:
        return Interval(estimate, math.nan, math.nan)
    chunks = resample_weights(units, resamples=resamples, seed=seed)
    return percentile_interval(
        estimate, np.concatenate([statistic(rows) for rows in chunks]), level
    )
