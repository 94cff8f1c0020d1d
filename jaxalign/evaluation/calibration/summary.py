"""All numbers of one model's calibration, with intervals over prompts."""

from typing import Any

import numpy as np
from scipy import special

from jaxalign.evaluation.calibration.measures import (
    BINS,
    best_temperature,
    bin_starts,
    brier_terms,
    check_predictions,
    ece_of_chance,
    nll_terms,
)
from jaxalign.evaluation.intervals import Interval, Units, bootstrap, unit_indices
from jaxalign.evaluation.resampling import (
    bootstrap_statistic,
    percentile_interval,
    resample_weights,
)

TEMPERATURE_RESAMPLES = 200  # each is a search; 2 % of a bound's percentile is enough


def measure_calibration(
    logit: Any, outcome: Any, *, units: Units, bins: int = BINS, seed: int = 0
) -> dict[str, Interval | float]:
    """ECE, Brier score, NLL and temperature of binary predictions.

    Args:
      logit: the prediction is sigmoid(logit) [R]; of pairs, see
        `calibration.fold_pairs`.
      outcome: 0 or 1, or the share of votes, in [0, 1] [R].
      units: the prompt of each prediction [R], or "each".
      bins: of equal mass, for the ECE.

    Returns:
      ece, brier, nll (nats), temperature (`calibration.best_temperature`, of these same
      rows), nll_at_temperature (each half of the units at the temperature of the other
      half) with intervals, and ece_of_chance and ece_of_chance_95: what a calibrated
      model's ECE would be on so many rows, in the mean and at the 95th percentile.

    Raises:
      ValueError: there are none, their numbers differ, or a value is out of range.
    """
    logit, outcome = np.asarray(logit, np.float64), np.asarray(outcome, np.float64)
    probability = special.expit(logit)
    check_predictions(probability, outcome)
    unit = unit_indices(units, len(logit))
    chance, chance_high = ece_of_chance(probability, bins=bins, seed=seed)
    return {
        "ece": ece_interval(probability, outcome, unit, bins=bins, seed=seed),
        "ece_of_chance": chance,
        "ece_of_chance_95": chance_high,
        "brier": bootstrap(brier_terms(probability, outcome), units=unit, seed=seed),
        "nll": bootstrap(nll_terms(logit, outcome), units=unit, seed=seed),
        "temperature": temperature_interval(logit, outcome, unit, seed=seed),
        "nll_at_temperature": bootstrap(
            cross_fitted_nll(logit, outcome, unit, seed=seed), units=unit, seed=seed
        ),
    }


def ece_interval(
    probability: np.ndarray,
    outcome: np.ndarray,
    unit: np.ndarray,
    *,
    bins: int,
    seed: int,
) -> Interval:
    """The ECE with its interval over units; the bins are those of the sample.

    A resample's ECE is above the sample's in the mean, as the sample's is above the
    population's: the interval lies high where the ECE is near that of chance.

    Args:
      unit: index of each prediction's unit, from 0 [R].
    """
    order = np.argsort(probability, kind="stable")
    starts = bin_starts(probability[order], bins)
    number = np.empty(len(order), np.int64)
    number[order] = np.searchsorted(starts, np.arange(len(order)), side="right") - 1
    count = int(unit.max()) + 1
    gaps = np.zeros((count, len(starts)))
    np.add.at(gaps, (unit, number), outcome - probability)
    sizes = np.bincount(unit, minlength=count).astype(np.float64)
    statistic = lambda w: np.abs(w @ gaps).sum(axis=1) / (w @ sizes)
    return bootstrap_statistic(statistic, count, seed=seed)


def temperature_interval(
    logit: np.ndarray, outcome: np.ndarray, unit: np.ndarray, *, seed: int
) -> Interval:
    """The best temperature with its interval over units.

    Args:
      unit: index of each prediction's unit, from 0 [R].
    """
    count = int(unit.max()) + 1
    resampled = []
    for weights in resample_weights(count, resamples=TEMPERATURE_RESAMPLES, seed=seed):
        for times in weights.astype(np.int64):
            rows = np.repeat(np.arange(len(unit)), times[unit])
            resampled.append(best_temperature(logit[rows], outcome[rows]))
    estimate = best_temperature(logit, outcome)
    if count < 2:
        return Interval(estimate, np.nan, np.nan)
    return percentile_interval(estimate, np.array(resampled))


def cross_fitted_nll(
    logit: np.ndarray, outcome: np.ndarray, unit: np.ndarray, *, seed: int
) -> np.ndarray:
    """The NLL in nats of each row at the temperature of the other half of units [R].

    Args:
      unit: index of each prediction's unit, from 0 [R].
    """
    return nll_terms(cross_fitted_logits(logit, outcome, unit, seed=seed), outcome)


def cross_fitted_logits(
    logit: np.ndarray, outcome: np.ndarray, unit: np.ndarray, *, seed: int
) -> np.ndarray:
    """Each logit divided by the best temperature of the other half of units [R].

    A temperature of 0 or inf is taken as 1e-3 or 1e3 times the largest logit. A single
    unit has no other half: its own temperature is used.

    Args:
      unit: index of each prediction's unit, from 0 [R].
    """
    count = int(unit.max()) + 1
    second = np.random.default_rng(seed).permutation(count)[unit] % 2 == 1
    largest = max(float(np.abs(logit).max()), 1e-300)
    scaled = np.empty(len(logit))
    for rows in (second, ~second):
        other = ~rows if count > 1 else rows
        if rows.any():
            fitted = best_temperature(logit[other], outcome[other])
            scaled[rows] = logit[rows] / np.clip(fitted, 1e-3 * largest, 1e3 * largest)
    return scaled
