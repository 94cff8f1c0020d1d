"""Over-optimization: laws that are known are found again, and their peaks."""

import math

import numpy as np
import pytest

from jaxalign.evaluation import over_optimization as laws

FORMS = ("best_of_n", "rl")


def curve(form, a, b, *, noise=0.0, prompts=200, points=8):
    """KL [K] and gains [K P] of a law; a prompt's noise is shared by its points."""
    rng = np.random.default_rng(1)
    kl = np.linspace(0.1, 6.0, points)
    d = np.sqrt(kl)
    second = d**2 if form == "best_of_n" else d * np.log(d)
    mean = a * d - b * second
    shared = rng.normal(size=(1, prompts)) + rng.normal(size=(points, prompts))
    return kl, mean[:, None] + noise * shared


@pytest.mark.parametrize("form", FORMS)
def test_planted_coefficients_are_recovered_exactly_without_noise(form):
    kl, gains = curve(form, 1.4, 0.6)
    fit = laws.fit_law(kl, gains, form, resamples=20)
    np.testing.assert_allclose([fit.a, fit.b], [[1.4] * 3, [0.6] * 3], rtol=1e-9)
    extrapolation = laws.extrapolate(kl, gains, form)
    np.testing.assert_allclose(extrapolation[:2], [1.4, 0.6], rtol=1e-9)
    assert extrapolation.error < 1e-9 and extrapolation.all_error < 1e-9


@pytest.mark.parametrize("form", FORMS)
def test_planted_coefficients_are_within_intervals_that_prompts_narrow(form):
    widths = []
    for prompts in (100, 1600):
        fit = laws.fit_law(*curve(form, 1.4, 0.6, noise=0.5, prompts=prompts), form)
        assert fit.a.low < 1.4 < fit.a.high and fit.b.low < 0.6 < fit.b.high
        widths.append(fit.b.high - fit.b.low)
    # 16 times the prompts: a quarter of the width, give or take the bootstrap's noise
    assert 0.2 < widths[1] / widths[0] < 0.32


def test_the_wrong_form_does_not_fit():
    kl, gains = curve("rl", 1.4, 0.6)
    assert laws.extrapolate(kl, gains, "best_of_n").error > 0.05


def test_points_weigh_by_their_standard_error():
    # three points of d - 0 d^2, the last off by 1 with 1000 times the error (floored at
    # a tenth of the median: the others have the median)
    d, gain = np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 4.0])
    equal = laws.fit_coefficients(d, gain, "best_of_n")
    weighed = laws.fit_coefficients(d, gain, "best_of_n", se=np.array([1, 1, 1e3]))
    np.testing.assert_allclose(weighed, [1.0, 0.0], atol=1e-4)
    assert abs(equal[1]) > 0.05


@pytest.mark.parametrize("form", FORMS)
def test_peaks_are_maxima_of_their_laws(form):
    peak = laws.law_peak(1.5, 1.0, form, longest=3.0)
    d = np.linspace(0.01, 3.0, 29901)  # a step of 1e-4
    gain = laws.law_gain(d, 1.5, 1.0, form)
    np.testing.assert_allclose(peak.d, d[np.argmax(gain)], atol=1e-4)
    np.testing.assert_allclose(peak.gain, gain.max(), atol=1e-7)


def test_peaks_by_hand_and_where_none_is_seen():
    # d = 3 / (2 * 0.5) = 3, gain = 9 / (4 * 0.5) = 4.5; RL: exp(2 / 1 - 1) = e
    assert laws.law_peak(3.0, 0.5, "best_of_n", longest=2.0) == (3.0, 4.5)
    rl = laws.law_peak(2.0, 1.0, "rl", longest=2.0)
    np.testing.assert_allclose(rl, [math.e, math.e])
    for a, b, longest in ((3.0, 0.5, 1.99), (1.0, 0.0, 9.0), (1.0, -0.1, 9.0)):
        assert all(map(math.isnan, laws.law_peak(a, b, "best_of_n", longest=longest)))
    assert math.isnan(laws.law_peak(1e6, 1e-3, "rl", longest=9.0).d)  # no overflow
    assert laws.law_peak(-1.0, 1.0, "best_of_n", longest=1.0) == (0.0, 0.0)


def test_a_curve_that_only_rises_has_no_peak():
    fit = laws.fit_law(*curve("best_of_n", 1.0, -0.1, noise=0.1), "best_of_n")
    assert math.isnan(fit.peak_d.mean) and fit.peaks == 0.0
    fit = laws.fit_law(*curve("best_of_n", 1.4, 0.6, noise=0.1), "best_of_n")
    assert fit.peaks == 1.0 and fit.peak_d.low < 1.4 / 1.2 < fit.peak_d.high


def test_measured_kl_is_resampled_with_its_prompts():
    kl, gains = curve("rl", 1.4, 0.6)
    spread = np.random.default_rng(0).exponential(size=gains.shape)
    spread /= spread.mean(axis=1, keepdims=True)  # the mean KL is as planted
    fit = laws.fit_law(kl[:, None] * spread, gains, "rl")
    np.testing.assert_allclose(fit.a.mean, 1.4, rtol=1e-9)
    assert fit.a.low < 1.39 and fit.a.high > 1.41


def test_rl_leaves_out_points_near_0():
    kl, gains = curve("rl", 1.4, 0.6)
    near = np.full((1, gains.shape[1]), 50.0)
    fit = laws.fit_law(
        np.append(0.08, kl), np.concatenate([near, gains]), "rl", resamples=9
    )
    np.testing.assert_allclose(fit.a.mean, 1.4, rtol=1e-9)  # sqrt(0.08) < 0.3


def test_degenerate_curves_are_refused():
    two = np.array([1.0, 1.0])
    with pytest.raises(ValueError, match="two distances above 0"):
        laws.fit_coefficients(two, two, "best_of_n")
    with pytest.raises(ValueError, match="two distances above 0"):
        laws.fit_law(np.array([0.0, 1.0]), np.ones((2, 3)), "best_of_n")
    with pytest.raises(ValueError, match="not finite"):
        laws.fit_coefficients(np.array([1.0, 2.0]), np.array([1.0, np.nan]), "rl")
    with pytest.raises(ValueError, match="at least 0, not -1"):
        laws.fit_coefficients(np.array([-1.0, 2.0]), two, "rl")
    with pytest.raises(ValueError, match="three points, not 2"):
        laws.extrapolate(np.array([1.0, 2.0]), np.ones((2, 3)), "rl")


def test_one_prompt_has_no_interval():
    kl, gains = curve("best_of_n", 1.4, 0.6, prompts=1)
    fit = laws.fit_law(kl, gains, "best_of_n")
    np.testing.assert_allclose(fit.a, [1.4, np.nan, np.nan])
