"""Bootstrap intervals of any statistic over clusters, such as the answers of a prompt.

`intervals.bootstrap` has the interval of a mean. A quantile, a deviation, a correlation
needs the resampled rows themselves.
"""

import math
from collections.abc import Callable

import numpy as np

from jaxalign.evaluation.intervals import (
    LEVEL,
    Interval,
    Units,
    finite_values,
    unit_indices,
)

RESAMPLES = 1000


def bootstrap_statistic(
    statistic: Callable[..., float],
    *columns: np.ndarray,
    units: Units,
    seed: int = 0,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
) -> Interval:
    """The percentile bootstrap of a statistic; whole units are resampled.

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

    >>> bootstrap_statistic(np.median, np.ones(9), units="each")
    Interval(mean=1.0, low=1.0, high=1.0)
    """
    arrays = list(map(finite_values, columns))
    unit = unit_indices(units, len(arrays[0]))
    count = int(unit.max()) + 1
    value = float(statistic(*arrays))
    if count == 1 or math.isnan(value):
        return Interval(value, math.nan, math.nan)
    rng, rows = np.random.default_rng(seed), np.arange(len(unit))
    found = []
    for _ in range(resamples):
        times = np.bincount(rng.integers(0, count, count), minlength=count)
        chosen_rows = np.repeat(rows, times[unit])
        found.append(statistic(*(array[chosen_rows] for array in arrays)))
    tails = [(1 - level) / 2, (1 + level) / 2]
    low, high = np.nanquantile(found, tails)
    return Interval(value, float(low), float(high))
