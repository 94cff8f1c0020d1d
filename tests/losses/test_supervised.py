"""Supervised losses: by hand, and what the gradient does to logits."""

import jax
import numpy as np

from jaxalign.losses import supervised


class TestZLoss:
    def test_by_hand(self):
        # 0.5 * 3^2 and 0.5 * (-1)^2, with gradients 2 * 0.5 * log Z
        normaliser = np.array([3.0, -1.0], np.float32)
        loss, back = jax.vjp(
            lambda z: supervised.z_loss(z, coefficient=0.5), normaliser
        )
        np.testing.assert_allclose(loss, [4.5, 0.5], rtol=1e-6)
        np.testing.assert_allclose(back(np.ones(2, np.float32))[0], [3.0, -1.0])

    def test_normalised_logits_cost_nothing(self):
        # log-probs have a normaliser of 1, whose log is 0
        logp = np.log(np.array([0.2, 0.3, 0.5], np.float32))
        total = lambda x: supervised.z_loss(jax.nn.logsumexp(x), coefficient=1.0)
        found, gradient = jax.value_and_grad(total)(logp)
        np.testing.assert_allclose([found, *gradient], np.zeros(4), atol=1e-6)

    def test_pulls_all_logits_down_as_their_probabilities(self):
        # logits higher by 2: d (log Z)^2 = 2 * log Z * p = 4 p
        p = np.array([0.2, 0.3, 0.5], np.float32)
        total = lambda x: supervised.z_loss(jax.nn.logsumexp(x), coefficient=1.0)
        np.testing.assert_allclose(jax.grad(total)(np.log(p) + 2), 4 * p, rtol=1e-5)
