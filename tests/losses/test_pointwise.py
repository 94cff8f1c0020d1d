"""Losses that push each answer by itself: by hand, limits, pairs and singles."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxalign import losses
from jaxalign.losses.unpaired import kto
from tests.losses.cases_preference import (
    CHOSEN,
    FOUR,
    REF_CHOSEN,
    REF_REJECTED,
    REJECTED,
    UP,
)

ONE = np.ones(1, np.float32)
ONES = np.ones(6, np.float32)
# the chosen answer's log-ratio is 2, the rejected one's -4; times beta 0.5: 1 and -2
HAND = (-ONE, -7 * ONE, -3 * ONE, -3 * ONE)


def s(x):
    return 1 / (1 + np.exp(-x))


def gradients(loss, arrays):
    return jax.grad(lambda c, r: loss(c, r, *arrays[2:]).sum(), (0, 1))(*arrays[:2])


class TestBco:
    def test_by_hand(self):
        # -log s(1) - log s(2); with delta 0.5, -log s(0.5) - log s(2.5)
        loss = losses.bco(*HAND, beta=0.5)
        np.testing.assert_allclose(loss, [-np.log(s(1) * s(2))], rtol=1e-6)
        loss = losses.bco(*HAND, beta=0.5, delta=0.5)
        np.testing.assert_allclose(loss, [-np.log(s(0.5) * s(2.5))], rtol=1e-6)

    def test_is_the_sum_of_two_singles(self):
        hyperparameters = {"beta": 0.3, "delta": 0.2}
        up = losses.bco_unpaired(CHOSEN, REF_CHOSEN, ONES > 0, **hyperparameters)
        down = losses.bco_unpaired(REJECTED, REF_REJECTED, ONES < 0, **hyperparameters)
        loss = losses.bco(*FOUR, **hyperparameters)
        chex.assert_trees_all_close(loss, up + down, rtol=1e-6)

    def test_single_by_hand(self):
        # rewards 1 and -2, delta 0.5
        logp, ref = np.array([[-1.0, -7.0], [-3.0, -3.0]], np.float32)
        up = np.array([True, False])
        loss = losses.bco_unpaired(logp, ref, up, beta=0.5, delta=0.5)
        np.testing.assert_allclose(loss, -np.log([s(0.5), s(2.5)]), rtol=1e-6)

    def test_no_gradient_to_delta(self):
        pair = lambda d: losses.bco(*FOUR, beta=0.3, delta=d).sum()
        single = lambda d: losses.bco_unpaired(
            CHOSEN, REF_CHOSEN, UP, beta=0.3, delta=d
        ).sum()
        for loss in (pair, single):
            assert jax.grad(loss)(jnp.float32(0.2)) == 0


class TestApoZero:
    def test_by_hand(self):
        # 1 - s(1) + s(-2)
        loss = losses.apo_zero(*HAND, beta=0.5)
        np.testing.assert_allclose(loss, [1 - s(1) + s(-2)], rtol=1e-6)

    def test_at_the_reference(self):
        # 1; chosen up and rejected down, each by beta / 4
        at = (CHOSEN, REJECTED, CHOSEN, REJECTED)
        loss = lambda *x: losses.apo_zero(*x, beta=0.3)
        np.testing.assert_allclose(loss(*at), ONES, rtol=1e-6)
        up, down = gradients(loss, at)
        np.testing.assert_allclose(up, -0.075 * ONES, rtol=1e-6)
        np.testing.assert_allclose(down, 0.075 * ONES, rtol=1e-6)

    def test_is_the_sum_of_two_singles(self):
        up = losses.apo_zero_unpaired(CHOSEN, REF_CHOSEN, ONES > 0, beta=0.3)
        down = losses.apo_zero_unpaired(REJECTED, REF_REJECTED, ONES < 0, beta=0.3)
        loss = losses.apo_zero(*FOUR, beta=0.3)
        chex.assert_trees_all_close(loss, up + down, rtol=1e-6)

    def test_single_by_hand(self):
        # 1 - s(1) for the desirable, s(-2) for the other
        logp, ref = np.array([[-1.0, -7.0], [-3.0, -3.0]], np.float32)
        up = np.array([True, False])
        loss = losses.apo_zero_unpaired(logp, ref, up, beta=0.5)
        np.testing.assert_allclose(loss, [1 - s(1), s(-2)], rtol=1e-6)

    def test_single_is_kto_at_kl_0(self):
        loss = losses.apo_zero_unpaired(CHOSEN, REF_CHOSEN, UP, beta=0.3)
        same = kto(CHOSEN, REF_CHOSEN, UP, 0.0, beta=0.3)
        chex.assert_trees_all_close(loss, same, rtol=1e-6)


class TestApoDown:
    def test_by_hand(self):
        # s(1) + 1 - s(1 - -2)
        loss = losses.apo_down(*HAND, beta=0.5)
        np.testing.assert_allclose(loss, [s(1) + 1 - s(3)], rtol=1e-6)

    def test_at_the_reference(self):
        # 1; the chosen answer is pushed both ways alike, the rejected one down
        at = (CHOSEN, REJECTED, CHOSEN, REJECTED)
        loss = lambda *x: losses.apo_down(*x, beta=0.3)
        np.testing.assert_allclose(loss(*at), ONES, rtol=1e-6)
        up, down = gradients(loss, at)
        np.testing.assert_allclose(up, 0 * ONES, atol=1e-7)
        np.testing.assert_allclose(down, 0.075 * ONES, rtol=1e-6)

    def test_the_chosen_answer_falls_too(self):
        # at a margin of 6 nats the anchor is what is left: beta * s'(0.5) against
        # beta * s'(3), so the gradient is positive, down
        up, _ = gradients(lambda *x: losses.apo_down(*x, beta=0.5), HAND)
        expected = 0.5 * (s(1) * s(-1) - s(3) * s(-3))
        np.testing.assert_allclose(up, [expected], rtol=1e-5)
        assert up[0] > 0


class TestSppo:
    def test_by_hand(self):
        # 1 / (2 beta) = 1: (2 - 1)^2 + (-4 + 1)^2
        loss = losses.sppo(*HAND, beta=0.5)
        np.testing.assert_allclose(loss, [10.0], rtol=1e-6)

    def test_is_0_at_its_targets(self):
        # log-ratios of 1 / (2 * 0.25) = 2 up and 2 down
        loss = losses.sppo(-ONE, -5 * ONE, -3 * ONE, -3 * ONE, beta=0.25)
        assert loss.tolist() == [0.0]


class TestNca:
    def test_by_hand(self):
        # -log s(1) - log s(-1) / 2 - log s(2) / 2
        loss = losses.nca(*HAND, beta=0.5)
        expected = -np.log(s(1)) - 0.5 * np.log(s(-1) * s(2))
        np.testing.assert_allclose(loss, [expected], rtol=1e-6)

    def test_at_the_reference(self):
        # 2 log 2; chosen -beta / 2 + beta / 4, rejected beta / 4
        at = (CHOSEN, REJECTED, CHOSEN, REJECTED)
        loss = lambda *x: losses.nca(*x, beta=0.3)
        np.testing.assert_allclose(loss(*at), 2 * np.log(2.0) * ONES, rtol=1e-6)
        up, down = gradients(loss, at)
        np.testing.assert_allclose(up, -0.075 * ONES, rtol=1e-5)
        np.testing.assert_allclose(down, 0.075 * ONES, rtol=1e-5)


@pytest.mark.parametrize("loss", [losses.bco_unpaired, losses.apo_zero_unpaired])
def test_the_reference_of_singles_gets_no_gradient(loss):
    total = lambda ref: loss(CHOSEN, ref, UP, beta=0.3).sum()
    chex.assert_trees_all_equal(jax.grad(total)(REF_CHOSEN), 0 * ONES)


@pytest.mark.parametrize("loss", [losses.bco, losses.apo_zero, losses.sppo, losses.nca])
def test_a_shift_of_both_answers_matters(loss):
    # dpo would not see it: margins stay. The bound is 100 times float32's rounding
    both = (CHOSEN + 1, REJECTED + 1, REF_CHOSEN, REF_REJECTED)
    assert (abs(loss(*both, beta=0.3) - loss(*FOUR, beta=0.3)) > 1e-5).all()
