"""Bootstrap intervals of weighted means over strata and of ratios.

Units (prompts, question templates) are resampled with replacement, as in
`intervals.bootstrap`, which is for a single mean.
"""

import math
from collections.abc import Sequence

import numpy as np

from jaxalign.evaluation import intervals
from jaxalign.evaluation.intervals import Interval, Units


def resample_sums(
    columns: Sequence[np.ndarray], units: Units, rng: np.random.Generator
) -> np.ndarray:
    """Sums of several columns over resampled units [RESAMPLES C].

    Args:
      columns: C arrays of R numbers each.
      units: the unit of each row [R], or "each".
      rng: of the resampling.
    """
    unit = intervals.unit_indices(units, len(columns[0]))
    totals = np.stack([np.bincount(unit, column) for column in columns], axis=1)
    most = max(1, intervals.UNITS_PER_CHUNK // (len(totals) * len(columns)))
    sums = []
    for n in np.diff([*range(0, intervals.RESAMPLES, most), intervals.RESAMPLES]):
        resample = rng.integers(0, len(totals), (n, len(totals)))
        sums.append(totals[resample].sum(axis=1))
    return np.concatenate(sums)


def percentile_interval(
    mean: float, resamples: np.ndarray, *, level: float = intervals.LEVEL
) -> Interval:
    """The interval of a statistic from its values in resamples [RESAMPLES].

    >>> percentile_interval(0.5, np.linspace(0.0, 1.0, 101), level=0.9)
    Interval(mean=0.5, low=0.05, high=0.95)
    """
    low, high = np.quantile(resamples, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(mean), float(low), float(high))


def stratified_bootstrap(
    groups: Sequence[np.ndarray],
    weights: Sequence[float],
    *,
    units: Sequence[Units],
    seed: int = 0,
    share: bool = False,
) -> Interval:
    """A weighted mean of the means of several groups, each resampled by itself.

    mean = sum_g w_g mean(values of g) / sum_g w_g

    Without spread in any group (all right, or all wrong) the far bound is that of a
    proportion over the units of all groups. The bounds are NaN where a group has a
    single unit.

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
    mean = float(sum(w * v.mean() for w, v in zip(shares, values, strict=True)))
    counts = [
        int(intervals.unit_indices(u, len(v)).max()) + 1
        for u, v in zip(units, values, strict=True)
    ]
    if min(counts) == 1:
        return Interval(mean, math.nan, math.nan)
    rng, total = np.random.default_rng(seed), np.zeros(intervals.RESAMPLES)
    for weight, group, unit in zip(shares, values, units, strict=True):
        sums = resample_sums([group, np.ones_like(group)], unit, rng)
        total += weight * sums[:, 0] / sums[:, 1]
    interval = percentile_interval(mean, total)
    return intervals.proportion_interval(interval, sum(counts)) if share else interval


def ratio_bootstrap(
    numerator: np.ndarray,
    denominator: np.ndarray,
    *,
    units: Units,
    seed: int = 0,
) -> Interval:
    """The interval of a ratio of two sums; 0 where the denominator's sum is 0.

    ratio = sum of the numerator / sum of the denominator

    The bounds are NaN for a single unit, and where the denominator is 0 throughout.

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
    mean = float(top.sum() / bottom.sum())
    if not intervals.unit_indices(units, len(top)).any():
        return Interval(mean, math.nan, math.nan)
    sums = resample_sums([top, bottom], units, np.random.default_rng(seed))
    ratios = np.zeros(len(sums))
    np.divide(sums[:, 0], sums[:, 1], out=ratios, where=sums[:, 1] > 0)
    return percentile_interval(mean, ratios)
