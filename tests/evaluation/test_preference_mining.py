"""Mining preferences: the MAP against conditions of optimality, and planted weights."""

import numpy as np
import pytest

from jaxalign.evaluation.sycophancy import feature_differences, mine_preferences

NAMES = ("agrees", "true", "polite", "long", "noise")
PLANTED = np.array([1.2, 0.7, 0.3, -0.4, 0.0])


def planted_pairs(n=3000, weights=PLANTED, seed=0):
    rng = np.random.default_rng(seed)
    phi = rng.integers(-1, 2, (n, len(weights))).astype(float)
    p = 1 / (1 + np.exp(-phi @ weights))
    return phi, (rng.random(n) < p).astype(float)


@pytest.mark.parametrize("scale", [0.01, 0.3])
def test_the_map_satisfies_the_subgradient_conditions(scale):
    # at the minimum of sum NLL + |a|/b: gradient = -sign(a)/b, or within 1/b at 0
    phi, y = planted_pairs(2000)
    a = mine_preferences(NAMES, phi, y, prior_scale=scale, resamples=2).coefficients
    gradient = phi.T @ (1 / (1 + np.exp(-phi @ a)) - y)
    moving = a != 0
    # the solver stops at a gradient of some 1e-4 of the penalty's 1/b
    np.testing.assert_allclose(
        gradient[moving], -np.sign(a[moving]) / scale, atol=1e-4 / scale
    )
    assert (np.abs(gradient[~moving]) <= 1 / scale + 1e-6).all()
    assert moving.any()


def test_one_feature_by_hand():
    # 80 of 100: NLL' = 100 (s(a) - .8) = -1/b with b = .1: s(a) = .7, a = log(7/3)
    y = np.r_[np.ones(80), np.zeros(20)]
    found = mine_preferences("a", np.ones((100, 1)), y, prior_scale=0.1)
    # the solver's stopping rule
    np.testing.assert_allclose(found.coefficients, np.log(7 / 3), rtol=1e-6)
    effect = found.effect("a")
    assert effect.mean == pytest.approx(0.2)
    assert effect.low < 0.2 < effect.high


def test_the_likelihood_is_a_sum():
    # with a mean, b = .01 would put every coefficient at 0
    phi, y = planted_pairs()
    assert np.abs(mine_preferences(NAMES, phi, y, resamples=2).coefficients).max() > 0.5


def test_scikit_learn_agrees():
    linear_model = pytest.importorskip("sklearn.linear_model")
    phi, y = planted_pairs(500)
    theirs = linear_model.LogisticRegression(
        C=0.05, solver="liblinear", l1_ratio=1.0, fit_intercept=False, tol=1e-8
    )
    try:
        theirs.fit(phi, y)
    except (TypeError, ValueError):  # before 1.8 the penalty has a name
        theirs.set_params(penalty="l1", l1_ratio=None).fit(phi, y)
    ours = mine_preferences(NAMES, phi, y, prior_scale=0.05, resamples=2).coefficients
    np.testing.assert_allclose(ours, theirs.coef_[0], atol=2e-4)  # their tolerance


def test_planted_weights_come_back_in_order():
    phi, y = planted_pairs()
    found = mine_preferences(NAMES, phi, y, prior_scale=0.1, resamples=50)
    assert found.ranking() == ["agrees", "true", "polite", "noise", "long"]
    assert found.effect("agrees").low > 0 > found.effect("long").high
    noise = found.effect("noise")
    assert noise.low < 0 < noise.high or noise.mean == 0
    held_out, labels = planted_pairs(4000, seed=1)
    truth = (1 / (1 + np.exp(-held_out @ PLANTED)) > 0.5) == labels
    # the fitted weights predict nearly as well as the planted ones
    assert found.accuracy(held_out, labels) > truth.mean() - 0.02


def test_of_copies_only_the_sum_is_known():
    phi, y = planted_pairs(2000, PLANTED[:1])
    twice = np.hstack([phi, phi])
    one = mine_preferences("a", phi, y, resamples=20)
    two = mine_preferences("ab", twice, y, resamples=20)
    # the penalty of a sum of equal signs is that of the sum
    assert two.effect("a", "b").mean == pytest.approx(one.effect("a").mean, abs=1e-4)


def test_units_are_resampled_whole():
    phi, y = planted_pairs(300)
    single = mine_preferences(NAMES, phi, y, prior_scale=0.3)
    copies = mine_preferences(
        NAMES,
        np.repeat(phi, 4, axis=0),
        np.repeat(y, 4),
        prior_scale=0.3 / 4,  # the same minimum
        units=np.repeat(np.arange(300), 4),
    )
    width = lambda found: np.ptp(found.effect("agrees")[1:])
    assert width(copies) == pytest.approx(width(single), rel=1e-3)


def test_bad_input_is_refused():
    phi, y = planted_pairs(10)
    with pytest.raises(ValueError, match="shape"):
        mine_preferences(NAMES[:2], phi, y)
    with pytest.raises(ValueError, match="prior_scale"):
        mine_preferences(NAMES, phi, y, prior_scale=0.0)
    with pytest.raises(ValueError, match="no feature"):
        mine_preferences(NAMES, phi, y, resamples=2).effect("truth")


def test_differences_have_three_values():
    got = feature_differences(np.array([[3, 0, 1]]), np.array([[1, 2, 1]]))
    assert got.tolist() == [[1.0, -1.0, 0.0]]
