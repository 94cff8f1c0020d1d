"""Scores of f-divergences: f' of f, limits, numbers; and DPO with them."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxalign.losses import divergence
from jaxalign.losses.preference import dpo
from tests.losses.cases_preference import CHOSEN, FOUR, REJECTED

ONE = np.ones(1, np.float32)
H = np.array([-3.0, -0.5, 0.0, 0.7, 4.0])

# each score with its f
SCORES = {
    "reverse": (divergence.reverse_kl_score, lambda u: u * jnp.log(u) - u + 1),
    "forward": (divergence.forward_kl_score, lambda u: -jnp.log(u) + u - 1),
    "js": (
        divergence.jensen_shannon_score,
        lambda u: u * jnp.log(u) - (1 + u) * jnp.log((1 + u) / 2),
    ),
    "half": (divergence.alpha_score(0.5), lambda u: (u**0.5 - 0.5 * u - 0.5) / -0.25),
    "two": (divergence.alpha_score(2.0), lambda u: (u**2 - 2 * u + 1) / 2),
}


class TestScores:
    @pytest.mark.parametrize("name", SCORES)
    def test_is_the_derivative_of_its_f(self, name):
        score, f = SCORES[name]
        with jax.enable_x64(True):
            expected = jax.vmap(jax.grad(f))(jnp.exp(jnp.asarray(H)))
            actual = score(jnp.asarray(H))
        # float64 on both sides; the atol is for the 0 at h = 0
        np.testing.assert_allclose(actual, expected, rtol=1e-11, atol=1e-12)

    @pytest.mark.parametrize("name", SCORES)
    def test_rises_from_0_with_slope_1_at_the_reference(self, name):
        # f'(1) = 0, and f''(1) = 1, except of Jensen-Shannon, 1 - 1/2
        score, _ = SCORES[name]
        actual, gradient = jax.value_and_grad(lambda h: score(h))(jnp.float32(0.0))
        assert actual == 0 and gradient == (0.5 if name == "js" else 1.0)

    def test_by_hand(self):
        # u = 4: log 4; 1 - 1/4; log(8 / 5); (1/2 - 1) / (-1/2) = 1; 4 - 1
        h = np.log(4 * ONE)
        expected = [np.log(4.0), 0.75, np.log(1.6), 1.0, 3.0]
        actual = [score(h)[0] for score, _ in SCORES.values()]
        np.testing.assert_allclose(actual, expected, rtol=1e-6)


class TestAlpha:
    def test_ends_are_the_two_kls(self):
        h = H.astype(np.float32)
        chex.assert_trees_all_close(divergence.alpha_score(1.0)(h), jnp.asarray(h))
        forward = divergence.forward_kl_score(h)
        chex.assert_trees_all_close(divergence.alpha_score(0.0)(h), forward, rtol=1e-6)

    def test_is_continuous_at_1(self):
        # (exp(x h) - 1) / x = h + x h^2 / 2 + ...: at x = 1e-5 off by 8e-5 for h = 4
        h = H.astype(np.float32)
        for a in (1 - 1e-5, 1 - 1e-7, 1 + 1e-7, 1 + 1e-5):
            np.testing.assert_allclose(divergence.alpha_score(a)(h), h, atol=1e-4)

    def test_a_may_be_traced(self):
        values = jnp.array([0.0, 0.5, 1.0, 2.0])
        actual = jax.vmap(lambda a: divergence.alpha_score(a)(CHOSEN))(values)
        each = jnp.stack(
            [divergence.alpha_score(a)(CHOSEN) for a in (0.0, 0.5, 1.0, 2.0)]
        )
        chex.assert_trees_all_close(actual, each, rtol=1e-6)

    @pytest.mark.parametrize("a", [-1.0, 0.0, 0.999, 1.0, 1.001, 3.0])
    @pytest.mark.parametrize("size", [-1e4, 1e4])
    def test_extremes_are_finite(self, a, size):
        score = lambda h: divergence.alpha_score(a)(h).sum()
        actual = jax.value_and_grad(score)(np.full(2, size, np.float32))
        chex.assert_tree_all_finite(actual)

    def test_the_clamp(self):
        # (a - 1) * h = 30 counts as 20, of gradient 0; a = 2
        score = lambda h: divergence.alpha_score(2.0)(h)
        actual, gradient = jax.value_and_grad(score)(jnp.float32(30.0))
        np.testing.assert_allclose(actual, np.expm1(20.0), rtol=1e-6)
        assert gradient == 0


class TestFDpo:
    def test_with_reverse_kl_is_dpo(self):
        # h_c - h_r in both: the same operations
        loss = divergence.f_dpo(*FOUR, beta=0.3, score=divergence.reverse_kl_score)
        chex.assert_trees_all_close(loss, dpo(*FOUR, beta=0.3), rtol=1e-7)

    def test_by_hand(self):
        # u of chosen 4, of rejected 1/2, forward: (1 - 1/4) - (1 - 2) = 1.75; beta 2
        log = lambda u: np.log(u * ONE)
        arrays = (log(0.4), log(0.05), log(0.1), log(0.1))
        loss = divergence.f_dpo(*arrays, beta=2.0, score=divergence.forward_kl_score)
        np.testing.assert_allclose(loss, [np.log1p(np.exp(-3.5))], rtol=1e-5)

    @pytest.mark.parametrize("name", SCORES)
    def test_a_constant_of_the_score_cancels(self, name):
        score, _ = SCORES[name]
        loss = divergence.f_dpo(*FOUR, beta=0.3, score=score)
        moved = divergence.f_dpo(*FOUR, beta=0.3, score=lambda h: score(h) + 1.0)
        chex.assert_trees_all_close(loss, moved, rtol=1e-5)

    @pytest.mark.parametrize("name", SCORES)
    def test_at_the_reference(self, name):
        # log 2; the gradient is dpo's, -beta / 2, times f''(1)
        score, _ = SCORES[name]
        loss = lambda c: divergence.f_dpo(
            c, REJECTED, CHOSEN, REJECTED, beta=0.3, score=score
        )
        np.testing.assert_allclose(loss(CHOSEN), np.full(6, np.log(2.0)), rtol=1e-6)
        gradient = jax.grad(lambda c: loss(c).sum())(CHOSEN)
        expected = -0.15 * (0.5 if name == "js" else 1.0)
        np.testing.assert_allclose(gradient, np.full(6, expected), rtol=1e-6)
