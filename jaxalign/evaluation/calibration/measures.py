"""Calibration of probabilities: ECE, Brier score, NLL, temperature, reliability.

For a reward model the logit of a pair is the reward difference, and its probability
that the first answer is better is sigmoid(logit). Where the first answer is always the
chosen one every outcome is 1 and calibration cannot be seen: `fold_pairs` first.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from scipy import optimize, special

BINS = 15


class ReliabilityBin(NamedTuple):
    """Predictions of similar probability.

    Attributes:
      size: predictions in the bin.
      low, high: the smallest and largest probability.
      probability: the mean probability.
      frequency: the mean outcome; equal to it where calibrated.
    """

    size: int
    low: float
    high: float
    probability: float
    frequency: float


def fold_pairs(margins: Any) -> tuple[np.ndarray, np.ndarray]:
    """The confidence logits of pairs, and whether the model is right.

    logit = |margin|, outcome = 1 where margin > 0, 0.5 where it is 0, else 0

    so that probabilities are 0.5 or more, and calibration is that of the model's own
    choices: among those of confidence 0.8, eight in ten are right.

    Args:
      margins: reward(chosen) - reward(rejected) [R].

    Returns:
      logits [R], 0 or more, and outcomes [R].

    >>> logits, outcomes = fold_pairs([2.0, -1.0, 0.0])
    >>> logits.tolist(), outcomes.tolist()
    ([2.0, 1.0, 0.0], [1.0, 0.0, 0.5])
    """
    margins = np.asarray(margins, np.float64)
    return np.abs(margins), (1 + np.sign(margins)) / 2


def reliability_bins(
    probability: Any, outcome: Any, *, bins: int = BINS
) -> list[ReliabilityBin]:
    """The reliability table: predictions in bins of equal mass, by rising probability.

    Bins differ in size by one prediction at most; equal probabilities share a bin, so
    that the table does not depend on the order of rows, and there may be fewer bins.

    Args:
      probability: predictions in [0, 1] [R].
      outcome: in [0, 1] [R]: 0 or 1, or the share of votes.
      bins: at most so many.

    Raises:
      ValueError: there are none, their numbers differ, or one is not in [0, 1].

    Reference: Naeini et al. 2015, AAAI; Nguyen and O'Connor 2015, arXiv:1508.05154,
    section 3.1 (bins of equal mass).

    >>> for row in reliability_bins([0.9, 0.2, 0.8, 0.1], [1, 0, 1, 0], bins=2):
    ...     print(row.size, round(row.probability, 2), row.frequency)
    2 0.15 0.0
    2 0.85 1.0
    """
    probability, outcome = check_predictions(probability, outcome)
    starts = bin_starts(np.sort(probability), bins)
    order = np.argsort(probability, kind="stable")
    rows = []
    for part in np.split(order, starts[1:]):
        values = probability[part]
        rows.append(
            ReliabilityBin(
                len(part),
                float(values[0]),
                float(values[-1]),
                float(values.mean()),
                float(outcome[part].mean()),
            )
        )
    return rows


def bin_starts(values: np.ndarray, bins: int) -> np.ndarray:
    """The first index of each bin of equal mass of sorted values, from 0.

    Each cut moves down to the first of equal values.
    """
    cuts = np.arange(bins) * len(values) // bins
    return np.unique(np.searchsorted(values, values[cuts]))


def expected_calibration_error(
    probability: Any, outcome: Any, *, bins: int = BINS
) -> float:
    """The expected calibration error (ECE), in bins of equal mass.

    ECE = sum over bins of (size / R) |frequency - mean probability|

    It is above 0 for a calibrated model too, by chance: compare with `ece_of_chance`.

    Args, Raises: as for `reliability_bins`.

    Reference: Guo et al. 2017, arXiv:1706.04599, eq. 3 (with bins of equal width).

    >>> round(expected_calibration_error([0.9, 0.2, 0.8, 0.1], [1, 0, 1, 0], bins=2), 3)
    0.15
    """
    rows = reliability_bins(probability, outcome, bins=bins)
    gaps = [row.size * abs(row.frequency - row.probability) for row in rows]
    return float(sum(gaps) / sum(row.size for row in rows))


def ece_of_chance(
    probability: Any, *, bins: int = BINS, draws: int = 200, seed: int = 0
) -> tuple[float, float]:
    """The mean ECE, and its 95th percentile, if the probabilities were right.

    Outcomes 0 or 1 are drawn with the given probabilities. An ECE above the percentile
    is miscalibration; below, these predictions cannot tell.

    Reference: Broecker and Smith 2007, Weather and Forecasting 22 (consistency
    resampling).

    >>> mean, high = ece_of_chance(np.full(100, 0.5), bins=1)
    >>> bool(0.03 < mean < 0.05)  # E|mean of 100 coins - 0.5| = 0.05 sqrt(2 / pi)
    True
    """
    probability = np.sort(np.asarray(probability, np.float64))
    probability, _ = check_predictions(probability, probability)
    starts = bin_starts(probability, bins)
    outcomes = np.random.default_rng(seed).random((draws, len(probability)))
    gaps = np.add.reduceat((outcomes < probability) - probability, starts, axis=1)
    errors = np.abs(gaps).sum(axis=1) / len(probability)
    return float(errors.mean()), float(np.quantile(errors, 0.95))


def brier_terms(probability: Any, outcome: Any) -> np.ndarray:
    """The squared error of each prediction [R]; their mean is the Brier score.

    Reference: Brier 1950, Monthly Weather Review 78 (for one of the two classes).

    >>> brier_terms([0.5, 1.0], [1, 1]).tolist()
    [0.25, 0.0]
    """
    probability, outcome = check_predictions(probability, outcome)
    return (probability - outcome) ** 2


def nll_terms(logit: Any, outcome: Any) -> np.ndarray:
    """The negative log-likelihood of each outcome in nats [R]; finite for any logit.

    nll = -outcome log sigmoid(logit) - (1 - outcome) log sigmoid(-logit)

    Args:
      logit: the prediction is sigmoid(logit) [R].
      outcome: in [0, 1] [R].

    >>> nll_terms([0.0], [1]).round(4).tolist()  # log 2
    [0.6931]
    """
    logit, outcome = np.asarray(logit, np.float64), np.asarray(outcome, np.float64)
    check_predictions(special.expit(logit), outcome)
    return np.logaddexp(0.0, logit) - outcome * logit


def best_temperature(logit: Any, outcome: Any) -> float:
    """The temperature T at which sigmoid(logit / T) has the smallest NLL.

    The root in a = 1 / T of the NLL's slope: sum of logit (sigmoid(a logit) - outcome),
    which rises with a. T > 1: the model is over-confident. Fit it on other rows than
    those it is reported on.

    Returns:
      T; 0 where no prediction is on the wrong side (sharper is always better), inf
      where the logits do not predict the outcomes at all (flat is best).

    Raises:
      ValueError: there are none, their numbers differ, or a value is out of range.

    Reference: Guo et al. 2017, arXiv:1706.04599, section 4.2.

    >>> # outcomes 3 in 4: best sigmoid(2 / T) = 3/4, so T = 2 / log 3
    >>> round(best_temperature([2.0] * 4, [1, 1, 1, 0]), 4), round(2 / np.log(3), 4)
    (1.8205, np.float64(1.8205))
    """
    logit, outcome = np.asarray(logit, np.float64), np.asarray(outcome, np.float64)
    check_predictions(special.expit(logit), outcome)
    largest = float(np.abs(logit).max())
    if largest == 0.0:
        return math.inf
    unit = logit / largest
    if not np.any(unit * ((unit > 0) - outcome)):
        return 0.0
    slope = lambda a: float(unit @ (special.expit(a * unit) - outcome))
    if slope(0.0) >= 0.0:
        return math.inf
    high = 1.0
    while slope(high) < 0.0:
        high *= 4.0
    scale = optimize.brentq(slope, 0.0, high, xtol=1e-12, rtol=1e-12)
    return float(largest / scale) if scale > 0.0 else math.inf


def check_predictions(probability: Any, outcome: Any) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and outcomes as float64 [R].

    Raises:
      ValueError: there are none, their numbers differ, or one is not in [0, 1].
    """
    arrays = np.asarray(probability, np.float64), np.asarray(outcome, np.float64)
    if arrays[0].shape != arrays[1].shape or arrays[0].ndim != 1:
        shapes = " and ".join(str(array.shape) for array in arrays)
        raise ValueError(f"probabilities and outcomes have shapes {shapes}; both [R]")
    if not arrays[0].size:
        raise ValueError("calibration needs predictions; there are none")
    for name, values in zip(("probability", "outcome"), arrays, strict=True):
        bad = ~((values >= 0) & (values <= 1))
        if bad.any():
            raise ValueError(f"{name} {values[bad][0]} is not in [0, 1]")
    return arrays
