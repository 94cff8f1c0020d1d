"""Confidence intervals of means over independent units.

A unit is an independent draw: the prompt (or the person), not the pairs of a prompt or
the answers to it, so every interval takes the unit of each value. For models trained
with several seeds the seed is a unit as well.
"""

import collections
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from jaxalign import lazy

if TYPE_CHECKING:
    from scipy import special
else:
    special = lazy.module("scipy.special")

RESAMPLES = 2000
UNITS_PER_CHUNK = 2_000_000  # resampled units in memory at a time
LEVEL = 0.95

# An id per value, equal where values share a unit; or "each": every value is its own.
Units = np.ndarray | Sequence[object] | Literal["each"]


class Interval(NamedTuple):
    """A mean with the bounds of its 95 % confidence interval; NaN where unknown."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        """The mean and half the width, or both bounds where the mean is off the center.

        >>> str(Interval(0.5, 0.4, 0.6)), str(Interval(0.9, 0.6, 1.0))
        ('0.500 ± 0.100', '0.900 [0.600, 1.000]')
        >>> str(Interval(0.5, math.nan, math.nan))
        '0.500 ± ?'
        """
        if math.isnan(self.low):
            return f"{self.mean:.3f} ± ?"
        half = (self.high - self.low) / 2
        if max(self.high - self.mean, self.mean - self.low) > 1.25 * half:
            return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"
        return f"{self.mean:.3f} ± {half:.3f}"

    def to_dict(self, name: str) -> dict[str, float]:
        """The three numbers by name, such as `accuracy`, `accuracy_low`, ...

        >>> Interval(0.5, 0.4, 0.6).to_dict("x")
        {'x': 0.5, 'x_low': 0.4, 'x_high': 0.6}
        """
        return {name: self.mean, f"{name}_low": self.low, f"{name}_high": self.high}


class Gain(Interval):
    """A mean difference with the bounds of its 95 % confidence interval."""

    def __str__(self) -> str:
        """As for `Interval`, with ▲ where it is all above 0 and ▼ where all below.

        >>> str(Gain(0.5, 0.4, 0.6)), str(Gain(-0.5, -0.6, -0.4))
        ('0.500 ± 0.100 ▲', '-0.500 ± 0.100 ▼')
        >>> str(Gain(0.5, -0.1, 1.1))
        '0.500 ± 0.600'
        """
        mark = " ▲" if self.low > 0 else " ▼" if self.high < 0 else ""
        return f"{super().__str__()}{mark}"


def unit_indices(units: Units, count: int) -> np.ndarray:
    """The index of each value's unit, from 0 [R].

    Raises:
      ValueError: the numbers of ids and values differ.
    """
    if isinstance(units, str):
        if units != "each":
            raise ValueError(
                f"units are an id for each value, or 'each'; not {units!r}"
            )
        return np.arange(count)
    if len(units) != count:
        raise ValueError(
            f"{len(units)} units for {count} values; expected one per value"
        )
    return np.unique(np.asarray(units), return_inverse=True)[1].reshape(-1)


def finite_values(values: np.ndarray) -> np.ndarray:
    """The values as float64 [R].

    Raises:
      ValueError: there are no values, or one is not finite.
    """
    values = np.asarray(values, np.float64)
    if not len(values) or not np.isfinite(values).all():
        raise ValueError("an interval needs values, all of them finite")
    return values


def bootstrap(
    values: np.ndarray,
    *,
    units: Units,
    seed: int = 0,
    level: float = LEVEL,
    share: bool = False,
) -> Interval:
    """The percentile bootstrap of a mean; units are resampled with replacement.

    mean of a resample = sum of all values of its units / number of these values

    The bounds are NaN for a single unit.

    Args:
      values: R numbers [R].
      units: the unit of each value, such as its prompt [R]; "each" where every value
        is a unit of its own.
      share: the values lie in [0, 1]; see `proportion_interval`.

    Raises:
      ValueError: no values, one that is not finite, or units of another number.

    Reference: Davison and Hinkley 1997, Bootstrap Methods and their Application,
    section 3.8 (the second strategy, of clusters), and Efron and Tibshirani 1993,
    section 13.3 (percentiles).

    >>> bootstrap(np.ones(10), units="each")
    Interval(mean=1.0, low=1.0, high=1.0)
    """
    values = finite_values(values)
    unit = unit_indices(units, len(values))
    total, count = np.bincount(unit, values), np.bincount(unit).astype(np.float64)
    if len(total) == 1:
        return Interval(float(values.mean()), math.nan, math.nan)
    rng = np.random.default_rng(seed)
    most = max(1, UNITS_PER_CHUNK // len(total))
    means = []
    for n in np.diff([*range(0, RESAMPLES, most), RESAMPLES]):
        resample = rng.integers(0, len(total), (n, len(total)))
        means.append(total[resample].sum(axis=1) / count[resample].sum(axis=1))
    tails = [(1 - level) / 2, (1 + level) / 2]
    low, high = np.quantile(np.concatenate(means), tails)
    interval = Interval(float(values.mean()), float(low), float(high))
    return proportion_interval(interval, len(total), level) if share else interval


def proportion_interval(
    interval: Interval, units: int, level: float = LEVEL
) -> Interval:
    """The interval of a proportion, clipped to [0, 1].

    A sample in which all or none has the property shows no spread: then the far bound
    is Clopper and Pearson's over units, (1 - level)/2 = low ** units.

    >>> found = proportion_interval(Interval(1.0, 1.0, 1.0), 60)
    >>> f"{found.low:.3f} {found.high:.3f}"
    '0.940 1.000'
    """
    low, high = max(interval.low, 0.0), min(interval.high, 1.0)
    extreme = ((1 - level) / 2) ** (1 / units)
    if interval.mean == 1.0:
        low = min(low, extreme)
    if interval.mean == 0.0:
        high = max(high, 1 - extreme)
    return Interval(interval.mean, low, high)


def interval_over_seeds(
    groups: Sequence[np.ndarray],
    *,
    units: Sequence[Units],
    seed: int = 0,
    level: float = LEVEL,
    share: bool = False,
) -> Interval:
    """The mean over models of several seeds: Student's t interval of the seeds' means.

    half the width = sqrt(t^2 var(seed means) / S + z^2 c),  t of S - 1 degrees

    of S seeds, where c is the mean covariance of two seeds' means, through the units
    that they share: 0 where every seed has prompts of its own, and then the interval
    is exact for normal means; where all seeds answer the same prompts their choice
    would not show in the seeds' means. Adding the half widths of the two in quadrature
    covers the level or a little more. Two seeds have a t of 12.7. Of a single seed it
    is the bootstrap over units, and is about this one model alone.

    Args:
      groups: the values of each seed [R] each.
      units: of each seed, the unit of each of its values; an id is the same unit in
        every seed, "each" shares none.
      share: the values lie in [0, 1]; see `proportion_interval`.

    Raises:
      ValueError: no groups, an empty one, or a value that is not finite.

    Reference: Student 1908, Biometrika 6; Zou and Donner 2008, Statistics in Medicine
    27 (quadrature); Cameron, Gelbach and Miller 2011, Journal of Business and Economic
    Statistics 29 (clusters in two ways).

    >>> found = interval_over_seeds([np.zeros(5), np.ones(5)], units=["each", "each"])
    >>> f"{found.mean} {found.high:.3f}"  # 0.5 + 12.706 * sqrt(0.5 / 2)
    '0.5 6.853'
    """
    if not len(groups):
        raise ValueError("an interval over seeds needs one at least")
    values = [finite_values(group) for group in groups]
    if len(values) == 1:
        return bootstrap(values[0], units=units[0], seed=seed, level=level, share=share)
    means = np.array([group.mean() for group in values])
    shared, count = shared_covariance(values, units)
    t = special.stdtrit(len(means) - 1, (1 + level) / 2)
    z = special.ndtri((1 + level) / 2)
    half = math.sqrt(t**2 * means.var(ddof=1) / len(means) + z**2 * shared)
    mean = float(means.mean())
    interval = Interval(mean, mean - half, mean + half)
    return proportion_interval(interval, count, level) if share else interval


def shared_covariance(
    groups: Sequence[np.ndarray], units: Sequence[Units]
) -> tuple[float, int]:
    """The mean covariance of two groups' means, through units that both have.

    Of each unit the residuals in one group times those in the other. At least 0; also
    returns the number of different units.
    """
    count, own = 0, 0.0
    total: dict[object, float] = collections.defaultdict(float)
    for group, ids in zip(groups, units, strict=True):
        if isinstance(ids, str):  # "each": none is in another group
            count += len(unit_indices(ids, len(group)))
            continue
        different, unit = np.unique(np.asarray(ids), return_inverse=True)
        parts = np.bincount(unit, (group - group.mean()) / len(group))
        own += float(np.sum(parts**2))
        for name, part in zip(different.tolist(), parts.tolist(), strict=True):
            total[name] += part
    pairs = len(groups) * (len(groups) - 1)
    covariance = (sum(part**2 for part in total.values()) - own) / pairs
    return max(covariance, 0.0), count + len(total)


def paired_difference(
    ours: np.ndarray, theirs: np.ndarray, *, units: Units, seed: int = 0
) -> Interval:
    """The mean paired difference of two measurements [R] each.

    Their common variation cancels, so that the interval is often much narrower than two
    separate intervals suggest.

    Args:
      units: the unit of each, as in `bootstrap`.

    >>> ours, theirs = np.array([2.0, 3.0, 7.0]), np.array([1.0, 2.0, 6.0])
    >>> paired_difference(ours, theirs, units="each")
    Interval(mean=1.0, low=1.0, high=1.0)
    """
    return bootstrap(np.subtract(ours, theirs), units=units, seed=seed)
