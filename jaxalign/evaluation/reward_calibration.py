"""Calibration of a reward on preference pairs, and the temperature that improves it.

The reward difference of a pair is the logit of its label (Bradley-Terry), so that
sigmoid(difference) is the probability that the reward gives its own choice.

Reference: Guo et al. 2017, arXiv:1706.04599 (temperature).
"""

from typing import Any

import numpy as np
from scipy import special

from jaxalign.evaluation import calibration
from jaxalign.evaluation.intervals import Units, bootstrap, unit_indices

Numbers = dict[str, Any]


def calibration_numbers(
    margins: np.ndarray, label_prob: np.ndarray, *, units: Units, seed: int = 0
) -> Numbers:
    """ECE, Brier score and NLL of the reward's own choices, before and after scaling.

    confidence = sigmoid(|margin|)
    outcome = 1/2 + sign(margin) (label_prob - 1/2), the label of that choice

    With soft labels (shares of votes) `Bayes accuracy`, mean max(q, 1 - q), is the best
    that any model can have. The temperature is fitted on the half of the units, and
    its effect is reported on the other, and the other way round.

    Args:
      margins: reward of the chosen answer less that of the rejected one [R].
      label_prob: probability in [0, 1] that the chosen answer is better; 1 of hard
        labels [R].
      units: the prompt of each pair [R].
      seed: of the halves and of the bootstrap.

    Returns:
      By name; `bins` is the reliability table, `temperature` that of all pairs.
    """
    margins, label_prob = np.asarray(margins, np.float64), np.asarray(label_prob)
    unit = unit_indices(units, len(margins))
    logits, outcomes = np.abs(margins), 0.5 + np.sign(margins) * (label_prob - 0.5)
    half, scaled = random_halves(unit, seed), np.array(logits)
    for fold in np.unique(half) if unit.any() else ():
        fit, test = half != fold, half == fold
        found = calibration.best_temperature(logits[fit], outcomes[fit])
        scaled[test] = scaled_logits(logits[test], found)
    chance = calibration.ece_of_chance(calibration_probability(logits), seed=seed)
    return calibration_table(logits, outcomes, unit, seed) | {
        "ECE by chance": chance[0],
        "ECE by chance, 95th percentile": chance[1],
        "temperature": calibration.best_temperature(logits, outcomes),
        "after temperature": calibration_table(scaled, outcomes, unit, seed),
        "Bayes accuracy": float(np.maximum(label_prob, 1 - label_prob).mean()),
    }


def calibration_table(
    logits: np.ndarray, outcomes: np.ndarray, units: Units, seed: int
) -> Numbers:
    """ECE, Brier score and NLL of predictions, and the reliability table."""
    probability = calibration_probability(logits)
    mean = lambda terms: bootstrap(terms, units=units, seed=seed)
    return {
        "ECE": calibration.expected_calibration_error(probability, outcomes),
        "Brier": mean(calibration.brier_terms(probability, outcomes)),
        "NLL": mean(calibration.nll_terms(logits, outcomes)),
        "confidence": mean(probability),
        "accuracy": mean(outcomes),
        "bins": [
            row._asdict() for row in calibration.reliability_bins(probability, outcomes)
        ],
    }


def calibration_probability(logits: np.ndarray) -> np.ndarray:
    """sigmoid(logits)."""
    return np.asarray(special.expit(logits))


def scaled_logits(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Logits at a temperature; at 0, where none is best, they stay as they are."""
    return logits / temperature if temperature > 0 else logits


def random_halves(unit: np.ndarray, seed: int) -> np.ndarray:
    """A random half, 0 or 1, of each row; rows of one unit share it [R].

    Args:
      unit: index of the unit of each row, from 0 [R].

    >>> sorted(random_halves(np.arange(4), 0).tolist())
    [0, 0, 1, 1]
    """
    order = np.random.default_rng(seed).permutation(int(unit.max()) + 1)
    return (order % 2)[unit]
