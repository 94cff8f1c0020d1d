"""Calibration of a reward on preference pairs.

The reward difference of a pair is the logit of its label (Bradley-Terry), so that
sigmoid(difference) is the probability that the reward gives its own choice.
"""

from typing import Any

import numpy as np
from scipy import special

from jaxalign.evaluation.calibration import measures as calibration
from jaxalign.evaluation.calibration.summary import (
    cross_fitted_logits,
    measure_calibration,
)
from jaxalign.evaluation.intervals import Units, bootstrap, unit_indices

ROWS_PER_BIN = 25  # a frequency of 25 rows has a standard error of 0.1 at most


def calibration_numbers(
    margins: np.ndarray, label_prob: np.ndarray, *, units: Units, seed: int = 0
) -> dict[str, Any]:
    """Calibration of the reward's own choices, before and after a temperature.

    confidence = sigmoid(|margin|)
    outcome = 1/2 + sign(margin) (label_prob - 1/2), the label of that choice

    With soft labels q (shares of votes) `bayes_accuracy`, mean max(q, 1 - q), is the
    best that any model can have.

    Args:
      margins: reward of the chosen answer less that of the rejected one [R].
      label_prob: probability in [0, 1] that the chosen answer is better; 1 of hard
        labels [R].
      units: the prompt of each pair [R].
      seed: of the bootstrap, and of the halves of the units on which the temperature
        is fitted and its effect is measured.

    Returns:
      The numbers of `calibration_report.measure_calibration`; confidence and accuracy
      with intervals; bayes_accuracy; and the reliability tables `bins` and
      `bins_at_temperature`.

    Reference: Guo et al. 2017, arXiv:1706.04599 (temperature).
    """
    margins, label_prob = np.asarray(margins, np.float64), np.asarray(label_prob)
    unit = unit_indices(units, len(margins))
    logits, outcomes = np.abs(margins), 0.5 + np.sign(margins) * (label_prob - 0.5)
    scaled = cross_fitted_logits(logits, outcomes, unit, seed=seed)
    mean = lambda values: bootstrap(values, units=unit, seed=seed, share=True)
    return measure_calibration(logits, outcomes, units=unit, seed=seed) | {
        "confidence": mean(special.expit(logits)),
        "accuracy": mean(outcomes),
        "bayes_accuracy": float(np.maximum(label_prob, 1 - label_prob).mean()),
        "bins": reliability_rows(logits, outcomes),
        "bins_at_temperature": reliability_rows(scaled, outcomes),
    }


def reliability_rows(logits: np.ndarray, outcomes: np.ndarray) -> list[dict[str, Any]]:
    """The reliability table of predictions sigmoid(logit), as JSON rows.

    Of few predictions there are fewer bins, of `ROWS_PER_BIN` or more.
    """
    bins = int(np.clip(len(logits) // ROWS_PER_BIN, 3, calibration.BINS))
    table = calibration.reliability_bins(special.expit(logits), outcomes, bins=bins)
    return [row._asdict() for row in table]
