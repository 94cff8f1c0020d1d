"""Power laws of attack success: in the number of tries, and in the number of shots."""

from typing import Any, NamedTuple

import numpy as np


class SuccessLaw(NamedTuple):
    """-log ASR(N) = a N^-b, the attack success of N tries.

    Attributes:
      a: -log ASR of one try.
      b: exponent; larger is easier.
    """

    a: float
    b: float

    def success(self, tries: Any) -> np.ndarray:
        """Attack success rate of N tries, in [0, 1]."""
        return np.exp(-self.a * np.asarray(tries, float) ** -self.b)


class ShotLaw(NamedTuple):
    """NLL(k) = c k^-alpha + floor, the NLL of an answer after k shots, in nats."""

    c: float
    alpha: float
    floor: float

    def nll(self, shots: Any) -> np.ndarray:
        """The NLL after k shots, k at least 1, in nats."""
        return self.c * np.asarray(shots, float) ** -self.alpha + self.floor


def fit_success_law(tries: Any, success: Any) -> SuccessLaw:
    """The least-squares line of log(-log ASR) against log N.

    Rates of 0 and 1 have no place on it and are left out.

    Args:
      tries: N of each rate [K].
      success: attack success rates, in [0, 1] [K].

    Raises:
      ValueError: fewer than two rates are between 0 and 1.

    Reference: Hughes et al. 2024, arXiv:2412.03556, section 3.

    >>> law = fit_success_law([1, 4, 16], np.exp([-2.0, -1.0, -0.5]))
    >>> [round(x, 6) for x in law]
    [2.0, 0.5]
    """
    tries, success = np.asarray(tries, float), np.asarray(success, float)
    inside = (success > 0) & (success < 1)
    if len(np.unique(tries[inside])) < 2:
        raise ValueError("a power law needs two rates between 0 and 1, at different N")
    slope, level = np.polyfit(
        np.log(tries[inside]), np.log(-np.log(success[inside])), 1
    )
    return SuccessLaw(float(np.exp(level)), float(-slope))


def fit_shot_law(shots: Any, nll: Any) -> ShotLaw:
    """The least-squares power law with a floor of NLLs against numbers of shots.

    For each exponent of a grid from 0.02 to 3, c and the floor, at least 0, solve a
    linear problem; the exponent with the least error is taken.

    Args:
      shots: k of each NLL, at least 1 [K].
      nll: in nats [K].

    Raises:
      ValueError: fewer than three different k, or a k below 1.

    Reference: Anil et al. 2024, "Many-shot jailbreaking", section 4.

    >>> law = fit_shot_law([1, 2, 4, 8], 3.0 * np.array([1, 2, 4, 8]) ** -0.5 + 1)
    >>> [round(x, 4) for x in law]
    [3.0, 0.5, 1.0]
    """
    shots, nll = np.asarray(shots, float), np.asarray(nll, float)
    if len(np.unique(shots)) < 3 or shots.min() < 1:
        raise ValueError("a power law with a floor needs three different k, from 1 on")
    fits = [linear_fit(shots, nll, alpha) for alpha in np.arange(1, 151) / 50]
    return min(fits, key=lambda law: float(np.sum((law.nll(shots) - nll) ** 2)))


def linear_fit(shots: np.ndarray, nll: np.ndarray, alpha: float) -> ShotLaw:
    """c and the floor, at least 0, of one exponent."""
    powers = shots**-alpha
    columns = np.stack([powers, np.ones_like(powers)], axis=1)
    c, floor = np.linalg.lstsq(columns, nll)[0]
    if floor < 0:
        c, floor = float(powers @ nll / (powers @ powers)), 0.0
    return ShotLaw(float(c), float(alpha), float(floor))
