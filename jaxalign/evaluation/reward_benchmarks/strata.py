"""Bootstrap intervals of weighted means over groups, and of ratios.

Units (prompts, question templates) are resampled with replacement, as in
`intervals.bootstrap`, which is for a single mean.
"""

import math
from collections.abc import Sequence

import numpy as np

from jaxalign.evaluation import intervals, resampling
from jaxalign.evaluation.intervals import Interval, Units


def stratified_bootstrap(
    groups: Sequence[np.ndarray],
    weights: Sequence[float],
    *,
    units: Sequence[Units],
    seed: int = 0,
    share: bool = False,
) -> Interval:
    """A weighted mean of the means of several groups, each resampled by itself.

    mean = sum over g of w_g mean(values of g) / sum over g of w_g

    Where every group is all right or all wrong there is no spread, and the bound is
    that of a proportion over the units of all groups. The bounds are NaN where a group
    has a single unit.

    Args:
      groups: the values of each group, such as a benchmark's subset [R] each.
      weights: of the groups, above 0.
      units: of each group, the unit of each of its values.
      share: the values lie in [0, 1]; see `intervals.proportion_interval`.

    Raises:
      ValueError: no groups, an empty one, or a value that is not finite.

    Reference: Davison and Hinkley 1997, Bootstrap Methods and their Application,
    section 3.2 (several samples).

    >>> right, wrong = np.ones(4), np.zeros(4)
    >>> stratified_bootstrap([right, wrong], [3, 1], units=["each", "each"]).mean
    0.75
    """
    if not len(groups):
        raise ValueError("a mean over groups needs one at least")
    values = [intervals.finite_values(group) for group in groups]
    shares = np.asarray(weights, np.float64) / np.sum(weights)
    mean = sum(w * float(v.mean()) for w, v in zip(shares, values, strict=True))
    total, count, sizes = np.zeros(intervals.RESAMPLES), 0, []
    for g, (weight, group, ids) in enumerate(zip(shares, values, units, strict=True)):
        unit = intervals.unit_indices(ids, len(group))
        sums, numbers = np.bincount(unit, group), np.bincount(unit)
        stream = seed + 7919 * g  # groups are drawn independently
        rows = resampling.resample_weights(len(sums), seed=stream)
        means = [(draws @ sums) / (draws @ numbers) for draws in rows]
        total += weight * np.concatenate(means)
        count += len(sums)
        sizes.append(len(sums))
    if min(sizes) == 1:
        return Interval(mean, math.nan, math.nan)
    interval = resampling.percentile_interval(mean, total)
    return intervals.proportion_interval(interval, count) if share else interval


def ratio_bootstrap(
    numerator: np.ndarray, denominator: np.ndarray, *, units: Units, seed: int = 0
) -> Interval:
    """The interval of a ratio of two sums; 0 where the denominator is 0 in all rows.

    ratio = sum of the numerator / sum of the denominator

    The bounds are NaN for a single unit, and where the denominator is 0 in most
    resamples.

    Args:
      numerator, denominator: of each row [R]; denominators at least 0.
      units: the unit of each row [R].

    Raises:
      ValueError: no rows, or a number that is not finite.

    >>> ratio_bootstrap(np.ones(4), np.full(4, 2.0), units="each")
    Interval(mean=0.5, low=0.5, high=0.5)
    >>> ratio_bootstrap(np.zeros(4), np.zeros(4), units="each")
    Interval(mean=0.0, low=nan, high=nan)
    """
    top = intervals.finite_values(numerator)
    bottom = intervals.finite_values(denominator)
    if not bottom.any():
        return Interval(0.0, math.nan, math.nan)
    unit = intervals.unit_indices(units, len(top))
    tops, bottoms = np.bincount(unit, top), np.bincount(unit, bottom)

    def ratio(draws: np.ndarray) -> np.ndarray:
        undefined = np.full(len(draws), np.nan)
        below = draws @ bottoms
        return np.divide(draws @ tops, below, out=undefined, where=below > 0)

    return resampling.bootstrap_statistic(ratio, len(tops), seed=seed)
