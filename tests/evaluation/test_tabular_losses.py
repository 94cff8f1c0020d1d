"""Where each preference loss leads with infinite data.

Derivations are beside the tests; m is the margin log(pi/ref)(a) - log(pi/ref)(b), p the
probability that a is preferred to b, s the sigmoid. Everything is in float64.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxalign.evaluation import tabular
from jaxalign.evaluation.tabular_losses import expected_loss, fit, minimize, pair_logps
from jaxalign.losses.divergence import (
    alpha_score,
    f_dpo,
    forward_kl_score,
    jensen_shannon_score,
    reverse_kl_score,
)
from jaxalign.losses.dpo_variants import robust_dpo
from jaxalign.losses.preference import dpo, ipo
from jaxalign.losses.reward import bradley_terry
from jaxalign.losses.unpaired import kto
from tests.support import quick

with jax.enable_x64(True):
    WORLD = tabular.random_bandit(jax.random.key(0), prompts=3, answers=4)
    POLICY = jax.random.normal(jax.random.key(1), (3, 4))
BETA = 0.5


@pytest.fixture(autouse=True)
def float64():
    """Derivations hold to rounding, so let rounding be small."""
    with jax.enable_x64(True):
        yield


def learn(loss, *, world=WORLD, start=None, **about):
    """The log-probs of the policy that minimises a pairwise loss on infinite data."""
    start = world.reference if start is None else start
    found = minimize(lambda x: expected_loss(world, x, loss, **about), start)
    return tabular.log_policy(found)


def two(p):
    """A world of two answers, the first preferred with probability p."""
    reference = jnp.log(jnp.array([[0.3, 0.7]]))
    world = tabular.Bandit(jnp.zeros((1, 2)), reference, jnp.ones(1))
    return world, jnp.array([[[0.5, p], [1.0 - p, 0.5]]])


def margin(world, logits):
    """m of a world of two answers."""
    log_ratio = tabular.implicit_reward(world, logits, beta=1.0)
    return float(log_ratio[0, 0] - log_ratio[0, 1])


class TestPairs:
    def test_by_hand(self):
        # mu = ref = (0.3, 0.7), p = 0.9: chosen and rejected as ab weigh
        # 2 * 0.21 * 0.9, as ba 2 * 0.21 * 0.1, each with itself 0.09 and 0.49
        world, preference = two(0.9)
        pairs = pair_logps(world, jnp.zeros((1, 2)), preference=preference)
        np.testing.assert_allclose(pairs.weight, [0.09, 0.378, 0.042, 0.49])
        np.testing.assert_allclose(pairs.chosen, np.full(4, np.log(0.5)))
        np.testing.assert_allclose(pairs.ref_chosen, np.log([0.3, 0.3, 0.7, 0.7]))
        np.testing.assert_allclose(pairs.ref_rejected, np.log([0.3, 0.7, 0.3, 0.7]))

    def test_sampling_weighs_and_gets_no_gradient(self):
        loss = lambda *logps: dpo(*logps, beta=BETA)
        weight = pair_logps(WORLD, POLICY, sampling=POLICY).weight
        np.testing.assert_allclose(weight.sum(), 1.0)
        assert (weight != pair_logps(WORLD, POLICY).weight).any()
        total = lambda mu: expected_loss(WORLD, POLICY, loss, sampling=mu)
        np.testing.assert_array_equal(jax.grad(total)(POLICY), 0.0)


class TestDpo:
    @pytest.mark.parametrize("sampling", [None, POLICY])
    def test_reaches_the_optimum(self, sampling):
        # the mean loss of a pair is the cross-entropy of s(beta m) and p = s(r_a -
        # r_b), least where beta m = r_a - r_b: for all pairs at once that is pi*,
        # however they were drawn
        loss = lambda *logps: dpo(*logps, beta=BETA)
        learnt = learn(loss, sampling=sampling)
        np.testing.assert_allclose(
            learnt, tabular.optimal_policy(WORLD, beta=BETA), atol=1e-6
        )
        reward = tabular.implicit_reward(WORLD, learnt, beta=BETA)
        np.testing.assert_allclose(np.ptp(reward - WORLD.reward, axis=1), 0, atol=1e-6)

    def test_reaches_it_by_adam_too(self):
        loss = lambda *logps: dpo(*logps, beta=BETA)
        total = lambda x: expected_loss(WORLD, x, loss)
        found = fit(total, WORLD.reference, steps=3000, learning_rate=0.1)
        best = tabular.optimal_policy(WORLD, beta=BETA)
        np.testing.assert_allclose(tabular.log_policy(found), best, atol=1e-3)

    def test_a_reward_model_recovers_the_reward(self):
        # the same with scores in place of beta log(pi / ref); logits are scores here,
        # since differences of log-probs are those of logits
        scores = learn(lambda a, b, *_: bradley_terry(a, b))
        np.testing.assert_allclose(np.ptp(scores - WORLD.reward, axis=1), 0, atol=1e-6)

    @pytest.mark.parametrize("p", [0.8, 1.0])
    def test_smoothed_labels_have_a_finite_optimum(self, p):
        # (1 - e) L(m) + e L(-m) of labels p is L of labels q = (1 - e) p + e (1 - p):
        # beta m = log(q / (1 - q)), at most log((1 - e) / e) even when p = 1
        world, preference = two(p)
        loss = lambda *logps: dpo(*logps, beta=BETA, label_smoothing=0.1)
        learnt = learn(loss, world=world, preference=preference)
        q = 0.9 * p + 0.1 * (1 - p)
        np.testing.assert_allclose(
            BETA * margin(world, learnt), np.log(q / (1 - q)), atol=1e-6
        )

    def test_certain_labels_have_none(self):
        # p = 1: d loss / d m = -beta s(-beta m), which is 0 nowhere; so m only grows
        world, preference = two(1.0)
        loss = lambda *logps: dpo(*logps, beta=BETA)
        total = lambda x: expected_loss(world, x, loss, preference=preference)
        for m in (0.0, 5.0, 20.0):
            logits = world.reference + jnp.array([[m, 0.0]])
            slope = jax.grad(total)(logits)[0, 0]
            # two answers weigh 2 * 0.21
            expected = -0.42 * BETA / (1 + np.exp(BETA * m))
            np.testing.assert_allclose(slope, expected, rtol=1e-9)

    def test_robust_dpo_undoes_wrong_labels_and_dpo_does_not(self):
        # flips at rate e: E[(1 - e) L(m) - e L(-m)] / (1 - 2 e) is, of a right label,
        # [(1 - e) ((1 - e) L(m) - e L(-m)) + e ((1 - e) L(-m) - e L(m))] / (1 - 2 e)
        # = L(m) ((1 - e)^2 - e^2) / (1 - 2 e) = L(m)
        e = 0.2
        noisy = tabular.flip_labels(tabular.preference_probability(WORLD), rate=e)
        plain = lambda *logps: dpo(*logps, beta=BETA)
        robust = lambda *logps: robust_dpo(*logps, beta=BETA, flip_rate=e)
        np.testing.assert_allclose(
            expected_loss(WORLD, POLICY, robust, preference=noisy),
            expected_loss(WORLD, POLICY, plain),
        )
        best = tabular.optimal_policy(WORLD, beta=BETA)
        learnt = learn(robust, preference=noisy)
        np.testing.assert_allclose(learnt, best, atol=1e-6)
        fooled = learn(plain, preference=noisy)
        assert np.abs(fooled - best).max() > 0.1
        # wrong labels make people look undecided: it stays nearer to the reference
        assert tabular.kl(WORLD, fooled) < tabular.kl(WORLD, best) / 2


class TestIpo:
    TAU = 0.3

    def test_of_two_answers(self):
        # p (m - c)^2 + (1 - p) (-m - c)^2 with c = 1 / (2 tau) is least at
        # m = c (2 p - 1) = (p - 1/2) / tau, finite even when p = 1
        for p in (0.8, 1.0):
            world, preference = two(p)
            loss = lambda *logps: ipo(*logps, tau=self.TAU)
            learnt = learn(loss, world=world, preference=preference)
            np.testing.assert_allclose(
                margin(world, learnt), (p - 0.5) / self.TAU, atol=1e-6
            )

    @pytest.mark.parametrize("sampling", [None, POLICY])
    def test_reaches_its_published_optimum(self, sampling):
        # with f = log(pi / ref): d/d f_a of the mean over a, b of mu is, up to a
        # factor, sum over b of mu_b [(f_a - f_b) - c (2 P_ab - 1)] = 0, so that f_a =
        # 2 c * (sum over b of mu_b P_ab) + a constant: pi* = ref exp(P(a > mu) / tau) /
        # Z, which maximises P(. > mu) - tau KL; for any preferences, here with cycles
        strength = 2 * jax.random.normal(jax.random.key(3), (3, 4, 4))
        preference = jax.nn.sigmoid(strength - strength.swapaxes(1, 2))
        mu = jnp.exp(
            tabular.log_policy(WORLD.reference if sampling is None else POLICY)
        )
        wins = jnp.einsum("pab,pb->pa", preference, mu)
        best = tabular.optimal_policy(
            dataclasses.replace(WORLD, reward=wins), beta=self.TAU
        )
        loss = lambda *logps: ipo(*logps, tau=self.TAU)
        learnt = learn(loss, sampling=sampling, preference=preference)
        np.testing.assert_allclose(learnt, best, atol=1e-6)


class TestKto:
    """Each pair split in two: the chosen answer is desirable, the rejected is not."""

    @staticmethod
    def loss(kl, **weights):
        def split(chosen, rejected, ref_chosen, ref_rejected):
            up = jnp.ones(chosen.shape, bool)
            knobs = {"beta": BETA, **weights}
            liked = kto(chosen, ref_chosen, up, kl, **knobs)
            return liked + kto(rejected, ref_rejected, ~up, kl, **knobs)

        return split

    @pytest.mark.parametrize("kl", [0.0, 0.7])
    def test_gradient_of_two_answers(self, kl):
        # with u = s(beta (log-ratio - kl)): a preferred costs (1 - u_a) + u_b, b
        # preferred (1 - u_b) + u_a; p of one and 1 - p of the other make 1 - (2 p - 1)
        # (u_a - u_b). So p is a factor: 0 at p = 1/2, the direction the same above it
        logits = jnp.array([[0.4, -0.3]])

        def by(p):
            world, preference = two(p)
            total = lambda x: expected_loss(
                world, x, self.loss(kl), preference=preference
            )
            return jax.grad(total)(logits)

        np.testing.assert_allclose(by(0.5), 0.0, atol=1e-14)
        np.testing.assert_allclose(by(0.6) / 0.2, by(0.9) / 0.8, rtol=1e-9)
        assert by(0.6)[0, 0] < 0 < by(0.6)[0, 1]

    def test_ends_at_the_majority_not_at_the_optimum(self):
        # nothing balances u_a - u_b before pi(a) = 1: a preference of 0.6 is taken as
        # far as it goes, and where DPO stops it has a slope still
        world, preference = two(0.6)
        total = lambda x: expected_loss(world, x, self.loss(0.0), preference=preference)
        found = fit(total, world.reference, steps=2000, learning_rate=0.1)
        assert jnp.exp(tabular.log_policy(found))[0, 0] > 0.99
        stops = learn(
            lambda *logps: dpo(*logps, beta=BETA), world=world, preference=preference
        )
        np.testing.assert_allclose(BETA * margin(world, stops), np.log(1.5), atol=1e-6)
        assert np.exp(stops[0, 0]) < 0.5
        assert jax.grad(total)(stops)[0, 0] < -1e-3

    def test_weights_move_the_majority(self):
        # with weights d and w, u_a has the factor -(p d - (1 - p) w), and u_b the
        # factor p w - (1 - p) d; at p = 0.6, d = 2, w = 3 the first is 0, the second 1
        world, preference = two(0.6)
        loss = self.loss(0.0, desirable_weight=2.0, undesirable_weight=3.0)
        pairs = pair_logps(world, world.reference, preference=preference)
        *logps, weight = pairs
        mean = lambda logps: jnp.sum(weight * loss(*logps, *pairs[2:4]))
        by_chosen, by_rejected = jax.grad(mean)(tuple(logps[:2]))
        # a is chosen in pair 1, rejected in pair 2
        np.testing.assert_allclose(by_chosen[1] + by_rejected[2], 0.0, atol=1e-14)
        # 2 * 0.21 * beta s'(0)
        expected = 0.42 * BETA / 4
        np.testing.assert_allclose(by_chosen[2] + by_rejected[1], expected)


# D_f(pi || ref) = mean over ref of f(u), u = pi / ref, with the score f'(u)
DIVERGENCES = {
    "reverse_kl": (reverse_kl_score, lambda u: u * jnp.log(u)),
    "forward_kl": (forward_kl_score, lambda u: -jnp.log(u)),
    "jensen_shannon": (
        jensen_shannon_score,
        lambda u: u * jnp.log(u) - (1 + u) * jnp.log((1 + u) / 2),
    ),
    "alpha": (alpha_score(0.5), lambda u: (u**0.5 - 0.5 * u - 0.5) / (0.5 * -0.5)),
}


@pytest.mark.parametrize("name", quick.only(["jensen_shannon"], DIVERGENCES))
def test_f_dpo_reaches_the_optimum_of_its_divergence(name):
    # at the maximum of E[r] - beta D_f, r - beta f'(u) is constant per prompt (the
    # multiplier of sum pi = 1); so beta [f'(u_a) - f'(u_b)] = r_a - r_b, where the mean
    # loss of each pair is least
    score, f = DIVERGENCES[name]

    def lack(logits):
        log_ratio = tabular.implicit_reward(WORLD, logits, beta=1.0)
        divergence = tabular.expectation(WORLD, WORLD.reference, f(jnp.exp(log_ratio)))
        return BETA * divergence - tabular.expected_reward(WORLD, logits)

    best = tabular.log_policy(minimize(lack, WORLD.reference))
    np.testing.assert_allclose(jax.grad(lack)(best), 0.0, atol=1e-6)
    learnt = learn(lambda *logps: f_dpo(*logps, beta=BETA, score=score))
    np.testing.assert_allclose(learnt, best, atol=1e-4)
    same = np.allclose(best, tabular.optimal_policy(WORLD, beta=BETA), atol=1e-2)
    assert same == (name == "reverse_kl")


def test_fit_and_minimise_may_be_jitted_and_mapped():
    # a parabola per beta, least at beta
    betas = jnp.array([1.0, 2.0])
    for find in (
        lambda loss: minimize(loss, jnp.zeros(2), steps=5),
        lambda loss: fit(loss, jnp.zeros(2), steps=500, learning_rate=0.1),
    ):
        at = lambda b, find=find: find(lambda x: jnp.sum((x - b) ** 2))
        found = jax.jit(jax.vmap(at))(betas)
        np.testing.assert_allclose(found, [[1.0, 1.0], [2.0, 2.0]], atol=1e-4)
