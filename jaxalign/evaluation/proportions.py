"""Wilson's interval of a proportion: success, refusal and parse rates."""

import math
from typing import TYPE_CHECKING

from jaxalign import lazy
from jaxalign.evaluation.intervals import LEVEL, Interval

if TYPE_CHECKING:
    from scipy import special
else:
    special = lazy.module("scipy.special")


def wilson_interval(successes: float, total: int, *, level: float = LEVEL) -> Interval:
    """The share of successes with Wilson's score interval.

    center = (p + z^2 / 2n) / (1 + z^2 / n)
    half   = z sqrt(p (1 - p) / n + z^2 / 4n^2) / (1 + z^2 / n)

    `mean` is the share p itself, which is not the interval's center. The interval stays
    within [0, 1] and is sensible at 0 and n successes. It takes the n trials as
    independent: where a prompt has several of them, use `intervals.bootstrap` with the
    prompt as the unit.

    Args:
      successes: in [0, total]; not whole where ties count one half.
      total: trials n; of none, all three numbers are NaN.

    Raises:
      ValueError: successes are not in [0, total], or total is negative.

    Reference: Wilson 1927, Journal of the American Statistical Association 22; Brown,
    Cai and DasGupta 2001, Statistical Science 16.

    >>> found = wilson_interval(81, 263)  # Newcombe 1998, Table I (a)
    >>> f"{found.mean:.4f} {found.low:.4f} {found.high:.4f}"
    '0.3080 0.2553 0.3662'
    >>> wilson_interval(0, 0)
    Interval(mean=nan, low=nan, high=nan)
    """
    if total < 0 or not 0 <= successes <= total:
        raise ValueError(f"{successes} successes of {total} trials: not from 0 to all")
    if not total:
        return Interval(math.nan, math.nan, math.nan)
    share, z = successes / total, float(special.ndtri((1 + level) / 2))
    scale = 1 + z**2 / total
    center = (share + z**2 / (2 * total)) / scale
    spread = share * (1 - share) / total + z**2 / (4 * total**2)
    half = z * math.sqrt(spread) / scale
    low, high = max(center - half, 0.0), min(center + half, 1.0)
    # rounding must not put the share outside of its interval, at 0 and n successes
    return Interval(share, min(low, share), max(high, share))
