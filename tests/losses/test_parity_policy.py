"""TRL 1.16's reward, policy and distillation formulas, in numpy float64.

Written out again from its source; a comment says where ours follows the paper.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxalign import losses

RNG = np.random.default_rng(6)
LOGP, OLD = RNG.normal(-2.0, 0.5, (2, 4, 5))
REF, SAMPLER = RNG.normal(-2.0, 0.5, (2, 4, 5))
MASK = np.arange(5)[None] < np.array([[5], [3], [1], [4]])
ADVANTAGE = np.array([1.3, -0.7, 0.4, -1.1])
PER_TOKEN = np.broadcast_to(ADVANTAGE[:, None], (4, 5)).copy()
RATIO = np.exp(LOGP - OLD)
LOW, HIGH = 0.2, 0.28
CLIP = {"clip_low": LOW, "clip_high": HIGH}
TOKEN_TERMS = -np.minimum(
    RATIO * PER_TOKEN, np.clip(RATIO, 1 - LOW, 1 + HIGH) * PER_TOKEN
)


def agrees(actual, expected):
    # float64 on both sides: what is left is the rounding of a few operations
    np.testing.assert_allclose(actual, expected, rtol=1e-11, atol=1e-14)


@pytest.fixture(autouse=True)
def wide():
    with jax.enable_x64(True):
        yield


def mean(parts):
    total, weight = parts
    return total / weight


class TestGrpo:
    def terms(self):
        return losses.clipped_surrogate(LOGP, OLD, PER_TOKEN, **CLIP)

    def test_grpo(self):
        per_sequence = (TOKEN_TERMS * MASK).sum(1) / MASK.sum(1)
        actual = mean(losses.sequence_mean(self.terms(), MASK))
        agrees(actual, per_sequence.mean())

    def test_bnpo_and_dapo(self):
        # they differ by what they call a batch; our sums and weights add up over it
        actual = mean(losses.token_mean(self.terms(), MASK))
        agrees(actual, (TOKEN_TERMS * MASK).sum() / MASK.sum())

    def test_dr_grpo(self):
        # Every row has a token here. TRL counts a row whose tokens are all masked;
        # ours does not: what is masked is as if removed.
        actual = mean(losses.constant_length_mean(self.terms(), MASK, length=8))
        agrees(actual, (TOKEN_TERMS * MASK).sum() / (4 * 8))

    def test_gspo(self):
        # importance_sampling_level "sequence": the same ratio at every token, then the
        # mean over them, so one term per sequence
        log_ratio = ((LOGP - OLD) * MASK).sum(1) / MASK.sum(1)
        ratio = np.exp(log_ratio)
        clipped = np.clip(ratio, 1 - LOW, 1 + HIGH)
        expected = -np.minimum(ratio * ADVANTAGE, clipped * ADVANTAGE)
        actual = losses.gspo(LOGP, OLD, ADVANTAGE, MASK, **CLIP)
        agrees(actual, expected)

    def test_luspo(self):
        # a sequence's term at each of its tokens, summed: the term times the length
        actual = losses.gspo(LOGP, OLD, ADVANTAGE, MASK, **CLIP)
        ratio = np.exp(((LOGP - OLD) * MASK).sum(1) / MASK.sum(1))[:, None] * MASK
        clipped = np.clip(ratio, 1 - LOW, 1 + HIGH)
        terms = -np.minimum(ratio * PER_TOKEN, clipped * PER_TOKEN) * MASK
        agrees(actual * MASK.sum(1), terms.sum(1))

    def test_cispo(self):
        # TRL's weight is min(ratio, epsilon_high); the paper's, clip(ratio, 1 - low,
        # 1 + high), is that at low >= 1 and high = epsilon_high - 1
        expected = -np.minimum(RATIO, 1.5) * PER_TOKEN * LOGP
        actual = losses.cispo(LOGP, OLD, PER_TOKEN, clip_low=1.0, clip_high=0.5)
        agrees(actual, expected)

    def test_delta(self):
        # INTELLECT-2's two-sided clip is dual-clip PPO, where delta >= 1 + epsilon_high
        first = np.minimum(RATIO, 1.5) * PER_TOKEN
        second = np.clip(RATIO, 1 - LOW, 1 + HIGH) * PER_TOKEN
        assert ((RATIO > 1.5) & (PER_TOKEN < 0)).any()
        actual = losses.dual_clip(LOGP, OLD, PER_TOKEN, **CLIP, max_ratio=1.5)
        agrees(actual, -np.minimum(first, second))

    def test_kl(self):
        # use_bias_correction_kl, its default: k3 times the ratio, and the gradient of
        # both, which is ratio * d * grad logp.
        k3 = lambda x: jnp.expm1(REF - x) - (REF - x)
        theirs = lambda x: jnp.sum(jnp.exp(x - OLD) * k3(x))
        ours = lambda x: losses.kl_loss(x, OLD, REF).sum()
        agrees(ours(LOGP), theirs(LOGP))
        agrees(jax.grad(ours)(LOGP), jax.grad(theirs)(LOGP))

    def test_rloo(self):
        # rho = exp(sum logp - sum old)
        ratio = np.exp(((LOGP - OLD) * MASK).sum(1))
        clipped = np.clip(ratio, 1 - LOW, 1 + HIGH)
        expected = -np.minimum(ratio * ADVANTAGE, clipped * ADVANTAGE)
        actual = losses.sequence_clipped_surrogate(LOGP, OLD, ADVANTAGE, MASK, **CLIP)
        agrees(actual, expected)

    def test_entropy(self):
        # entropy_coef: subtracted from the loss
        agrees(losses.entropy_bonus(-LOGP, coefficient=0.01), 0.01 * LOGP)

    def test_sampler_mismatch(self):
        # mode "token_truncate". A NaN of the sampler is a weight of 1 in TRL; here it
        # stays a NaN, which stops the run.
        expected = np.minimum(np.exp(OLD - SAMPLER), 3.0)
        actual = losses.truncated_importance_weight(OLD, SAMPLER, max_weight=3.0)
        agrees(actual, expected)


def test_rloo():
    # one ratio per sequence, of the summed log-probs; K = 2 answers per prompt
    logp, old = (LOGP * MASK).sum(1), (OLD * MASK).sum(1)
    rewards = np.array([1.0, 0.3, -0.5, 0.2]) - 0.05 * ((OLD - REF) * MASK).sum(1)
    pairs = rewards.reshape(2, 2)
    advantage = (pairs - (pairs.sum(1, keepdims=True) - pairs) / (2 - 1)).reshape(4)
    ratio = np.exp(logp - old)
    clipped = np.clip(ratio, 1 - LOW, 1 + HIGH)
    expected = -np.minimum(ratio * advantage, clipped * advantage)
    agrees(losses.clipped_surrogate(logp, old, advantage, **CLIP), expected)


class TestReward:
    C, R = LOGP[:, 0], LOGP[:, 1]

    def test_margin_per_pair(self):
        margin = np.array([1.0, 2 / 3, 1 / 3, 0.0])
        expected = np.log1p(np.exp(-(self.C - self.R - margin)))
        agrees(losses.bradley_terry(self.C, self.R, margin=margin), expected)

    def test_center_rewards_coefficient(self):
        terms = losses.bradley_terry(self.C, self.R)
        actual = (terms + 0.01 * losses.reward_centering(self.C, self.R)).mean()
        ranking = np.log1p(np.exp(self.R - self.C)).mean()
        agrees(actual, ranking + 0.01 * np.mean((self.C + self.R) ** 2))


class TestDistillation:
    TEACHER, STUDENT = RNG.normal(0.0, 2.0, (2, 3, 6))
    T, S = (np.exp(x) / np.exp(x).sum(-1, keepdims=True) for x in (TEACHER, STUDENT))

    def kl(self, p, q):
        return (p * np.log(p / q)).sum(-1)

    @pytest.mark.parametrize("beta", [0.1, 0.5, 0.9])
    def test_generalised_jsd(self, beta):
        m = beta * self.T + (1 - beta) * self.S
        expected = beta * self.kl(self.T, m) + (1 - beta) * self.kl(self.S, m)
        actual = losses.generalized_jsd(self.TEACHER, self.STUDENT, beta=beta)
        agrees(actual, expected)

    def test_beta_0_and_1(self):
        # There TRL puts the forward and the reverse KL. The paper's formula is 0 at
        # both ends, and beta times the one, (1 - beta) times the other near them: ours
        # is the formula, and the two KLs are functions.
        both = self.TEACHER, self.STUDENT
        agrees(losses.forward_kl_distillation(*both), self.kl(self.T, self.S))
        agrees(losses.reverse_kl_distillation(*both), self.kl(self.S, self.T))
        agrees(losses.generalized_jsd(*both, beta=0.0), np.zeros(3))
        agrees(losses.generalized_jsd(*both, beta=1.0), np.zeros(3))
