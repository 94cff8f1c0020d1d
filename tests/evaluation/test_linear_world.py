"""The linear world: exact accuracy, what is seen, and fits against closed forms."""

import jax.numpy as jnp
import numpy as np

from jaxalign import losses
from jaxalign.evaluation import linear_world, pair_choice


def test_accuracy_is_how_often_pairs_are_ordered_alike():
    rng = np.random.default_rng(0)
    truth, model = rng.normal(size=(2, 5))
    x = rng.normal(size=(20000, 5))
    agree = np.mean(np.sign(x @ truth) == np.sign(x @ model))
    # of 20000 pairs: standard error below 0.0036
    assert abs(linear_world.accuracy(model, truth) - agree) < 0.012


def test_what_is_seen_is_bradley_terry():
    rng = np.random.default_rng(0)
    seen = linear_world.look(rng, np.broadcast_to([1.0, 0.0], (20000, 2)))
    won = np.mean(seen[:, 0] > seen[:, 1])
    assert abs(won - 1 / (1 + np.exp(-1.0))) < 0.012
    assert abs(seen[:, 1].mean()) < 0.03  # standard error 1.28 / sqrt(20000)


def test_raters_have_their_scales():
    rng = np.random.default_rng(0)
    raters = linear_world.make_raters(rng, 4000, offset_sd=0.5, gain_sd=0.3)
    # of 4000: standard errors of 0.008, 0.006 and 0.003
    assert (
        abs(raters.offset.mean() - 4) < 0.03 and abs(raters.offset.std() - 0.5) < 0.03
    )
    assert abs(np.log(raters.gain).std() - 0.3) < 0.02
    scores = linear_world.give_scores(raters, np.arange(4000), np.full(4000, 99.0))
    assert set(scores) == {7.0}


def test_a_drift_moves_the_score():
    raters = linear_world.Raters(np.array([4.0]), np.array([1.0]))
    scores = linear_world.give_scores(
        raters, np.zeros(2, int), np.zeros(2), np.array([1.0, -2.0])
    )
    assert scores.tolist() == [5.0, 2.0]


def squares(weights, x, y):
    return losses.reward_regression(x @ weights, y)


def pairs(weights, x):
    return losses.bradley_terry(x @ weights, jnp.zeros(len(x)))


def test_the_fit_is_ridge_regression():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 3)), rng.normal(size=40)
    weights = linear_world.fit_weights(squares, x, y, size=3, prior_sd=0.5)
    expected = np.linalg.solve(x.T @ x + 4 * np.eye(3), x.T @ y)
    # a quadratic: one Newton step in float64 is exact but for rounding
    np.testing.assert_allclose(weights, expected, rtol=1e-9)


def test_the_fit_is_the_posteriors_maximum():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 3))
    weights = linear_world.fit_weights(pairs, x, size=3, prior_sd=1.0)
    mean, _ = pair_choice.score_posterior(x, np.ones(40), prior_sd=1.0)
    # two Newton searches in float64, each ended by its own rule
    np.testing.assert_allclose(weights, mean, rtol=1e-6)


def test_weights_have_the_spread():
    weights = linear_world.make_weights(np.random.default_rng(0), 7, 1.5)
    np.testing.assert_allclose(np.linalg.norm(weights), 1.5)
