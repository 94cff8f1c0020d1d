"""Losses of reward models, of ties and of uncertain scores: by hand, and identities."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxalign import losses
from jaxalign.losses.comparison_models import log_normal_cdf

A, B = np.random.default_rng(2).normal(0.0, 1.0, (2, 6)).astype(np.float32)
ZERO = np.zeros(6, np.float32)
ONE = np.ones(1, np.float32)


class TestSoftBradleyTerry:
    def test_by_hand(self):
        # -log s(1) = 0.31326 and -log s(-1) = 1.31326: 0.8 of the one, 0.2 of the other
        loss = losses.soft_bradley_terry(3 * ONE, 2 * ONE, 0.8 * ONE)
        np.testing.assert_allclose(loss, [np.log1p(np.exp(-1.0)) + 0.2], rtol=1e-6)

    def test_margin_by_hand(self):
        # either way round by a margin of 1: 3 - 2 - 1 = 0 and 2 - 3 - 1 = -2
        loss = losses.soft_bradley_terry(3 * ONE, 2 * ONE, 0.8 * ONE, margin=1.0)
        expected = 0.8 * np.log(2.0) + 0.2 * np.log1p(np.exp(2.0))
        np.testing.assert_allclose(loss, [expected], rtol=1e-6)

    def test_a_certain_label_is_bradley_terry(self):
        loss = losses.soft_bradley_terry(A, B, 1.0, margin=0.3)
        expected = losses.bradley_terry(A, B, margin=0.3)
        chex.assert_trees_all_close(loss, expected, rtol=1e-6)

    def test_swapping_answers_and_label_changes_nothing(self):
        p = np.linspace(0, 1, 6, dtype=np.float32)
        loss = losses.soft_bradley_terry(A, B, p, margin=0.3)
        swapped = losses.soft_bradley_terry(B, A, 1 - p, margin=0.3)
        chex.assert_trees_all_close(loss, swapped, rtol=1e-6)

    def test_least_where_the_scores_say_p(self):
        # s(log 4) = 0.8: no gradient there
        loss = lambda c: losses.soft_bradley_terry(c, 0 * c, 0.8).sum()
        gradient = jax.grad(loss)(np.log(4.0) * ONE)
        np.testing.assert_allclose(gradient, [0.0], atol=1e-6)

    def test_the_label_gets_no_gradient(self):
        total = lambda p: losses.soft_bradley_terry(A, B, p).sum()
        chex.assert_trees_all_equal(jax.grad(total)(0.3 + ZERO), ZERO)


class TestConfidenceBradleyTerry:
    def test_by_hand(self):
        # the model prefers `chosen`, the weak label says 0.2 of it: the target is
        # 0.75 * 0.2 + 0.25 = 0.4; -log s(1) = 0.31326, -log s(-1) is 1 more
        loss = losses.confidence_bradley_terry(
            3 * ONE, 2 * ONE, 0.2 * ONE, confidence=0.25
        )
        np.testing.assert_allclose(loss, [np.log1p(np.exp(-1.0)) + 0.6], rtol=1e-6)

    def test_the_gradient_is_that_of_a_fixed_target(self):
        # s(1) - 0.4 for the better, the reverse for the other
        total = lambda c, r: losses.confidence_bradley_terry(
            c, r, 0.2 * ONE, confidence=0.25
        ).sum()
        gradient = jax.grad(total, (0, 1))(3 * ONE, 2 * ONE)
        slope = 1 / (1 + np.exp(-1.0)) - 0.4
        np.testing.assert_allclose(gradient, [[slope], [-slope]], rtol=1e-5)

    def test_without_confidence_it_is_the_soft_loss(self):
        p = np.linspace(0, 1, 6, dtype=np.float32)
        loss = losses.confidence_bradley_terry(A, B, p, confidence=0.0)
        chex.assert_trees_all_close(loss, losses.soft_bradley_terry(A, B, p))

    def test_all_confidence_ignores_the_labels(self):
        p = np.linspace(0, 1, 6, dtype=np.float32)
        loss = losses.confidence_bradley_terry(A, B, p, confidence=1.0)
        expected = np.log1p(np.exp(-np.abs(A - B)))
        np.testing.assert_allclose(loss, expected, rtol=1e-5)

    def test_swapping_answers_and_label_changes_nothing(self):
        p = np.linspace(0, 1, 6, dtype=np.float32)
        loss = losses.confidence_bradley_terry(A, B, p, confidence=0.3)
        swapped = losses.confidence_bradley_terry(B, A, 1 - p, confidence=0.3)
        chex.assert_trees_all_close(loss, swapped, rtol=1e-6)

    def test_a_tie_is_no_preference(self):
        # target 0.5 * 0.9 + 0.5 * 0.5 = 0.7, at equal scores a gradient of 0.5 - 0.7
        total = lambda c: losses.confidence_bradley_terry(
            c, ONE, 0.9 * ONE, confidence=0.5
        ).sum()
        np.testing.assert_allclose(jax.grad(total)(ONE), [-0.2], rtol=1e-6)

    def test_the_label_gets_no_gradient(self):
        total = lambda p: losses.confidence_bradley_terry(A, B, p, confidence=0.3).sum()
        chex.assert_trees_all_equal(jax.grad(total)(0.3 + ZERO), ZERO)


class TestAllPairs:
    def test_by_hand(self):
        # pairs (2, 1), (2, 0), (1, 0) differ by 1, 2, 1
        loss = losses.all_pairs_bradley_terry(
            np.array([[2.0, 1.0, 0.0]]), np.ones((1, 3), bool)
        )
        one, two = np.log1p(np.exp(-1.0)), np.log1p(np.exp(-2.0))
        np.testing.assert_allclose(loss, [(2 * one + two) / 3], rtol=1e-6)

    def test_of_two_is_bradley_terry(self):
        loss = losses.all_pairs_bradley_terry(
            np.stack([A, B], axis=1), np.ones((6, 2), bool)
        )
        chex.assert_trees_all_close(loss, losses.bradley_terry(A, B), rtol=1e-6)

    def test_masked_is_removed(self):
        # 1 before 0, wherever the rest is; then rows of one answer and of none
        scores = [[1, 99, 0], [np.nan, 1, 0], [1, 0, 99], [5, 9, 9], [np.nan, 9, 9]]
        mask = [[1, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0], [0, 0, 0]]
        scores, mask = np.array(scores, np.float32), np.array(mask, bool)
        loss, back = jax.vjp(lambda s: losses.all_pairs_bradley_terry(s, mask), scores)
        two = np.log1p(np.exp(-1.0))
        np.testing.assert_allclose(loss, [two, two, two, 0, 0], rtol=1e-6)
        (gradient,) = back(np.ones(5, np.float32))
        # of two: -s(-1) for the better, s(-1) for the worse
        s = 1 / (1 + np.e)
        expected = np.zeros((5, 3))
        expected[[0, 1, 2], [0, 1, 0]], expected[[0, 1, 2], [2, 2, 1]] = -s, s
        np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-7)


class TestCenter:
    def test_by_hand(self):
        # (3 + 1)^2; the gradient is 2 * 4 for each
        loss, back = jax.vjp(losses.reward_centering, 3 * ONE, ONE)
        np.testing.assert_allclose(loss, [16.0])
        np.testing.assert_allclose(back(ONE), [[8.0], [8.0]])

    def test_the_difference_does_not_matter(self):
        loss = losses.reward_centering(A + 5, B - 5)
        np.testing.assert_allclose(loss, (A + B) ** 2, rtol=1e-4, atol=1e-5)


class TestRegression:
    def test_by_hand(self):
        # (3 - 1)^2 / 2, with gradient 3 - 1
        loss, back = jax.vjp(lambda s: losses.reward_regression(s, ONE), 3 * ONE)
        np.testing.assert_allclose(loss, [2.0])
        np.testing.assert_allclose(back(ONE)[0], [2.0])

    def test_the_target_gets_no_gradient(self):
        total = lambda t: losses.reward_regression(A, t).sum()
        chex.assert_trees_all_equal(jax.grad(total)(B), ZERO)


def test_llama_2s_margins():
    # Llama 2: small margins are thirds of 1; large ones 3 times that, and 0
    words = ["significantly better", "better", "slightly better", "negligibly better"]
    assert (
        list(losses.MARGINS_SMALL) == list(losses.MARGINS_LARGE) == [*words, "unsure"]
    )
    assert list(losses.MARGINS_SMALL.values()) == [1.0, 2 / 3, 1 / 3, 0.0, 0.0]
    assert list(losses.MARGINS_LARGE.values()) == [3.0, 2.0, 1.0, 0.0, 0.0]


OUTCOMES = [np.full(6, outcome) for outcome in (1, 0, -1)]
TIES = {
    "rao_kupper": lambda a, b, outcome, k: losses.rao_kupper(
        a, b, outcome, theta=1 + k
    ),
    "davidson": lambda a, b, outcome, k: losses.davidson(a, b, outcome, nu=k),
}


class TestTies:
    def test_rao_kupper_by_hand(self):
        # weights 3 and 1, theta 2: 3 / (3 + 2), 1 / (6 + 1), and the rest, 9 / 35, is
        # (4 - 1) * 3 / (5 * 7)
        a, b = np.log(np.array([[3.0] * 3, [1.0] * 3], np.float32))
        loss = losses.rao_kupper(a, b, np.array([1, 0, -1]), theta=2.0)
        np.testing.assert_allclose(np.exp(-loss), [3 / 5, 9 / 35, 1 / 7], rtol=1e-6)

    def test_davidson_by_hand(self):
        # weights 4 and 1, nu 1: 4, sqrt(4) and 1 of 7
        a, b = np.log(np.array([[4.0] * 3, [1.0] * 3], np.float32))
        loss = losses.davidson(a, b, np.array([1, 0, -1]), nu=1.0)
        np.testing.assert_allclose(np.exp(-loss), [4 / 7, 2 / 7, 1 / 7], rtol=1e-6)

    @pytest.mark.parametrize("name", TIES)
    @pytest.mark.parametrize("k", [0.1, 3.0])
    def test_probabilities_sum_to_1(self, name, k):
        total = sum(np.exp(-TIES[name](A, B, outcome, k)) for outcome in OUTCOMES)
        np.testing.assert_allclose(total, np.ones(6), rtol=1e-6)

    @pytest.mark.parametrize("name", TIES)
    def test_without_ties_it_is_bradley_terry(self, name):
        win, tie, defeat = (TIES[name](A, B, outcome, 0.0) for outcome in OUTCOMES)
        chex.assert_trees_all_close(win, losses.bradley_terry(A, B), rtol=1e-6)
        chex.assert_trees_all_close(defeat, losses.bradley_terry(B, A), rtol=1e-6)
        # what cannot be costs -log of the smallest float32 at least, and is finite
        assert (tie >= 87).all() and np.isfinite(tie).all()

    @pytest.mark.parametrize("name", TIES)
    def test_a_tie_draws_scores_together(self, name):
        # at equal scores there is nothing to gain, from unequal ones the nearer
        gradient = jax.grad(lambda a: TIES[name](a, ZERO, OUTCOMES[1], 0.5).sum())
        np.testing.assert_allclose(gradient(ZERO), ZERO, atol=1e-6)
        assert (gradient(ZERO + 1) > 0).all() and (gradient(ZERO - 1) < 0).all()

    @pytest.mark.parametrize("name", TIES)
    def test_the_knob_can_be_learnt(self, name):
        # all ties: the loss falls as ties become likelier; finite even at no ties
        gradient = jax.grad(lambda k: TIES[name](A, B, OUTCOMES[1], k).sum())
        assert gradient(0.5) < 0
        without_ties = jax.grad(lambda k: TIES[name](A, B, OUTCOMES[0], k).sum())
        assert np.isfinite(without_ties(0.0))


class TestMeanAndVariance:
    def test_by_hand(self):
        # variances 9 + 16 = 25, difference 5: -log Phi(1), Phi(1) = 0.8413447
        logs = 2 * np.log(np.array([[3.0], [4.0]], np.float32))
        loss = losses.thurstone(7 * ONE, logs[0], 2 * ONE, logs[1])
        np.testing.assert_allclose(loss, [-np.log(0.8413447)], rtol=1e-5)

    def test_swapped_probabilities_sum_to_1(self):
        loss = losses.thurstone(A, B, B, A)
        swapped = losses.thurstone(B, A, A, B)
        total = np.exp(-loss) + np.exp(-swapped)
        np.testing.assert_allclose(total, np.ones(6), rtol=1e-6)

    def test_wide_scores_say_nothing(self):
        # at a variance of exp(20), Phi(about 1e-5) is 1/2 to 1e-5
        loss = losses.thurstone(A, 0 * A + 99, B, 0 * A)
        np.testing.assert_allclose(loss, np.full(6, np.log(2.0)), rtol=3e-4)

    def test_those_who_agree_may_be_surer(self):
        # of a right order a smaller variance is likelier, of a wrong one a larger one
        loss = lambda v, m: losses.thurstone(m, v, 0 * m, v).sum()
        gradient = jax.grad(loss)(
            np.zeros(2, np.float32), np.array([1, -1], np.float32)
        )
        assert gradient[0] > 0 > gradient[1]

    @pytest.mark.parametrize("z", [-1e2, -1e4, -1e6])
    def test_the_tails_gradient(self, z):
        # d log Phi / dz -> -z - 1 / z, where exp of a difference has lost all digits
        value, gradient = jax.value_and_grad(log_normal_cdf)(jnp.float32(z))
        np.testing.assert_allclose(gradient, -z - 1 / z, rtol=1e-6)
        # -z^2 / 2 - log(-z) - log(2 pi) / 2, up to 1 / z^2
        expected = -(z**2) / 2 - np.log(-z) - np.log(2 * np.pi) / 2
        np.testing.assert_allclose(value, expected, rtol=1e-6)

    def test_the_tail_joins_the_body(self):
        # the series ends before 105 / z^8 = 4e-9, on 203
        with jax.enable_x64(True):
            z = jnp.array([-20.0 - 1e-9, -20.0 + 1e-9])
            value, gradient = jax.vmap(jax.value_and_grad(log_normal_cdf))(z)
        np.testing.assert_allclose(value[0], value[1], rtol=1e-9)
        np.testing.assert_allclose(gradient[0], gradient[1], rtol=1e-8)


class TestSafetyClassification:
    def test_by_hand(self):
        # odds of 3: 3 / 4 unsafe, 1 / 4 safe
        logit = np.log(np.array([3.0, 3.0], np.float32))
        loss = losses.safety_classification(logit, np.array([True, False]))
        np.testing.assert_allclose(loss, -np.log([0.75, 0.25]), rtol=1e-6)

    def test_is_bradley_terry_against_0(self):
        loss = losses.safety_classification(A, ZERO == 0)
        chex.assert_trees_all_close(loss, losses.bradley_terry(A, ZERO), rtol=1e-6)
