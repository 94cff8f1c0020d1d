"""Calibration: planted probabilities are found again, by hand and by simulation."""

import math

import numpy as np
import pytest
from scipy import special

from jaxalign.evaluation.calibration import measures as calibration
from jaxalign.evaluation.calibration import reliability_plot
from jaxalign.evaluation.calibration.summary import (
    cross_fitted_nll,
    measure_calibration,
)


def test_bins_of_equal_mass_by_hand():
    # sorted: .1 .2 .3 | .6 .7 .9; outcomes 0 0 1 | 1 0 1
    probability, outcome = [0.7, 0.1, 0.9, 0.3, 0.2, 0.6], [0, 0, 1, 1, 0, 1]
    low, high = calibration.reliability_bins(probability, outcome, bins=2)
    # rounding of a mean of three numbers: 1e-15
    np.testing.assert_allclose(low, [3, 0.1, 0.3, 0.2, 1 / 3], rtol=1e-14)
    np.testing.assert_allclose(high, [3, 0.6, 0.9, 2.2 / 3, 2 / 3], rtol=1e-14)
    ece = calibration.expected_calibration_error(probability, outcome, bins=2)
    # (1/3 - .2) / 2 + (2.2/3 - 2/3) / 2 = .0667 + .0333 = .1
    np.testing.assert_allclose(ece, 0.1, rtol=1e-14)
    brier = calibration.brier_terms(probability, outcome).mean()
    # (.49 + .01 + .01 + .49 + .04 + .16) / 6 = .2
    np.testing.assert_allclose(brier, 0.2, rtol=1e-14)


def test_bins_do_not_depend_on_the_order_of_equal_predictions():
    rng = np.random.default_rng(0)
    probability = rng.choice([0.2, 0.5, 0.9], 90)
    outcome = (rng.random(90) < 0.5) + 0.0
    rows = calibration.reliability_bins(probability, outcome, bins=10)
    assert [row.low for row in rows] == [row.high for row in rows] == [0.2, 0.5, 0.9]
    order = rng.permutation(90)
    again = calibration.reliability_bins(probability[order], outcome[order], bins=10)
    np.testing.assert_allclose(again, rows, rtol=1e-12)  # sums in another order


def test_a_calibrated_model_has_the_ece_of_chance():
    rng = np.random.default_rng(1)
    probability = rng.random(2000)
    found = [
        calibration.expected_calibration_error(
            probability, rng.random(2000) < probability
        )
        for _ in range(200)
    ]
    mean, high = calibration.ece_of_chance(probability)
    # both are means of 200 errors of deviation 0.2 of the mean: 4 * 0.2 * sqrt(2 / 200)
    np.testing.assert_allclose(mean, np.mean(found), rtol=0.08)
    # 5 % lie above, give or take 4 deviations, of both samples of 200
    assert abs(np.mean(np.array(found) > high) - 0.05) < 4 * np.sqrt(2 * 0.0475 / 200)


def test_nll_is_that_of_the_probabilities_and_finite():
    probability, outcome = np.array([0.1, 0.8]), np.array([0.0, 0.25])
    terms = calibration.nll_terms(special.logit(probability), outcome)
    by_hand = [-np.log(0.9), -0.25 * np.log(0.8) - 0.75 * np.log(0.2)]
    np.testing.assert_allclose(terms, by_hand, rtol=1e-12)  # float64 rounding
    # -log sigmoid(-800) = 800
    np.testing.assert_allclose(calibration.nll_terms([800.0], [0]), [800.0])


def test_the_temperature_of_an_overconfident_model_is_found():
    rng = np.random.default_rng(2)
    truth = rng.normal(0.0, 2.0, 20_000)
    outcome = (rng.random(20_000) < special.expit(truth)) + 0.0
    found = calibration.best_temperature(3.0 * truth, outcome)
    # the scale's Fisher information is sum of p (1-p) truth^2 = 0.4 * 20,000, its
    # deviation 1.1 %; four of them
    np.testing.assert_allclose(found, 3.0, rtol=0.045)
    nll = lambda t: calibration.nll_terms(3.0 * truth / t, outcome).mean()
    assert nll(found) < min(nll(found * 1.01), nll(found / 1.01))


def test_temperatures_without_a_minimum():
    assert calibration.best_temperature([1.0, -2.0], [1, 0]) == 0.0  # separable
    assert calibration.best_temperature([1.0, -2.0], [0, 1]) == math.inf
    assert calibration.best_temperature([0.0, 0.0], [0, 1]) == math.inf
    # any unit: of 1e6 times the logits the temperature is 1e6 times as large
    logit, outcome = np.array([2.0, 1.0, -1.0]), [1, 0, 0]
    small = calibration.best_temperature(logit, outcome)
    large = calibration.best_temperature(1e6 * logit, outcome)
    np.testing.assert_allclose(large, 1e6 * small, rtol=1e-9)  # brentq's tolerance


def test_the_report_covers_the_truth_and_repairs_overconfidence():
    rng = np.random.default_rng(3)
    margin = rng.normal(1.0, 2.0, 1500)
    chosen = rng.random(1500) < special.expit(margin)
    logit, outcome = calibration.fold_pairs(2.0 * np.where(chosen, margin, -margin))
    found = measure_calibration(logit, outcome, units=np.arange(1500) // 3)
    assert found["temperature"].low < 2.0 < found["temperature"].high
    assert found["ece"].low > found["ece_of_chance_95"] > found["ece_of_chance"]
    ece = calibration.expected_calibration_error(special.expit(logit), outcome)
    np.testing.assert_allclose(found["ece"].mean, ece, rtol=1e-12)  # float64 rounding
    assert found["nll_at_temperature"].high < found["nll"].low
    right = np.mean(np.where(chosen, margin, -margin) > 0)
    assert outcome.mean() == right


def test_half_of_the_units_do_not_see_their_own_temperature():
    # two units; the first is well predicted at any sharpness, the second never: each is
    # scored at the other's temperature, flat and sharp
    logit, outcome = np.array([1.0, -1.0, 1.0, -1.0]), np.array([1.0, 0.0, 0.0, 1.0])
    terms = cross_fitted_nll(logit, outcome, np.array([0, 0, 1, 1]), seed=0)
    # at T = 1e3 nll = log(1 + exp(-.001)); at T = 1e-3 the wrong ones cost 1000
    np.testing.assert_allclose(terms[:2], np.log1p(np.exp(-1e-3)), rtol=1e-12)
    np.testing.assert_allclose(terms[2:], 1000.0, rtol=1e-12)


@pytest.mark.parametrize(
    ("probability", "outcome", "message"),
    [
        ([], [], "there are none"),
        ([0.5], [1, 0], r"shapes \(1,\) and \(2,\)"),
        ([1.5], [1], "probability 1.5 is not in"),
        ([math.nan], [1], "probability nan is not in"),
        ([0.5], [2], "outcome 2.0 is not in"),
    ],
)
def test_bad_predictions_are_named(probability, outcome, message):
    with pytest.raises(ValueError, match=message):
        calibration.reliability_bins(probability, outcome)


def test_the_plot_is_drawn(tmp_path):
    rows = calibration.reliability_bins([0.6, 0.9, 0.7], [1, 1, 0], bins=3)
    path = reliability_plot.plot_reliability(tmp_path / "r.png", {"model": rows})
    assert path.stat().st_size > 10_000
