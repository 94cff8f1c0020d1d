"""The core losses: by hand, identities, limits, stop-gradients."""

import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxalign import losses
from tests.losses.cases_core import (
    CASES,
    CHOSEN,
    FOUR,
    REF_CHOSEN,
    REF_REJECTED,
    REJECTED,
    UP,
)

ONES = np.ones(6, np.float32)


def test_nll_by_hand():
    # a token of probability 1/4 costs log 4, a certain one nothing
    loss = losses.nll(np.log(np.array([[0.25, 1.0]], np.float32)))
    np.testing.assert_allclose(loss, [[np.log(4.0), 0.0]], rtol=1e-6)


class TestDpo:
    def test_by_hand(self):
        # margin = (-1 - -2) - (-3 - -2) = 2; beta * margin = 1; -log s(1) = 0.31326
        one = np.ones(1, np.float32)
        loss = losses.dpo(-one, -3 * one, -2 * one, -2 * one, beta=0.5)
        np.testing.assert_allclose(loss, [np.log1p(np.exp(-1.0))], rtol=1e-6)

    def test_label_smoothing_by_hand(self):
        # 0.9 * 0.31326 + 0.1 * 1.31326, since -log s(-1) = 1 + 0.31326
        one = np.ones(1, np.float32)
        loss = losses.dpo(
            -one, -3 * one, -2 * one, -2 * one, beta=0.5, label_smoothing=0.1
        )
        np.testing.assert_allclose(loss, [np.log1p(np.exp(-1.0)) + 0.1], rtol=1e-6)

    @pytest.mark.parametrize("e", [0.0, 0.1])
    def test_at_the_reference(self, e):
        # log 2, whatever e; the gradient in the margin is -beta (1 - 2 e) / 2
        loss = lambda c: losses.dpo(
            c, REJECTED, CHOSEN, REJECTED, beta=0.3, label_smoothing=e
        )
        np.testing.assert_allclose(loss(CHOSEN), np.full(6, np.log(2.0)), rtol=1e-6)
        gradient = jax.grad(lambda c: loss(c).sum())(CHOSEN)
        np.testing.assert_allclose(gradient, -0.3 * (1 - 2 * e) / 2 * ONES, rtol=1e-6)

    def test_gradient_is_the_papers(self):
        # -beta * s(-beta h) * (d lp_w - d lp_l), eq. 8 of the paper
        h = (CHOSEN - REF_CHOSEN) - (REJECTED - REF_REJECTED)
        weight = 0.3 / (1.0 + np.exp(0.3 * h))
        loss, arrays = CASES["dpo"]
        up, down = jax.grad(lambda *x: loss(*x).sum(), (0, 1))(*arrays)
        np.testing.assert_allclose(up, -weight, rtol=1e-5)
        np.testing.assert_allclose(down, weight, rtol=1e-5)

    def test_composes(self):
        # gradients add: that of -0.2 * chosen is -0.2
        both = lambda c: losses.dpo(c, *FOUR[1:], beta=0.3) + 0.2 * losses.nll(c)
        single = lambda c: losses.dpo(c, *FOUR[1:], beta=0.3)
        gradient = lambda loss: jax.grad(lambda c: loss(c).sum())(CHOSEN)
        np.testing.assert_allclose(gradient(both), gradient(single) - 0.2, rtol=1e-6)

    def test_broadcasting_is_an_error(self):
        with pytest.raises(
            TypeError, match=r"chosen \[6\] and rejected \[6 1\] differ"
        ):
            losses.dpo(CHOSEN, REJECTED[:, None], REF_CHOSEN, REF_REJECTED, beta=0.1)


@pytest.mark.parametrize("loss", [losses.dpo, losses.ipo])
def test_the_reference_gets_no_gradient(loss):
    knob = {"beta": 0.3} if loss is losses.dpo else {"tau": 0.3}
    total = lambda a, b: loss(CHOSEN, REJECTED, a, b, **knob).sum()
    gradients = jax.grad(total, (0, 1))(REF_CHOSEN, REF_REJECTED)
    chex.assert_trees_all_equal(gradients, (0 * ONES, 0 * ONES))


class TestIpo:
    def test_by_hand(self):
        # margin 2, 1 / (2 tau) = 1: (2 - 1)^2
        one = np.ones(1, np.float32)
        loss = losses.ipo(-one, -3 * one, -2 * one, -2 * one, tau=0.5)
        np.testing.assert_allclose(loss, [1.0], rtol=1e-6)

    def test_at_the_reference(self):
        # 1 / (4 tau^2)
        loss = losses.ipo(CHOSEN, REJECTED, CHOSEN, REJECTED, tau=0.1)
        np.testing.assert_allclose(loss, 25.0 * ONES, rtol=1e-5)


class TestSimpo:
    def test_by_hand(self):
        # 2 * (-1 + 2) - 1 = 1
        one = np.ones(1, np.float32)
        loss = losses.simpo(-one, -2 * one, beta=2.0, gamma=1.0)
        np.testing.assert_allclose(loss, [np.log1p(np.exp(-1.0))], rtol=1e-6)

    def test_is_dpo_without_reference_at_margin_0(self):
        loss = losses.simpo(CHOSEN, REJECTED, beta=0.3, gamma=0.0)
        dpo = losses.dpo(CHOSEN, REJECTED, 0 * ONES, 0 * ONES, beta=0.3)
        chex.assert_trees_all_close(loss, dpo, rtol=1e-6)


class TestKto:
    def test_by_hand(self):
        # ratio 2, kl 1, beta 1: up 1 - s(1); down, weighed 2: 2 * (1 - s(-1))
        logp, ref = np.array([[-1.0, -1.0], [-3.0, -3.0]], np.float32)
        up = np.array([True, False])
        loss = losses.kto(logp, ref, up, 1.0, beta=1.0, undesirable_weight=2.0)
        s = 1 / (1 + np.exp(-1.0))
        np.testing.assert_allclose(loss, [1 - s, 2 * s], rtol=1e-6)

    def test_at_the_reference(self):
        loss = losses.kto(CHOSEN, CHOSEN, UP, 0.0, beta=0.1)
        np.testing.assert_allclose(loss, 0.5 * ONES, rtol=1e-6)

    def test_no_gradient_to_kl_or_reference(self):
        total = lambda ref, kl: losses.kto(CHOSEN, ref, UP, kl, beta=0.1).sum()
        gradients = jax.grad(total, (0, 1))(REF_CHOSEN, jnp.float32(0.3))
        chex.assert_trees_all_equal(gradients, (0 * ONES, jnp.float32(0.0)))


class TestOrpo:
    def test_by_hand(self):
        # odds of 1/2 are 1, of 1/4 are 1/3: -lam * log s(log 3) = lam * log(4/3)
        logs = np.log(np.array([[0.5], [0.25]], np.float32))
        loss = losses.orpo(logs[0], logs[1], lam=2.0)
        np.testing.assert_allclose(loss, [2 * np.log(4 / 3)], rtol=1e-5)

    def test_log_odds_near_0_and_far_from_it(self):
        # against float64; expm1 keeps the digits that 1 - exp(x) would lose
        x = np.array([-1e-4, -0.5, -1.0, -30.0])
        exact = x - np.log(-np.expm1(x))
        actual = losses.log_odds(x.astype(np.float32))
        np.testing.assert_allclose(actual, exact, rtol=1e-5)

    @pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
    def test_a_certain_answer_is_finite(self, dtype):
        # odds are clamped at p = exp(-1e-6): log(1e6) up to rounding, bfloat16's 2^-8
        total = lambda x: losses.log_odds(x).sum()
        actual, gradient = jax.value_and_grad(total)(jnp.zeros(1, dtype))
        np.testing.assert_allclose(actual, np.log(1e6), rtol=4e-3)
        assert (gradient == 0).all()


class TestBradleyTerry:
    def test_margin_by_hand(self):
        # 3 - 1 - 1 = 1
        one = np.ones(1, np.float32)
        loss = losses.bradley_terry(3 * one, one, margin=one)
        np.testing.assert_allclose(loss, [np.log1p(np.exp(-1.0))], rtol=1e-6)

    def test_gradient_is_the_papers(self):
        # d loss / d chosen = -s(-(chosen - rejected - margin))
        loss = lambda c: losses.bradley_terry(c, REJECTED, margin=0.5).sum()
        expected = -1 / (1 + np.exp(CHOSEN - REJECTED - 0.5))
        np.testing.assert_allclose(jax.grad(loss)(CHOSEN), expected, rtol=1e-5)


class TestPlackettLuce:
    def test_of_two_is_bradley_terry(self):
        scores = np.stack([CHOSEN, REJECTED], axis=1)
        loss = losses.plackett_luce(scores, np.ones((6, 2), bool))
        expected = losses.bradley_terry(CHOSEN, REJECTED)
        chex.assert_trees_all_close(loss, expected, rtol=1e-5)

    def test_probabilities_of_all_orders_sum_to_1(self):
        scores = np.array([0.3, -1.0, 2.0], np.float32)
        orders = np.array(list(itertools.permutations(scores)))
        loss = losses.plackett_luce(orders, np.ones((6, 3), bool))
        np.testing.assert_allclose(np.exp(-loss).sum(), 1.0, rtol=1e-6)

    def test_masked_is_removed(self):
        # 1 before 0, wherever the rest is, and rows of one answer and of none
        scores = [[1, 99, 0], [np.nan, 1, 0], [1, 0, 99], [5, 9, 9], [np.nan, 9, 9]]
        mask = [[1, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0], [0, 0, 0]]
        scores, mask = np.array(scores, np.float32), np.array(mask, bool)
        loss, back = jax.vjp(lambda s: losses.plackett_luce(s, mask), scores)
        two = np.log1p(np.exp(-1.0))
        np.testing.assert_allclose(loss, [two, two, two, 0, 0], rtol=1e-5)
        (gradient,) = back(np.ones(5, np.float32))
        # of two: -s(-1) for the better, s(-1) for the worse
        s = 1 / (1 + np.e)
        expected = np.zeros((5, 3))
        expected[[0, 1, 2], [0, 1, 0]], expected[[0, 1, 2], [2, 2, 1]] = -s, s
        np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-7)


class TestClippedSurrogate:
    def test_by_hand(self):
        # ratios 1.5, 0.5, 1.5, 0.5 and advantages 1, 1, -1, -1, clipped to [0.8, 1.3]:
        # -min(1.5, 1.3), -min(0.5, 0.8), -min(-1.5, -1.3), -min(-0.5, -0.8)
        logp = np.log(np.array([1.5, 0.5, 1.5, 0.5], np.float32))
        advantage = np.array([1, 1, -1, -1], np.float32)
        loss = losses.clipped_surrogate(
            logp, 0 * logp, advantage, clip_low=0.2, clip_high=0.3
        )
        np.testing.assert_allclose(loss, [-1.3, -0.5, 1.5, 0.8], rtol=1e-6)

    def test_gradient_at_ratio_1_is_reinforce(self):
        loss = lambda x: losses.clipped_surrogate(
            x, CHOSEN, REJECTED, clip_low=0.2, clip_high=0.2
        ).sum()
        np.testing.assert_allclose(jax.grad(loss)(CHOSEN), -REJECTED, rtol=1e-6)

    def test_no_gradient_beyond_the_clip(self):
        loss = lambda x: losses.clipped_surrogate(
            x, CHOSEN - 0.5, ONES, clip_low=0.2, clip_high=0.2
        ).sum()
        assert (jax.grad(loss)(CHOSEN) == 0).all()

    def test_no_gradient_to_what_is_fixed(self):
        total = lambda old, a: losses.clipped_surrogate(
            CHOSEN, old, a, clip_low=0.2, clip_high=0.2
        ).sum()
        gradients = jax.grad(total, (0, 1))(CHOSEN, REJECTED)
        chex.assert_trees_all_equal(gradients, (0 * ONES, 0 * ONES))


class TestClippedValue:
    def test_by_hand(self):
        # value 2, old 0 clipped to 0.5, returns 1: max(1, 0.25) / 2; value 0.2, not
        # clipped: 0.64 / 2
        value = np.array([2.0, 0.2], np.float32)
        ones = np.ones(2, np.float32)
        loss = losses.clipped_value(value, 0 * ones, ones, clip=0.5)
        np.testing.assert_allclose(loss, [0.5, 0.32], rtol=1e-6)

    def test_unclipped_is_half_the_squared_error(self):
        loss = losses.clipped_value(CHOSEN, REJECTED, REF_CHOSEN, clip=1e9)
        np.testing.assert_allclose(loss, (CHOSEN - REF_CHOSEN) ** 2 / 2, rtol=1e-6)

    def test_no_gradient_to_what_is_fixed(self):
        total = lambda old, r: losses.clipped_value(CHOSEN, old, r, clip=0.2).sum()
        gradients = jax.grad(total, (0, 1))(CHOSEN, REJECTED)
        chex.assert_trees_all_equal(gradients, (0 * ONES, 0 * ONES))
