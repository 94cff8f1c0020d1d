"""Calibration of rewards: simulated labels, temperature, and soft labels."""

import numpy as np
import pytest
from scipy import special

from jaxalign.evaluation.reward_benchmarks.reward_calibration import calibration_numbers


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
    found = numbers(simulate(2000, 1.0))
    # the best scale of 2000 logits of sd 1.5 has a standard error near 5 %
    assert found["temperature"].mean == pytest.approx(1.0, abs=0.15)
    assert found["ece"].mean < found["ece_of_chance_95"]


def test_an_over_confident_reward_and_its_temperature():
    found = numbers(simulate(2000, 3.0))
    # three standard errors of 5 %
    assert found["temperature"].mean == pytest.approx(3.0, rel=0.15)
    assert found["ece"].mean > 4 * found["ece_of_chance"]
    assert found["nll_at_temperature"].mean < found["nll"].mean
    rows = found["bins_at_temperature"]
    gaps = [r["size"] * abs(r["frequency"] - r["probability"]) for r in rows]
    # what is left is chance
    assert sum(gaps) / 2000 < found["ece"].mean / 3


def test_by_hand():
    # margins log 3, -log 3, 0: confidences 3/4, 3/4, 1/2; outcomes 1, 0, 1/2
    found = numbers(np.array([np.log(3), -np.log(3), 0.0]))
    assert found["brier"].mean == pytest.approx((1 / 16 + 9 / 16 + 0) / 3)
    nll = -(np.log(3 / 4) + np.log(1 / 4) + np.log(1 / 2)) / 3
    assert found["nll"].mean == pytest.approx(nll)
    assert found["accuracy"].mean == pytest.approx(0.5)


def test_soft_labels():
    # right on q = 0.8, wrong on q = 0.6: outcomes 0.8 and 0.4; Bayes (0.8 + 0.6) / 2
    found = numbers(np.array([1.0, -1.0]), np.array([0.8, 0.6]))
    assert found["accuracy"].mean == pytest.approx(0.6)
    assert found["bayes_accuracy"] == pytest.approx(0.7)


def test_the_table_is_of_the_model_s_choices():
    # margins 2, -2, 2, -2: one confidence, half right
    found = numbers(np.array([2.0, -2.0, 2.0, -2.0]))
    (row,) = found["bins"]
    assert (row["size"], row["frequency"]) == (4, 0.5)
    assert row["probability"] == pytest.approx(special.expit(2.0))
    assert found["confidence"].mean == pytest.approx(special.expit(2.0))


def test_logits_that_balance_but_for_rounding():
    # differences 0.1 and 0.2 right, 0.3 wrong: the slope at 1 / T = 0 is 0 in exact
    # arithmetic: no temperature, and no division by zero
    found = numbers(np.array([0.1, 0.2, -0.3]))
    assert np.isinf(found["temperature"].mean)
