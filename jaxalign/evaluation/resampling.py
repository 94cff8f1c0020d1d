"""Bootstrap of statistics that are no means: weights of units, percentile intervals.

`intervals.bootstrap` is for means. A statistic of sums, such as an agreement
coefficient, is computed for all resamples at once from the numbers of times that each
unit was drawn (`bootstrap_statistic`); a quantile or a correlation needs the resampled
rows themselves (`bootstrap_rows`).
"""

import math
from collections.abc import Callable, Iterator

import numpy as np

from jaxalign.evaluation.intervals import (
    LEVEL,
    RESAMPLES,
    Interval,
    Units,
    finite_values,
    unit_indices,
)

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


def bootstrap_rows(
    statistic: Callable[..., float],
    *columns: np.ndarray,
    units: Units,
    seed: int = 0,
    resamples: int = RESAMPLES // 2,
    level: float = LEVEL,
) -> Interval:
    """The percentile bootstrap of a statistic of rows; whole units are resampled.

    Resamples on which the statistic is NaN, as a correlation of equal numbers is, are
    left out of the bounds. They are NaN for a single unit, and where the statistic of
    all rows is NaN.

    Args:
      statistic: (columns of some rows [n]) -> a number.
      columns: numbers of R rows [R] each.
      units: the unit of each row [R]; "each" where every row is a unit of its own.
      resamples: rounds; 1000 place a bound to about 0.08 standard errors.

    Raises:
      ValueError: no rows, a number that is not finite, or units of another number.

    Reference: Davison and Hinkley 1997, Bootstrap Methods and their Application,
    section 3.8 (the second strategy, of clusters).

    >>> bootstrap_rows(np.median, np.ones(9), units="each")
    Interval(mean=1.0, low=1.0, high=1.0)
    """
    arrays = list(map(finite_values, columns))
    unit = unit_indices(units, len(arrays[0]))
    count = int(unit.max()) + 1
    estimate = float(statistic(*arrays))
    if count == 1 or math.isnan(estimate):
        return Interval(estimate, math.nan, math.nan)
    rows = np.arange(len(unit))
    values = []
    for weights in resample_weights(count, resamples=resamples, seed=seed):
        for times in weights.astype(int):
            drawn = np.repeat(rows, times[unit])
            values.append(statistic(*(array[drawn] for array in arrays)))
    return percentile_interval(estimate, np.array(values), level)
