"""Batched logistic regressions against values by hand and scipy's minimizer."""

import numpy as np
import pytest
from scipy import optimize, special
from scipy.sparse import csr_array

from jaxalign.evaluation.win_rates import l1_logistic, logistic


def soft_data(rows=60, seed=0):
    """A design of 3 features and soft labels that no combination separates."""
    rng = np.random.default_rng(seed)
    design = rng.normal(size=(rows, 3))
    noise = rng.normal(size=rows)
    return design, special.expit(design @ [1.0, -0.5, 0.2] + noise), rng


def loss(x, design, labels, weights):
    """The negative log-likelihood, from probabilities rather than softplus."""
    p = special.expit(design @ x)
    return -np.sum(weights * (labels * np.log(p) + (1 - labels) * np.log1p(-p)))


def test_each_weighting_is_fitted_as_by_itself():
    design, labels, rng = soft_data()
    weights = rng.integers(0, 4, (5, len(design))).astype(float)
    penalty = np.diag([0.0, 2.0, 0.5])
    fit = logistic.fit_logistic(csr_array(design), labels, weights, penalty=penalty)
    for x, w in zip(fit.coefficients, weights, strict=True):
        penalized = lambda v, w=w: loss(v, design, labels, w) + v @ penalty @ v / 2
        best = optimize.minimize(penalized, np.zeros(3), method="BFGS").x
        # BFGS stops at gradients of 1e-5, by differences; the curvature is about 10
        np.testing.assert_allclose(x, best, atol=2e-5)
    assert fit.identified.all()


def test_the_curvature_is_that_of_the_loss():
    design, labels, _ = soft_data()
    fit = logistic.fit_logistic(design, labels)
    x, step = fit.coefficients[0], 1e-3
    along = np.array([1.0, 2.0, -1.0])
    values = [
        loss(x + k * step * along, design, labels, np.ones(60)) for k in (-1, 0, 1)
    ]
    second = (values[0] - 2 * values[1] + values[2]) / step**2
    # differences of a loss of ~30 in float64: 30 * 1e-16 * 4 / 1e-6 = 1e-8
    np.testing.assert_allclose(along @ fit.hessian[0] @ along, second, rtol=1e-5)


def test_memory_limits_the_fits_at_a_time_and_no_result(monkeypatch):
    design, labels, rng = soft_data()
    weights = rng.integers(0, 4, (7, len(design))).astype(float)
    together = logistic.fit_logistic(design, labels, weights).coefficients
    monkeypatch.setattr(logistic, "ENTRIES_PER_CHUNK", 120)
    apart = logistic.fit_logistic(design, labels, weights).coefficients
    np.testing.assert_allclose(together, apart, atol=1e-12)  # float64 rounding


def test_separated_labels_have_no_finite_minimum():
    line = np.arange(-3.0, 4.0)[:, None]
    separated = logistic.fit_logistic(line, (line[:, 0] > 0.5) * 1.0)
    assert not separated.identified[0]
    assert np.isfinite(separated.coefficients).all()
    assert logistic.fit_logistic(line, (line[:, 0] > 0.5) * 0.9).identified[0]


@pytest.mark.parametrize(
    "labels, weights, words",
    [
        ([0.0, 1.1], None, "labels of a logistic regression are from 0 to 1"),
        ([0.0, np.nan], None, "labels of a logistic regression are from 0 to 1"),
        ([0.0, 1.0], [[1.0, -1.0]], "weights of a logistic regression are 0 or more"),
        ([0.0], None, "a design of 2 rows has labels of shape"),
    ],
)
def test_bad_arrays_are_refused(labels, weights, words):
    with pytest.raises(ValueError, match=words):
        logistic.fit_logistic(np.ones((2, 1)), np.array(labels), weights)


def test_the_l1_minimum_fulfills_its_conditions():
    """At the minimum, C times the gradient is -sign(x), or within [-1, 1] at 0."""
    design, labels, _ = soft_data()
    strengths = np.array([0.02, 0.1, 1.0, 1e3])
    x = l1_logistic.fit_l1_logistic(design, labels, np.ones((4, 60)), strengths)
    for C, fitted in zip(strengths, x, strict=True):
        gradient = C * design.T @ (special.expit(design @ fitted) - labels)
        zero = fitted == 0
        # the coefficients are good to 1e-9; the curvature is at most 60 C / 4
        tolerance = 1e-8 * max(1.0, 15 * C)
        np.testing.assert_allclose(
            gradient[~zero], -np.sign(fitted[~zero]), atol=tolerance
        )
        assert (np.abs(gradient[zero]) <= 1 + tolerance).all()
    assert (x[0] == 0).any() and (x[3] != 0).all()


def test_the_l1_minimum_of_separated_labels_is_finite():
    line = np.arange(-3.0, 4.0)[:, None]
    labels = (line[:, 0] > 0.5) * 1.0
    x = l1_logistic.fit_l1_logistic(line, labels, np.ones((1, 7)), [1e4])[0, 0]
    # one-dimensional: compare with a search on a grid
    grid = np.linspace(0.5 * x, 1.5 * x, 2001)
    values = grid + 1e4 * np.logaddexp(0, line * grid).sum(axis=0)
    values -= 1e4 * (labels @ line) * grid
    assert abs(grid[np.argmin(values)] - x) <= grid[1] - grid[0]


def test_cross_validation_prefers_no_effect_where_there_is_none():
    rng = np.random.default_rng(0)
    design, unit = rng.normal(size=(200, 2)), np.arange(200)
    coin = (rng.random(200) < 0.5) * 1.0
    assert l1_logistic.select_inverse(design, coin, unit) < 1.0
    clear = special.expit(2 * design[:, 0])
    assert l1_logistic.select_inverse(design, clear, unit) > 1e3
