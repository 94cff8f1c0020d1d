"""Length-controlled win rates: AlpacaEval 2's regression of verdicts on lengths.

P(model wins on instruction i) = sigmoid(phi tanh(z_i) + psi gamma_i + theta)

z_i is how much shorter the model's answer is, gamma_i the instruction's difficulty. The
length-controlled win rate is the mean of this with the length term set to 0. The form
without difficulty is AlpacaEval's `minimal`; with it and without the two gamed runs of
the baseline, `noreg`. The estimator is AlpacaEval's as well, an L1 penalty by
cross-validation (`l1_logistic`), where there are comparisons enough for that.
"""

import dataclasses
import math
from typing import NamedTuple

import numpy as np
from scipy import special

from jaxalign.evaluation.intervals import Interval, Units, unit_indices
from jaxalign.evaluation.resampling import percentile_interval, resample_weights
from jaxalign.evaluation.win_rates.l1_logistic import (
    GRID,
    fit_l1_logistic,
    select_inverse,
)
from jaxalign.evaluation.win_rates.logistic import fit_logistic

RESAMPLES = 1000
FEW = 200
"""With fewer comparisons intervals have 6 points and more to each side, and
cross-validation often selects a penalty that pulls the win rate to 50: of 20 in a
simulation, their intervals covered the truth 55 % of the time. Then the penalty is the
weakest of the grid, which only keeps separated verdicts finite."""
LARGE_CHANGE, LARGE_SHARE = 10.0, 0.25  # AlpacaEval's thresholds of a warning


class LengthWeights(NamedTuple):
    """Coefficients of the regression for one model against the baseline.

    Attributes:
      length: phi, of tanh(z); negative where the judge prefers longer answers.
      difficulty: psi, of gamma; 0 in the form without difficulty.
      model: theta, the log-odds that the model wins at equal length.
    """

    length: float
    difficulty: float
    model: float


BASELINE = LengthWeights(0.0, 0.0, 0.0)
"""The baseline against itself: a length-controlled win rate of 50."""


@dataclasses.dataclass(frozen=True)
class LengthControl:
    """A length-controlled win rate, in percent.

    Attributes:
      win_rate: the estimate.
      se: spread over instructions / sqrt(n), as AlpacaEval reports; it is not the
        uncertainty of the fit, and is 0 without difficulty.
      interval: percentile bootstrap over instructions, refitted in each resample.
      bootstrap_se: standard deviation over the resamples.
      weights: coefficients of the regression.
      weight_intervals: of each coefficient, over the same resamples.
      form: "noreg" with difficulty, "minimal" without.
      inverse: the inverse strength C of the L1 penalty.
      separated: whether the verdicts have no finite fit without the penalty, as where
        the longer answer always wins: then the penalty alone bounds the coefficients.
      rates: the win rate in each resample [R].
    """

    win_rate: float
    se: float
    interval: Interval
    bootstrap_se: float
    weights: LengthWeights
    weight_intervals: dict[str, Interval]
    form: str
    inverse: float
    separated: bool
    rates: np.ndarray


def length_difference(length: np.ndarray, baseline: np.ndarray) -> np.ndarray:
    """How much shorter the model's answers are, in standard deviations [N].

    z = (len(baseline) - len(model)) / sd(len(baseline) - len(model))

    Not centered, so that equal lengths stay at 0; 0 everywhere if the difference has no
    spread.

    Args:
      length: of the model's answers, in characters [N].
      baseline: of the baseline's [N].

    >>> length_difference(np.array([1, 2, 3]), np.array([2, 2, 2])).tolist()
    [1.0, 0.0, -1.0]
    """
    difference = np.asarray(baseline, np.float64) - np.asarray(length, np.float64)
    spread = difference.std(ddof=1)
    return difference / spread if spread > 0 else np.zeros_like(difference)


def design_matrix(z: np.ndarray, difficulty: np.ndarray | None) -> np.ndarray:
    """The features tanh(z), difficulty if there is one, and 1 [N 2 or 3].

    Args:
      z: `length_difference` [N].
      difficulty: gamma of each instruction [N].
    """
    columns = [np.tanh(z), np.ones_like(z)]
    if difficulty is not None:
        columns.insert(1, np.asarray(difficulty, np.float64))
    return np.stack(columns, axis=1)


def length_controlled_win_rate(
    weights: LengthWeights, difficulty: np.ndarray | None, *, n: int = 1
) -> tuple[float, float]:
    """The win rate at equal length, in percent, and its spread over instructions.

    LC = 100 mean_i sigmoid(psi gamma_i + theta),   SE = 100 sd_i / sqrt(n)

    Args:
      weights: coefficients, fitted or published.
      difficulty: gamma [N]; None for the form without.
      n: number of instructions where there is no difficulty.

    Reference: Dubois et al. 2024, arXiv:2404.04475, eq. 3.

    >>> length_controlled_win_rate(BASELINE, None)
    (50.0, 0.0)
    """
    gamma = np.zeros(n) if difficulty is None else np.asarray(difficulty, np.float64)
    p = special.expit(weights.difficulty * gamma + weights.model)
    spread = float(p.std(ddof=1)) if len(p) > 1 else math.nan
    if difficulty is None:
        spread = 0.0
    return 100 * float(p.mean()), 100 * spread / math.sqrt(len(p))


def length_control(
    probability: np.ndarray,
    length: np.ndarray,
    baseline_length: np.ndarray,
    difficulty: np.ndarray | None = None,
    *,
    units: Units = "each",
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> LengthControl:
    """Fits the regression for one model and reads its win rate at equal length.

    The scale of the length difference and the strength of the penalty are those of all
    comparisons, in the resamples too.

    Args:
      probability: that the model wins, in [0, 1] [N]; leave failed comparisons out.
      length, baseline_length: characters of the answers [N].
      difficulty: gamma of each comparison's instruction [N]; None for `minimal`.
      units: the instruction of each comparison, which the bootstrap resamples.
      seed: of the bootstrap.
      resamples: of the bootstrap.

    Raises:
      ValueError: fewer than two comparisons, arrays of other lengths, or values that
        are out of range or not finite.

    Reference: Dubois et al. 2024, arXiv:2404.04475, section 3; Efron and Tibshirani
    1993, section 13.3 (percentiles).
    """
    probability = check_inputs(probability, length, baseline_length, difficulty)
    design = design_matrix(length_difference(length, baseline_length), difficulty)
    unit = unit_indices(units, len(probability))
    few = len(probability) < FEW
    inverse = GRID[-1] if few else select_inverse(design, probability, unit)
    everything = np.ones((1, len(probability)))
    own = fit_l1_logistic(design, probability, everything, np.array([inverse]))[0]
    weights = named_weights(own)
    estimate, se = length_controlled_win_rate(weights, difficulty, n=len(probability))

    draws = resample_weights(int(unit.max()) + 1, resamples=resamples, seed=seed)
    counts = np.concatenate(list(draws))[:, unit]
    refits = fit_l1_logistic(
        design, probability, counts, np.full(resamples, inverse), start=own
    )
    at_equal_length = special.expit(refits[:, 1:] @ design[:, 1:].T)
    rates = 100 * (counts * at_equal_length).sum(axis=1) / counts.sum(axis=1)
    names = [
        n for n in LengthWeights._fields if n != "difficulty" or design.shape[1] > 2
    ]
    return LengthControl(
        win_rate=estimate,
        se=se,
        interval=percentile_interval(estimate, rates),
        bootstrap_se=float(rates.std(ddof=1)),
        weights=weights,
        weight_intervals={
            name: percentile_interval(own[k], refits[:, k])
            for k, name in enumerate(names)
        },
        form="minimal" if difficulty is None else "noreg",
        inverse=float(inverse),
        separated=not fit_logistic(design, probability).identified[0],
        rates=rates,
    )


def check_inputs(
    probability: np.ndarray,
    length: np.ndarray,
    baseline_length: np.ndarray,
    difficulty: np.ndarray | None,
) -> np.ndarray:
    """The win probabilities as float64 [N].

    Raises:
      ValueError: as `length_control`.
    """
    probability = np.asarray(probability, np.float64)
    if len(probability) < 2:
        raise ValueError(
            f"length control needs 2 comparisons at least; there are {len(probability)}"
        )
    if not ((probability >= 0) & (probability <= 1)).all():
        raise ValueError("a win probability is not from 0 to 1")
    arrays = {"lengths": length, "baseline lengths": baseline_length}
    if difficulty is not None:
        arrays["difficulties"] = difficulty
    for name, values in arrays.items():
        if len(values) != len(probability):
            raise ValueError(f"{len(values)} {name} for {len(probability)} comparisons")
        numbers = np.asarray(values, np.float64)
        if not np.isfinite(numbers).all():
            raise ValueError(f"the {name} hold a value that is not finite")
        if "lengths" in name and (numbers < 0).any():
            raise ValueError(f"the {name} hold a negative value")
    return probability


def named_weights(coefficients: np.ndarray) -> LengthWeights:
    """The coefficients of either form [2 or 3] by name."""
    length, *difficulty, model = map(float, coefficients)
    return LengthWeights(length, difficulty[0] if difficulty else 0.0, model)


def head_to_head(
    ours: LengthWeights, theirs: LengthWeights, difficulty: np.ndarray | None
) -> float:
    """The probability that one model beats another, at equal lengths.

    P = mean_i sigmoid(theta_j - theta_k + (psi_j - psi_k) gamma_i)

    Args:
      ours, theirs: coefficients against the same baseline, of models j and k.
      difficulty: gamma [N]; None for the form without.

    Reference: Dubois et al. 2024, arXiv:2404.04475, section 3.

    >>> head_to_head(LengthWeights(0.0, 0.0, 1.0), LengthWeights(0.0, 0.0, 1.0), None)
    0.5
    """
    gamma = np.zeros(1) if difficulty is None else np.asarray(difficulty, np.float64)
    logit = ours.model - theirs.model + (ours.difficulty - theirs.difficulty) * gamma
    return float(special.expit(logit).mean())


def changes_much(length_controlled: float, win_rate: float) -> bool:
    """Whether length control changes a win rate so much that a warning is due.

    |LC - WR| > 10 points, and more than a quarter of the win rate.

    >>> changes_much(40.0, 25.0), changes_much(12.0, 5.0), changes_much(80.0, 69.0)
    (True, False, False)
    """
    change = abs(length_controlled - win_rate)
    return change > LARGE_CHANGE and change > LARGE_SHARE * win_rate
