"""Win rates against a baseline: raw and discrete, in percent, with standard errors."""

import math
from typing import NamedTuple

import numpy as np


class RawWinRate(NamedTuple):
    """How often a model wins against a baseline.

    Attributes:
      n: comparisons that the judge decided.
      failed: comparisons on which it failed; they are in no number.
      win_rate: 100 times the mean win probability.
      se: standard error of `win_rate` over comparisons; NaN for a single one.
      discrete_win_rate: 100 times the share of wins, where a draw counts half.
      draws: comparisons with a win probability of exactly 0.5.
    """

    n: int
    failed: int
    win_rate: float
    se: float
    discrete_win_rate: float
    draws: int


def win_probabilities(preference: np.ndarray) -> np.ndarray:
    """The probability that the model wins, from AlpacaEval's `preference` [N].

    p = preference - 1,   of a preference of 0: 0.5

    A stored preference is 1 + the probability that the second output wins. AlpacaEval
    writes 0 for a draw as well as 1.5, and NaN where the judge failed, which stays.

    Raises:
      ValueError: a preference is neither 0, NaN, nor in [1, 2]; says which.

    Reference: Dubois et al. 2024, arXiv:2404.04475, section 2.

    >>> win_probabilities(np.array([1.0, 1.75, 0.0, np.nan])).tolist()
    [0.0, 0.75, 0.5, nan]
    """
    preference = np.asarray(preference, np.float64)
    valid = (preference == 0) | ((preference >= 1) & (preference <= 2))
    wrong = ~(valid | np.isnan(preference))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(
            f"preference {preference[row]:g} of comparison {row}; expected 1 to 2, or "
            "0 for a draw"
        )
    return np.where(preference == 0, 1.5, preference) - 1


def win_rate(probability: np.ndarray, *, failed: int = 0) -> RawWinRate:
    """The raw and the discrete win rate of win probabilities [N].

    win rate = 100 mean(p),   se = 100 sd(p) / sqrt(n)  with n - 1 in the sd
    discrete = 100 mean(1[p > 0.5] + 0.5 * 1[p = 0.5])

    Args:
      probability: that the model wins, in [0, 1]; NaN where the judge failed.
      failed: number of further failures, which the array leaves out.

    Raises:
      ValueError: a probability outside [0, 1], or none that is not NaN.

    Reference: Dubois et al. 2024, arXiv:2404.04475, section 2.

    >>> found = win_rate(np.array([1.0, 0.5, 0.25, np.nan]))
    >>> found.n, f"{found.win_rate:.2f} {found.se:.2f} {found.discrete_win_rate:.1f}"
    (3, '58.33 22.05 50.0')
    """
    probability = np.asarray(probability, np.float64)
    p = probability[~np.isnan(probability)]
    if not len(p):
        raise ValueError("a win rate needs a comparison that the judge decided")
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError("win probabilities are from 0 to 1")
    wins = (p > 0.5) + 0.5 * (p == 0.5)
    return RawWinRate(
        n=len(p),
        failed=failed + len(probability) - len(p),
        win_rate=100 * float(p.mean()),
        se=100 * float(p.std(ddof=1)) / math.sqrt(len(p)) if len(p) > 1 else math.nan,
        discrete_win_rate=100 * float(wins.mean()),
        draws=int((p == 0.5).sum()),
    )
