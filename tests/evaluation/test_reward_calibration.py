"""Calibration of rewards: simulated labels, temperature, and soft labels."""

import numpy as np
import pytest
from scipy import special

from jaxalign.evaluation.reward_calibration import calibration_numbers


def simulate(count, scale, seed=0):
    """Margins that are `scale` times the logit by which labels were drawn."""
    rng = np.random.default_rng(seed)
    logit = rng.normal(0.0, 1.5, count)
    label = rng.random(count) < special.expit(logit)
    # oriented as pairs are: the label is the chosen answer
    return scale * np.where(label, logit, -logit)


def numbers(margins, label_prob=None):
    label_prob = np.ones(len(margins)) if label_prob is None else label_prob
    return calibration_numbers(margins, label_prob, units="each")


def test_a_calibrated_reward():
    found = numbers(simulate(4000, 1.0))
    # the best scale of 4000 logits of sd 1.5 has a standard error near 3 %
    assert found["temperature"] == pytest.approx(1.0, abs=0.1)
    assert found["ECE"] < found["ECE by chance, 95th percentile"]


def test_an_over_confident_reward_and_its_temperature():
    found = numbers(simulate(4000, 3.0))
    assert found["temperature"] == pytest.approx(3.0, rel=0.1)
    after = found["after temperature"]
    assert found["ECE"] > 4 * found["ECE by chance"]
    # what is left is chance
    assert after["ECE"] < found["ECE"] / 4
    assert after["NLL"].mean < found["NLL"].mean
    assert after["accuracy"] == found["accuracy"], "scaling changes no choice"


def test_by_hand():
    # margins log 3, -log 3, 0: confidences 3/4, 3/4, 1/2; outcomes 1, 0, 1/2
    found = numbers(np.array([np.log(3), -np.log(3), 0.0]))
    assert found["Brier"].mean == pytest.approx((1 / 16 + 9 / 16 + 0) / 3)
    nll = -(np.log(3 / 4) + np.log(1 / 4) + np.log(1 / 2)) / 3
    assert found["NLL"].mean == pytest.approx(nll)
    assert found["accuracy"].mean == pytest.approx(0.5)


def test_soft_labels():
    # right on q = 0.8, wrong on q = 0.6: outcomes 0.8 and 0.4; Bayes (0.8 + 0.6) / 2
    found = numbers(np.array([1.0, -1.0]), np.array([0.8, 0.6]))
    assert found["accuracy"].mean == pytest.approx(0.6)
    assert found["Bayes accuracy"] == pytest.approx(0.7)


def test_pairs_of_one_prompt_are_fitted_together():
    # one prompt has no other half: nothing is scaled
    found = calibration_numbers(
        np.array([1.0, -1.0, 2.0]), np.ones(3), units=np.zeros(3)
    )
    assert found["after temperature"]["NLL"].mean == found["NLL"].mean
