"""Losses of the difference of two answers: by hand, identities, the reference."""

import chex
import jax
import numpy as np
import pytest

from jaxalign import losses
from jaxalign.losses.preference import dpo, simpo
from tests.losses.cases_preference import (
    CHOSEN,
    FOUR,
    LENGTHS,
    PAIRED,
    REF_CHOSEN,
    REF_REJECTED,
    REFS,
    REJECTED,
)

ONE = np.ones(1, np.float32)
ZEROS = np.zeros(6, np.float32)
# margin = (-1 - -2) - (-3 - -2) = 2; with beta = 0.5, beta * margin = 1
HAND = (-ONE, -3 * ONE, -2 * ONE, -2 * ONE)
# -log s(1) = 0.31326; -log s(-1) is 1 more
RIGHT = np.log1p(np.exp(-1.0))


@pytest.mark.parametrize("name", PAIRED)
def test_the_reference_gets_no_gradient(name):
    loss, hyperparameters = PAIRED[name]
    total = lambda a, b: loss(CHOSEN, REJECTED, a, b, **hyperparameters).sum()
    gradients = jax.grad(total, (0, 1))(REF_CHOSEN, REF_REJECTED)
    chex.assert_trees_all_equal(gradients, (ZEROS, ZEROS))


@pytest.mark.parametrize("name", PAIRED)
@pytest.mark.parametrize("size", [-1e4, 1e4])
def test_far_apart_is_finite(name, size):
    loss, hyperparameters = PAIRED[name]
    total = lambda c, r: loss(c, r, *REFS, **hyperparameters).sum()
    far = np.full(6, size, np.float32)
    actual = jax.value_and_grad(total, (0, 1))(far, -far)
    chex.assert_tree_all_finite(actual)


class TestRobustDpo:
    def test_by_hand(self):
        # (0.8 * 0.31326 - 0.2 * 1.31326) / 0.6 = (0.6 * 0.31326 - 0.2) / 0.6
        loss = losses.robust_dpo(*HAND, beta=0.5, flip_rate=0.2)
        np.testing.assert_allclose(loss, [RIGHT - 1 / 3], rtol=1e-4)

    def test_mean_over_flips_is_dpo(self):
        # what the loss is made for: unbiased under labels flipped with probability e
        observed = losses.robust_dpo(*FOUR, beta=0.3, flip_rate=0.2)
        swapped = (REJECTED, CHOSEN, REF_REJECTED, REF_CHOSEN)
        flipped = losses.robust_dpo(*swapped, beta=0.3, flip_rate=0.2)
        mean = 0.8 * observed + 0.2 * flipped
        chex.assert_trees_all_close(mean, dpo(*FOUR, beta=0.3), rtol=1e-5)


class TestHinge:
    def test_by_hand(self):
        # 1 - 0.25 * 2; beyond 1 / beta, nothing
        loss = losses.hinge(*HAND, beta=0.25)
        np.testing.assert_allclose(loss, [0.5], rtol=1e-6)
        assert losses.hinge(*HAND, beta=0.6).tolist() == [0.0]

    def test_is_slic_of_ratios_in_units_of_beta(self):
        loss = losses.hinge(*FOUR, beta=0.5)
        ratios = CHOSEN - REF_CHOSEN, REJECTED - REF_REJECTED
        expected = 0.5 * losses.slic(*ratios, delta=2.0)
        chex.assert_trees_all_close(loss, expected, rtol=1e-5, atol=1e-6)


class TestSlic:
    def test_by_hand(self):
        # 3 - (-1 - -3); a margin of 2 is enough for delta 1
        assert losses.slic(-ONE, -3 * ONE, delta=3.0).tolist() == [1.0]
        assert losses.slic(-ONE, -3 * ONE, delta=1.0).tolist() == [0.0]

    def test_gradient_until_the_margin(self):
        # -1 for the chosen answer where it is short of the margin, else 0
        loss = lambda c: losses.slic(c, REJECTED, delta=0.5).sum()
        expected = -(CHOSEN - REJECTED < 0.5).astype(np.float32)
        assert 0 < -expected.sum() < 6
        np.testing.assert_array_equal(jax.grad(loss)(CHOSEN), expected)


@pytest.mark.parametrize("loss", [losses.reference_free_dpo, losses.cpo])
class TestWithoutReference:
    def test_by_hand(self, loss):
        # 0.5 * (-1 - -3) = 1
        actual = loss(-ONE, -3 * ONE, beta=0.5)
        np.testing.assert_allclose(actual, [RIGHT], rtol=1e-6)

    def test_is_dpo_with_a_uniform_reference_and_simpo_without_margin(self, loss):
        actual = loss(CHOSEN, REJECTED, beta=0.3)
        uniform = np.full(6, -7.0, np.float32)
        same = dpo(CHOSEN, REJECTED, uniform, uniform, beta=0.3)
        chex.assert_trees_all_close(actual, same, rtol=1e-5)
        other = simpo(CHOSEN, REJECTED, beta=0.3, gamma=0.0)
        chex.assert_trees_all_close(actual, other, rtol=1e-6)


class TestExo:
    def test_by_hand(self):
        # beta 0.5 * log 3 * margin 2 = log 3, so q = 3/4; against 1/2:
        # 3/4 log(3/2) + 1/4 log(1/2); against 0.9: 3/4 log(5/6) + 1/4 log(5/2)
        beta = 0.5 * np.log(3.0)
        loss = losses.exo(*HAND, beta=beta, label_smoothing=0.5)
        expected = 0.75 * np.log(1.5) - 0.25 * np.log(2.0)
        np.testing.assert_allclose(loss, [expected], rtol=1e-5)
        loss = losses.exo(*HAND, beta=beta, label_smoothing=0.1)
        expected = 0.75 * np.log(5 / 6) + 0.25 * np.log(2.5)
        np.testing.assert_allclose(loss, [expected], rtol=1e-5)

    def test_is_0_and_flat_where_policy_and_label_agree(self):
        # q = s(1) = 1 - e
        e = 1 / (1 + np.e)
        loss = lambda c: losses.exo(c, *HAND[1:], beta=0.5, label_smoothing=e)[0]
        actual, gradient = jax.value_and_grad(loss)(HAND[0])
        np.testing.assert_allclose(actual, 0.0, atol=1e-6)
        np.testing.assert_allclose(gradient, [0.0], atol=1e-6)


class TestDiscopop:
    def test_by_hand(self):
        # x = 1, temperature 1: (1 - s(1)) * 0.31326 + s(1) * exp(-1)
        loss = losses.discopop(*HAND, beta=0.5, temperature=1.0)
        s = 1 / (1 + np.exp(-1.0))
        expected = (1 - s) * RIGHT + s * np.exp(-1.0)
        np.testing.assert_allclose(loss, [expected], rtol=1e-6)

    def test_is_dpo_far_below_0_and_exponential_far_above(self):
        # at |x| = 1, s(1 / 0.05) is 1 to within 2e-9
        above = losses.discopop(*HAND, beta=0.5)
        np.testing.assert_allclose(above, [np.exp(-1.0)], rtol=1e-6)
        below = losses.discopop(*HAND, beta=-0.5)
        np.testing.assert_allclose(below, [1.0 + RIGHT], rtol=1e-6)


class TestDpoPositive:
    def test_by_hand(self):
        # chosen fell by 1, rejected by 4: 0.5 * (3 - 2 * 1) = 0.5
        arrays = (-2 * ONE, -6 * ONE, -ONE, -2 * ONE)
        loss = losses.dpop(*arrays, beta=0.5, lam=2.0)
        np.testing.assert_allclose(loss, [np.log1p(np.exp(-0.5))], rtol=1e-6)

    def test_is_dpo_where_chosen_answers_did_not_fall(self):
        loss = losses.dpop(*FOUR, beta=0.3, lam=2.0)
        rose = CHOSEN >= REF_CHOSEN
        assert 0 < rose.sum() < 6
        np.testing.assert_array_equal(loss == dpo(*FOUR, beta=0.3), rose)


class TestLengthRegularisedDpo:
    def test_by_hand(self):
        # 0.5 * 2 + 0.1 * (5 - 15) = 0
        lengths = (5 * ONE, 15 * ONE)
        hyperparameters = {"beta": 0.5, "alpha": 0.1}
        loss = losses.r_dpo(*HAND, *lengths, **hyperparameters)
        np.testing.assert_allclose(loss, [np.log(2.0)], rtol=1e-6)

    def test_its_minimum_is_the_best_policy_of_the_reward_less_length(self):
        # rewards 1 and 0.4, lengths 9 and 4, beta 0.5, alpha 0.05; the best policy is
        # ref * exp((reward - alpha * length) / beta), up to a constant. Labels follow
        # the rewards only: P = s(0.6). There the mean gradient is 0.
        best = [(1.0 - 0.45) / 0.5 * ONE, (0.4 - 0.2) / 0.5 * ONE]
        ref, lengths = (0 * ONE, 0 * ONE), (9 * ONE, 4 * ONE)
        loss = lambda a, b, m, n: losses.r_dpo(a, b, *ref, m, n, beta=0.5, alpha=0.05)[
            0
        ]
        p = 1 / (1 + np.exp(-0.6))
        mean = lambda a, b: (
            p * loss(a, b, *lengths) + (1 - p) * loss(b, a, *lengths[::-1])
        )
        gradient = jax.grad(mean)(*best)
        np.testing.assert_allclose(gradient, [0.0], atol=1e-6)

    def test_is_dpo_where_lengths_are_equal(self):
        loss = losses.r_dpo(*FOUR, LENGTHS[0], LENGTHS[0], beta=0.3, alpha=0.1)
        chex.assert_trees_all_close(loss, dpo(*FOUR, beta=0.3), rtol=1e-6)


class TestLengthNormalisedDpo:
    def test_by_hand(self):
        # chosen of 2 tokens rose by 4, 2 a token; rejected of 8 fell by 8, 1 a token:
        # 1/3 * (2 + 1) = 1
        means = (-4 / 2 * ONE, -24 / 8 * ONE, -8 / 2 * ONE, -16 / 8 * ONE)
        loss = losses.length_normalized_dpo(*means, beta=1 / 3)
        np.testing.assert_allclose(loss, [RIGHT], rtol=1e-6)

    def test_with_equal_lengths_is_dpo_at_beta_over_length(self):
        means = [x / 4 for x in FOUR]
        loss = losses.length_normalized_dpo(*means, beta=2.0)
        chex.assert_trees_all_close(loss, dpo(*FOUR, beta=0.5), rtol=1e-5)
