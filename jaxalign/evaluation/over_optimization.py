"""Laws of reward over-optimization: gold reward against the distance from the policy.

    best of n   gain = a d - b d^2         peak: d = a / (2 b),       gain = a^2 / (4 b)
    RL          gain = a d - b d log d     peak: d = exp(a / b - 1),  gain = b d

with d = sqrt(KL), in square roots of nats, and gains over the policy at d = 0. Both are
linear in (a, b): weighted least squares through the origin.

Reference: Gao et al. 2022, arXiv:2210.10760, section 3.1.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from jaxalign import lazy
from jaxalign.evaluation.intervals import Interval
from jaxalign.evaluation.resampling import percentile_interval, resample_weights

if TYPE_CHECKING:
    from scipy import special
else:
    special = lazy.module("scipy.special")

Form = Literal["best_of_n", "rl"]
SMALLEST = {"best_of_n": 0.0, "rl": 0.3}  # d of the points that count, from or above
SEEN = 1.5  # a peak farther than this times the largest d was not seen
WEIGHT_FLOOR = 0.1  # of the median standard error
RESAMPLES = 1000


class Peak(NamedTuple):
    """The place d and the gain of a curve's peak; NaN where none was seen."""

    d: float
    gain: float


class LawFit(NamedTuple):
    """A law with its 95 % intervals over prompts.

    Attributes:
      form: the law.
      a, b: coefficients.
      peak_d, peak_gain: NaN where no peak was seen; their bounds are of the resamples
        in which one was, if they are the most.
      peaks: the share of resamples with a peak.
    """

    form: Form
    a: Interval
    b: Interval
    peak_d: Interval
    peak_gain: Interval
    peaks: float


class Extrapolation(NamedTuple):
    """What a fit of the first half of the points predicts of the second.

    Attributes:
      a, b: coefficients of the first half.
      error: root mean square error of the second half.
      all_error: that of the fit of all points on the same half.
    """

    a: float
    b: float
    error: float
    all_error: float


def law_terms(d: np.ndarray, form: Form) -> np.ndarray:
    """The two terms of a law, by which a and b are multiplied [... K 2].

    Args:
      d: distances, at least 0 [... K].

    >>> law_terms(np.array([0.0, 2.0]), "best_of_n").tolist()
    [[0.0, 0.0], [2.0, -4.0]]
    """
    second = d**2 if form == "best_of_n" else special.xlogy(d, d)
    return np.stack([d, 0.0 - second], axis=-1)


def law_gain(d: np.ndarray, a: float, b: float, form: Form) -> np.ndarray:
    """The gain of a law at distances d [K].

    >>> law_gain(np.array([1.0, 2.0]), 3.0, 1.0, "best_of_n").tolist()
    [2.0, 2.0]
    """
    return law_terms(np.asarray(d, float), form) @ np.array([a, b])


def fit_coefficients(
    d: np.ndarray, gain: np.ndarray, form: Form, *, se: np.ndarray | None = None
) -> np.ndarray:
    """The (a, b) that minimize sum over points of ((gain - law(d)) / se)^2 [... 2].

    Args:
      d: distances [... K].
      gain: of each point [... K].
      se: standard errors [K]; those below a tenth of their median count as that, and
        by default all are equal.

    Raises:
      ValueError: fewer than two different distances above 0, or a number that is not
        finite.
    """
    d, gain = np.asarray(d, float), np.asarray(gain, float)
    check_points(d, gain)
    error = np.ones(d.shape[-1]) if se is None else np.asarray(se, float)
    error = np.maximum(error, WEIGHT_FLOOR * np.median(error))
    if not np.isfinite(error).all():
        raise ValueError("a standard error is not finite: a fit needs two prompts")
    weight = 1.0 / error if error.all() else np.ones_like(error)
    terms = law_terms(d, form) * weight[:, None]
    found: np.ndarray = np.linalg.pinv(terms) @ (gain * weight)[..., None]
    return found[..., 0]


def check_points(d: np.ndarray, gain: np.ndarray) -> None:
    """Refuses points that determine no law.

    Raises:
      ValueError: as `fit_coefficients`.
    """
    if not (np.isfinite(d).all() and np.isfinite(gain).all()):
        raise ValueError("a distance or gain of the curve is not finite")
    if (d < 0).any():
        raise ValueError(f"distances are square roots, at least 0, not {d.min():g}")
    first = d.reshape(-1, d.shape[-1])[0]
    if len(np.unique(first[first > 0])) < 2:
        raise ValueError("a law has two coefficients: two distances above 0 are needed")


def law_peak(a: float, b: float, form: Form, *, longest: float) -> Peak:
    """The peak of a law.

    None is seen where b <= 0, or beyond 1.5 times the largest distance. Best-of-n with
    a <= 0 < b falls from the start: its peak is at 0.

    Args:
      longest: the largest distance of the points.

    >>> law_peak(4.0, 1.0, "best_of_n", longest=3.0)
    Peak(d=2.0, gain=4.0)
    >>> law_peak(4.0, 1.0, "best_of_n", longest=1.0)
    Peak(d=nan, gain=nan)
    """
    if b <= 0:
        return Peak(math.nan, math.nan)
    if form == "best_of_n":
        d = max(a, 0.0) / (2 * b)
        gain = b * d**2
    else:
        d = math.exp(min(a / b - 1, 700.0))
        gain = b * d
    return Peak(d, gain) if d <= SEEN * longest else Peak(math.nan, math.nan)


def fit_law(
    kl: np.ndarray,
    gains: np.ndarray,
    form: Form,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> LawFit:
    """Fits a law to a curve, with intervals by the bootstrap over prompts.

    Points of a curve share their prompts: whole prompts are resampled, with their KL.

    Args:
      kl: in nats, of each point [K], or of its answer to each prompt [K P].
      gains: over the policy, of each point's answer to each prompt [K P].

    Raises:
      ValueError: as `fit_coefficients`; points of "rl" with d < 0.3 do not count.
    """
    kl, gains, d = curve_points(kl, gains, form)
    prompts = gains.shape[1]
    se = standard_errors(gains)
    estimate = fit_coefficients(d, gains.mean(axis=1), form, se=se)
    parts = [np.empty((0, 2))]
    for weights in resample_weights(prompts, resamples=resamples, seed=seed):
        drawn = np.broadcast_to(
            distance(weights @ kl.T / prompts), (len(weights), len(d))
        )
        means = weights @ gains.T / prompts
        parts.append(fit_coefficients(drawn, means, form, se=se))
    found = np.concatenate(parts) if prompts > 1 else np.full((1, 2), np.nan)
    longest = float(d.max())
    peaks = np.array([law_peak(a, b, form, longest=longest) for a, b in found])
    a, b = map(float, estimate)
    peak = law_peak(a, b, form, longest=longest)
    resampled = np.concatenate([found, peaks], axis=1).T
    of_a, of_b, of_d, of_gain = map(percentile_interval, (a, b, *peak), resampled)
    share = float(np.isfinite(peaks[:, 0]).mean())
    return LawFit(form, of_a, of_b, of_d, of_gain, share)


def curve_points(
    kl: np.ndarray, gains: np.ndarray, form: Form
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """KL [K P] and gains [K P] of the points that count, and their distances [K]."""
    gains = np.asarray(gains, float)
    kl = np.asarray(kl, float)
    kl = np.broadcast_to(kl[:, None] if kl.ndim == 1 else kl, gains.shape)
    d = distance(kl.mean(axis=1))
    counts = d >= SMALLEST[form] if form == "rl" else d > 0
    return kl[counts], gains[counts], d[counts]


def standard_errors(gains: np.ndarray) -> np.ndarray | None:
    """Of the means over prompts [K]; None for one prompt."""
    prompts = gains.shape[1]
    return gains.std(axis=1, ddof=1) / math.sqrt(prompts) if prompts > 1 else None


def distance(kl: np.ndarray) -> np.ndarray:
    """sqrt(KL); a measured KL below 0 is 0."""
    return np.sqrt(np.maximum(kl, 0.0))


def extrapolate(kl: np.ndarray, gains: np.ndarray, form: Form) -> Extrapolation:
    """Fits the nearer half of the points, and predicts the farther one.

    Args:
      kl, gains: as of `fit_law`. Of an odd number of points the middle is predicted,
        but two are fitted at least.

    Raises:
      ValueError: fewer than three points that count, or as `fit_coefficients`.
    """
    _, gains, d = curve_points(kl, gains, form)
    if len(d) < 3:
        raise ValueError(f"an extrapolation needs three points, not {len(d)}")
    order = np.argsort(d, kind="stable")
    near, far = np.split(order, [max(len(d) // 2, 2)])
    means = gains.mean(axis=1)
    se = standard_errors(gains)
    fit: Callable[[np.ndarray], np.ndarray] = lambda rows: fit_coefficients(
        d[rows], means[rows], form, se=None if se is None else se[rows]
    )
    first, every = fit(near), fit(order)
    error: Callable[[np.ndarray], float] = lambda law: float(
        np.sqrt(np.mean((law_terms(d[far], form) @ law - means[far]) ** 2))
    )
    return Extrapolation(float(first[0]), float(first[1]), error(first), error(every))
