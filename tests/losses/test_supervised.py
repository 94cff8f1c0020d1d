"""Supervised losses: by hand, and what the gradient does to logits."""

import jax
import numpy as np

from jaxalign import losses


class TestUnlikelihood:
    def test_by_hand(self):
        # -log(1 - p): of 1/2 log 2, of 3/4 log 4; gradient p / (1 - p): 1 and 3
        logp = np.log(np.array([0.5, 0.75], np.float32))
        loss, back = jax.vjp(losses.unlikelihood, logp)
        np.testing.assert_allclose(loss, np.log([2.0, 4.0]), rtol=1e-6)
        np.testing.assert_allclose(back(np.ones(2, np.float32))[0], [1, 3], rtol=1e-6)

    def test_a_rare_token_costs_its_probability(self):
        # -log(1 - p) = p + p^2 / 2 + ...: 1 - exp(-30) is 1 in float32
        logp = np.array([-30.0, -80.0], np.float32)
        actual = losses.unlikelihood(logp)
        np.testing.assert_allclose(actual, np.exp(logp.astype(float)), rtol=1e-5)

    def test_near_certainty_keeps_its_digits(self):
        # p = exp(-1e-4): 1 - p = 1e-4 - 5e-9 + ...
        actual = losses.unlikelihood(np.array([-1e-4], np.float32))
        np.testing.assert_allclose(actual, -np.log(-np.expm1(-1e-4)), rtol=1e-6)

    def test_extremes_are_finite(self):
        logp = np.array([0.0, -1e-30, -1e30, -np.inf], np.float32)
        loss, back = jax.vjp(losses.unlikelihood, logp)
        np.testing.assert_allclose(loss, [*[np.log(1e6)] * 2, 0, 0], rtol=1e-6)
        assert np.isfinite(back(np.ones(4, np.float32))[0]).all()

    def test_moves_logits_by_the_probability(self):
        # d/dz_k of -log(1 - p_k) is p_k: bounded, though d/d logp is p / (1 - p)
        logits = np.array([0.2, 1.0, -0.5])
        total = lambda z: losses.unlikelihood(jax.nn.log_softmax(z))[1]
        p = np.exp(logits) / np.exp(logits).sum()
        np.testing.assert_allclose(jax.grad(total)(logits)[1], p[1], rtol=1e-5)


class TestZLoss:
    def test_by_hand(self):
        # 0.5 * 3^2 and 0.5 * (-1)^2, with gradients 2 * 0.5 * log Z
        normaliser = np.array([3.0, -1.0], np.float32)
        loss, back = jax.vjp(lambda z: losses.z_loss(z, coefficient=0.5), normaliser)
        np.testing.assert_allclose(loss, [4.5, 0.5], rtol=1e-6)
        np.testing.assert_allclose(back(np.ones(2, np.float32))[0], [3.0, -1.0])

    def test_normalised_logits_cost_nothing(self):
        # log-probs have a normaliser of 1, whose log is 0
        logp = np.log(np.array([0.2, 0.3, 0.5], np.float32))
        total = lambda x: losses.z_loss(jax.nn.logsumexp(x), coefficient=1.0)
        actual, gradient = jax.value_and_grad(total)(logp)
        np.testing.assert_allclose([actual, *gradient], np.zeros(4), atol=1e-6)

    def test_pulls_all_logits_down_as_their_probabilities(self):
        # logits higher by 2: d (log Z)^2 = 2 * log Z * p = 4 p
        p = np.array([0.2, 0.3, 0.5], np.float32)
        total = lambda x: losses.z_loss(jax.nn.logsumexp(x), coefficient=1.0)
        np.testing.assert_allclose(jax.grad(total)(np.log(p) + 2), 4 * p, rtol=1e-5)
