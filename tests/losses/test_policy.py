"""Policy-gradient losses: by hand, limits, what gets no gradient."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxalign import losses
from jaxalign.estimators.kl import kl_k3

FOUR = np.random.default_rng(3).normal(-3.0, 1.0, (4, 6)).astype(np.float32)
LOGP, OLD, OTHER, ADVANTAGE = FOUR
ZERO = np.zeros(6, np.float32)
CLIP = {"clip_low": 0.2, "clip_high": 0.3}
FULL = np.ones((1, 6), bool)

# Those that keep an older policy near, [1 T] [1 T] [1] -> a sum
SURROGATES = {
    "dual_clip": lambda x, old, a: losses.dual_clip(
        x, old, a[:, None] + 0 * x, **CLIP, max_ratio=3.0
    ).sum(),
    "cispo": lambda x, old, a: losses.cispo(x, old, a[:, None] + 0 * x, **CLIP).sum(),
    "gspo": lambda x, old, a: losses.gspo(x, old, a, FULL, **CLIP).sum(),
    "sequence_clipped_surrogate": lambda x, old, a: losses.sequence_clipped_surrogate(
        x, old, a, FULL, **CLIP
    ).sum(),
}


@pytest.mark.parametrize("name", SURROGATES)
@pytest.mark.parametrize("log_ratio, a", [(0.01, 1.0), (2.0, -1.0)])
def test_the_fixed_get_no_gradient(name, log_ratio, a):
    # inside the clip range and beyond dual-clip's bound, where there would be one
    gradient = jax.grad(SURROGATES[name], (1, 2))
    row = LOGP[None]
    gradients = gradient(row, row - log_ratio, np.full(1, a, np.float32))
    chex.assert_trees_all_equal(gradients, (0 * row, np.zeros(1, np.float32)))


@pytest.mark.parametrize("name", SURROGATES)
@pytest.mark.parametrize("a", [1.5, -1.5])
def test_gradient_at_ratio_1_is_reinforce(name, a):
    # a sequence's ratio is a mean over its 6 tokens: a sixth each
    share = 6 if name == "gspo" else 1
    row = LOGP[None]
    gradient = jax.grad(SURROGATES[name])(row, row, np.full(1, a, np.float32))
    expected = jax.grad(lambda x: losses.reinforce(x, a + 0 * x).sum())(row)
    np.testing.assert_allclose(gradient, expected / share, rtol=1e-6)


class TestDualClip:
    def test_by_hand(self):
        # ratios 5, 5, 2, 0.5 and advantages 1, -1, -1, -1, clipped to [0.8, 1.3], bound
        # 3: -1.3 as PPO; 5 bounded by 3; 2 as PPO; 0.8 as PPO
        logp = np.log(np.array([5.0, 5.0, 2.0, 0.5], np.float32))
        advantage = np.array([1, -1, -1, -1], np.float32)
        loss = losses.dual_clip(logp, 0 * logp, advantage, **CLIP, max_ratio=3.0)
        np.testing.assert_allclose(loss, [-1.3, 3.0, 2.0, 0.8], rtol=1e-6)

    def test_no_gradient_beyond_the_bound(self):
        loss = lambda x: losses.dual_clip(
            x, LOGP - 2, ZERO - 1, **CLIP, max_ratio=3.0
        ).sum()
        chex.assert_trees_all_equal(jax.grad(loss)(LOGP), ZERO)

    def test_a_far_bound_is_ppo(self):
        loss = losses.dual_clip(LOGP, OLD, ADVANTAGE, **CLIP, max_ratio=1e9)
        expected = losses.clipped_surrogate(LOGP, OLD, ADVANTAGE, **CLIP)
        chex.assert_trees_all_equal(loss, expected)


class TestReinforce:
    def test_by_hand(self):
        # -(3 * -2), -(-1 * -0.5), with gradients -advantage
        logp, advantage = np.array([[-2.0, -0.5], [3.0, -1.0]], np.float32)
        loss, back = jax.vjp(lambda x: losses.reinforce(x, advantage), logp)
        np.testing.assert_allclose(loss, [6.0, -0.5])
        np.testing.assert_allclose(back(np.ones(2, np.float32))[0], [-3.0, 1.0])

    def test_the_advantage_gets_no_gradient(self):
        total = lambda a: losses.reinforce(LOGP, a).sum()
        chex.assert_trees_all_equal(jax.grad(total)(ADVANTAGE), ZERO)


class TestCispo:
    def test_by_hand(self):
        # ratios 2, 0.5 and 1.1 of log-probs log 2, log 0.5, log 1.1, clipped to 1.3,
        # 0.8 and 1.1, advantage 2; the gradient is -weight * 2, clipped or not
        logp = np.log(np.array([2.0, 0.5, 1.1], np.float32))
        two = np.full(3, 2.0, np.float32)
        loss, back = jax.vjp(lambda x: losses.cispo(x, 0 * x, two, **CLIP), logp)
        weights = np.array([1.3, 0.8, 1.1])
        np.testing.assert_allclose(loss, -weights * 2 * logp, rtol=1e-6)
        gradient = back(np.ones(3, np.float32))[0]
        np.testing.assert_allclose(gradient, -weights * 2, rtol=1e-6)


class TestSequenceRatio:
    def test_by_hand(self):
        # log-ratios (log 4, 0) have a mean of log 2, clipped to 1.3 where that is less;
        # (log 1/4, 0) make 1/2
        x = np.log(np.array([[4.0, 1.0], [4.0, 1.0], [0.25, 1.0]], np.float32))
        advantage, mask = np.array([1, -1, 1], np.float32), np.ones((3, 2), bool)
        loss = losses.gspo(x, 0 * x, advantage, mask, **CLIP)
        np.testing.assert_allclose(loss, [-1.3, 2.0, -0.5], rtol=1e-6)

    def test_masked_is_removed(self):
        # the first row has its last token masked, the second has no tokens
        x = np.log(np.array([[1.2, 1.1, np.nan], [np.nan] * 3], np.float32))
        mask = np.array([[True, True, False], [False] * 3])
        a = np.ones(2, np.float32)
        actual, back = jax.vjp(lambda x: losses.gspo(x, 0 * x, a, mask, **CLIP), x)
        single, back_alone = jax.vjp(
            lambda x: losses.gspo(x, 0 * x, a[:1], mask[:1, :2], **CLIP),
            x[:1, :2],
        )
        np.testing.assert_allclose(actual, [single[0], 0.0], rtol=1e-6)
        gradient = back(a)[0]
        expected = np.zeros((2, 3))
        expected[:1, :2] = back_alone(a[:1])[0]
        np.testing.assert_allclose(gradient, expected, rtol=1e-6)

    def test_of_one_token_is_ppo(self):
        column = lambda x: x[:, None]
        loss = losses.gspo(
            column(LOGP), column(OLD), ADVANTAGE, np.ones((6, 1), bool), **CLIP
        )
        expected = losses.clipped_surrogate(LOGP, OLD, ADVANTAGE, **CLIP)
        chex.assert_trees_all_close(loss, expected, rtol=1e-6)


def test_entropy_bonus_by_hand():
    # a fair coin has log 2 of entropy; 0.01 of it is taken off
    entropy = np.log(np.array([2.0, 1.0], np.float32))
    loss = losses.entropy_bonus(entropy, coefficient=0.01)
    np.testing.assert_allclose(loss, [-0.01 * np.log(2.0), 0.0], rtol=1e-6)


class TestAnswerRatio:
    def test_by_hand(self):
        # log-ratios (log 4, log 1/2) make 2, clipped to 1.3 where that is less;
        # (log 1/4, log 2) make 1/2
        x = np.log(np.array([[4.0, 0.5], [4.0, 0.5], [0.25, 2.0]], np.float32))
        advantage, mask = np.array([1, -1, 1], np.float32), np.ones((3, 2), bool)
        loss = losses.sequence_clipped_surrogate(x, 0 * x, advantage, mask, **CLIP)
        np.testing.assert_allclose(loss, [-1.3, 2.0, -0.5], rtol=1e-6)

    def test_masked_is_removed(self):
        x = np.log(np.array([[1.2, 1.05, np.nan], [np.nan] * 3], np.float32))
        mask = np.array([[True, True, False], [False] * 3])
        a = np.ones(2, np.float32)
        actual, back = jax.vjp(
            lambda x: losses.sequence_clipped_surrogate(x, 0 * x, a, mask, **CLIP), x
        )
        # 1.2 * 1.05 = 1.26, and each log-prob moves the ratio by as much
        np.testing.assert_allclose(actual, [-1.26, 0.0], rtol=1e-6)
        np.testing.assert_allclose(
            back(a)[0], [[-1.26, -1.26, 0.0], [0.0] * 3], rtol=1e-6
        )


class TestKlLoss:
    def test_by_hand(self):
        # d = log 2, ratio 3: 3 (exp(-d) - 1 + d) = 3 log 2 - 3/2; 3 d the gradient
        x = np.log(np.array([0.5], np.float32))
        old, ref = np.log(np.array([[0.5 / 3], [0.25]], np.float32))
        loss, back = jax.vjp(lambda x: losses.kl_loss(x, old, ref), x)
        np.testing.assert_allclose(loss, [3 * np.log(2.0) - 1.5], rtol=1e-5)
        gradient = back(np.ones(1, np.float32))[0]
        np.testing.assert_allclose(gradient, [3 * np.log(2.0)], rtol=1e-5)

    def test_the_value_is_k3_on_policy(self):
        loss = losses.kl_loss(LOGP, LOGP, OTHER)
        chex.assert_trees_all_equal(loss, kl_k3(LOGP, OTHER))

    def test_the_fixed_get_no_gradient(self):
        total = lambda old, ref: losses.kl_loss(LOGP, old, ref).sum()
        chex.assert_trees_all_equal(jax.grad(total, (0, 1))(OLD, OTHER), (ZERO, ZERO))

    @pytest.mark.parametrize("sampled_by", ["policy", "old"])
    def test_in_expectation_the_gradient_is_that_of_the_kl(self, sampled_by):
        # all 6 outcomes, weighed by the probability that they were sampled with, which
        # is held fixed; k3's own gradient would be that of the KL the other way round
        log_probs = jax.nn.log_softmax
        ref = log_probs(OTHER)
        old = log_probs(LOGP if sampled_by == "policy" else OLD)
        p = np.exp(old)
        exact = lambda x: jnp.sum(jnp.exp(log_probs(x)) * (log_probs(x) - ref))
        sampled = lambda x: jnp.sum(p * losses.kl_loss(log_probs(x), old, ref))
        expected = jax.grad(exact)(LOGP)
        np.testing.assert_allclose(jax.grad(sampled)(LOGP), expected, atol=1e-6)
        backwards = jax.grad(lambda x: jnp.sum(p * kl_k3(log_probs(x), ref)))(LOGP)
        assert np.abs(backwards - expected).max() > 0.01
        np.testing.assert_allclose(sampled(LOGP), exact(LOGP), rtol=1e-5)


class TestTruncatedImportance:
    def test_by_hand(self):
        # ratios 1/2, 1 and 8, capped at 2
        logp = np.log(np.array([0.5, 1.0, 8.0], np.float32))
        actual = losses.truncated_importance_weight(logp, 0 * logp, max_weight=2.0)
        np.testing.assert_allclose(actual, [0.5, 1.0, 2.0], rtol=1e-6)

    def test_no_gradient(self):
        total = lambda *x: losses.truncated_importance_weight(*x, max_weight=99.0).sum()
        gradients = jax.grad(total, (0, 1))(LOGP, OLD)
        chex.assert_trees_all_equal(gradients, (ZERO, ZERO))

    def test_uncapped_it_is_unbiased(self):
        # the sampler's mean of weight * x is the trainer's mean of x: over all outcomes
        trainer, sampler = jax.nn.log_softmax(LOGP), jax.nn.log_softmax(OLD)
        weights = losses.truncated_importance_weight(trainer, sampler, max_weight=1e9)
        actual = np.sum(np.exp(sampler) * weights * OTHER)
        np.testing.assert_allclose(actual, np.sum(np.exp(trainer) * OTHER), rtol=1e-5)
