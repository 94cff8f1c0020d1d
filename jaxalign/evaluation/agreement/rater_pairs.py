"""Agreement of two annotators on items that both labeled: Cohen, Kendall's tau-b."""

import math
from typing import Literal

import numpy as np
from scipy import stats

from jaxalign.evaluation.intervals import Interval
from jaxalign.evaluation.resampling import percentile_interval, resample_weights

KappaWeights = Literal["unweighted", "linear", "quadratic"]
TAU_RESAMPLES = 500  # one after the other; a bound's percentile is good to 0.7 %


def cohen_kappa(
    first: np.ndarray,
    second: np.ndarray,
    *,
    labels: int,
    kind: KappaWeights = "unweighted",
    weights: np.ndarray | None = None,
) -> np.ndarray:
    """Cohen's kappa of two annotators, weighted or not [*S].

    kappa = 1 - sum w_ij o_ij / sum w_ij p1_i p2_j

    with o_ij the share of items that the first gave label i and the second j, and
    w = 1 where i and j differ (unweighted), |i - j| (linear), (i - j)^2 (quadratic).

    Args:
      first, second: index of the label of each item [U], from lowest to highest.
      labels: their number K. Labels that neither gave matter to the weighted kinds
        alone, as they are steps of the scale.
      kind: the weights w.
      weights: how often each item counts [*S U]; once by default.

    Returns:
      NaN where both always give one and the same label, or there are no items.

    Reference: Cohen 1960, Educational and Psychological Measurement 20; Cohen 1968,
    Psychological Bulletin 70 (weighted).

    >>> first, second = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1])
    >>> float(cohen_kappa(first, second, labels=2))  # (3/4 - 1/2) / (1 - 1/2)
    0.5
    """
    steps = np.arange(labels)
    gap = np.abs(steps[:, None] - steps).astype(np.float64)
    distance = {"unweighted": gap > 0, "linear": gap, "quadratic": gap**2}[kind] + 0.0
    weights = np.ones(len(first)) if weights is None else weights
    total = weights.sum(axis=-1)
    total = np.where(total > 0, total, np.nan)
    observed = weights @ distance[first, second] / total
    p1 = weights @ np.eye(labels)[first] / total[..., None]
    p2 = weights @ np.eye(labels)[second] / total[..., None]
    expected = np.einsum("...i,ij,...j->...", p1, distance, p2)
    return np.where(
        expected > 0, 1 - observed / np.where(expected > 0, expected, 1), np.nan
    )


def kendall_tau_b(
    first: np.ndarray, second: np.ndarray, *, seed: int = 0, interval: bool = True
) -> Interval:
    """Kendall's tau-b of two annotators' ratings of the same items, ties allowed.

    tau = (concordant - discordant) / sqrt((pairs - ties of first) (pairs - of second))

    Args:
      first, second: ratings of each item [U].
      interval: whether to bootstrap over items; else the bounds are NaN.

    Returns:
      NaN where an annotator gave one rating to all.

    Reference: Kendall 1945, Biometrika 33.

    >>> found = kendall_tau_b(np.arange(3), np.array([1, 3, 2]), interval=False)
    >>> round(found.mean, 4)  # 2 concordant, 1 discordant of 3
    0.3333
    """
    estimate = tau_b(first, second)
    if not interval or len(first) < 2 or math.isnan(estimate):
        return Interval(estimate, math.nan, math.nan)
    resampled = []
    for counts in resample_weights(len(first), resamples=TAU_RESAMPLES, seed=seed):
        for times in counts.astype(np.int64):
            rows = np.repeat(np.arange(len(first)), times)
            resampled.append(tau_b(first[rows], second[rows]))
    return percentile_interval(estimate, np.array(resampled))


def tau_b(first: np.ndarray, second: np.ndarray) -> float:
    """Kendall's tau-b; NaN where an annotator gave one rating to all."""
    if len(np.unique(first)) < 2 or len(np.unique(second)) < 2:
        return math.nan
    return float(stats.kendalltau(first, second, method="asymptotic").statistic)
