"""The exact world: its closed forms, each against another way to the same number.

What losses do in it is in test_exact_losses.py. Everything is in float64.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxalign.estimators.kl import kl_k1, kl_k2, kl_k3
from jaxalign.evaluation import tabular

with jax.enable_x64(True):
    WORLD = tabular.random_bandit(jax.random.key(0), prompts=3, answers=4)
    POLICY = jax.random.normal(jax.random.key(1), (3, 4))
BETA = 0.5


@pytest.fixture(autouse=True)
def float64():
    """Derivations hold to rounding, so let rounding be small."""
    with jax.enable_x64(True):
        yield


def two(*, reward=(0.0, 0.0), reference=(0.0, 0.0)):
    """One prompt and two answers, for arithmetic by hand."""
    one_row = lambda x: jnp.asarray([x], jnp.float64)
    return tabular.Bandit(one_row(reward), one_row(reference), jnp.ones(1))


def test_by_hand():
    # pi = (1/4, 3/4), ref = (1/2, 1/2), r = (0, log 3)
    world = two(reward=(0.0, np.log(3.0)))
    logits = jnp.log(jnp.array([[0.25, 0.75]]))
    reward = 0.75 * np.log(3.0)
    divergence = 0.25 * np.log(0.5) + 0.75 * np.log(1.5)
    np.testing.assert_allclose(tabular.expected_reward(world, logits), reward)
    np.testing.assert_allclose(tabular.kl(world, logits), divergence)
    found = tabular.objective(world, logits, beta=BETA)
    np.testing.assert_allclose(found, reward - BETA * divergence)
    # beta 1: pi* = (1, 3) / 4, that very policy
    np.testing.assert_allclose(tabular.optimal_policy(world, beta=1.0), logits)
    # sigmoid(log 3) = 3/4
    preference = tabular.preference_probability(world)
    np.testing.assert_allclose(preference, [[[0.5, 0.25], [0.75, 0.5]]])
    # wins: 3/4 of 3/4 * (1/2 * 3/4 + 1/2 * 1/2) + 1/4 * (1/2 * 1/2 + 1/2 * 1/4)
    wins = 0.75 * 0.625 + 0.25 * 0.375
    np.testing.assert_allclose(tabular.win_rate(world, logits, world.reference), wins)
    found = tabular.flip_labels(preference, rate=0.2)
    np.testing.assert_allclose(found, [[[0.5, 0.35], [0.65, 0.5]]])


def test_a_random_world():
    np.testing.assert_allclose(WORLD.prompts.sum(), 1.0)
    np.testing.assert_allclose(jnp.exp(tabular.log_policy(POLICY)).sum(axis=1), 1.0)
    assert WORLD.reward.dtype == jnp.float64
    # three keys: rewards are not the logits
    assert (WORLD.reward != WORLD.reference).all()


def test_the_optimum_is_where_the_objective_is_flat_and_beta_log_z():
    at = lambda logits: tabular.objective(WORLD, logits, beta=BETA)
    best, slope = jax.value_and_grad(at)(tabular.optimal_policy(WORLD, beta=BETA))
    np.testing.assert_allclose(slope, 0.0, atol=1e-12)
    # r = beta log(pi* / ref) + beta log Z: of E[r] - beta KL, E[beta log Z] is left
    terms = tabular.log_policy(WORLD.reference) + WORLD.reward / BETA
    log_z = jax.nn.logsumexp(terms, axis=1)
    np.testing.assert_allclose(best, BETA * jnp.sum(WORLD.prompts * log_z))
    # and what any policy lacks is beta times its divergence from the optimum
    ideal = dataclasses.replace(
        WORLD, reference=tabular.optimal_policy(WORLD, beta=BETA)
    )
    np.testing.assert_allclose(best - at(POLICY), BETA * tabular.kl(ideal, POLICY))


def test_the_optimum_goes_from_the_best_answer_to_the_reference():
    greedy = jnp.exp(tabular.optimal_policy(WORLD, beta=1e-3))
    np.testing.assert_array_equal(greedy.argmax(axis=1), WORLD.reward.argmax(axis=1))
    np.testing.assert_allclose(greedy.max(axis=1), 1.0, atol=1e-6)
    lazy = tabular.optimal_policy(WORLD, beta=1e9)
    np.testing.assert_allclose(lazy, tabular.log_policy(WORLD.reference), atol=1e-8)


def test_implicit_reward_inverts_the_optimum():
    found = tabular.implicit_reward(
        WORLD, tabular.optimal_policy(WORLD, beta=BETA), beta=BETA
    )
    np.testing.assert_allclose(np.ptp(found - WORLD.reward, axis=1), 0.0, atol=1e-12)


def test_a_constant_per_prompt_does_not_matter():
    shift = jnp.array([[1.0], [-2.0], [3.0]])
    for f in (tabular.expected_reward, tabular.kl, tabular.policy_gradient):
        np.testing.assert_allclose(
            f(WORLD, POLICY + shift), f(WORLD, POLICY), atol=1e-12
        )


def test_the_policy_gradient_is_that_of_the_expected_reward():
    found = tabular.policy_gradient(WORLD, POLICY)
    expected = jax.grad(tabular.expected_reward, 1)(WORLD, POLICY)
    np.testing.assert_allclose(found, expected, atol=1e-14)


def test_win_rates_of_two_policies_sum_to_1():
    ours = tabular.win_rate(WORLD, POLICY, WORLD.reference)
    theirs = tabular.win_rate(WORLD, WORLD.reference, POLICY)
    np.testing.assert_allclose(ours + theirs, 1.0)
    assert (
        tabular.win_rate(WORLD, tabular.optimal_policy(WORLD, beta=BETA), POLICY) > 0.5
    )


class TestKlEstimators:
    """What k1, k2 and k3 estimate, and pull towards (Schulman 2020)."""

    def mean(self, estimator, logits, sampling):
        """Over answers of a policy that gets no gradient, as in training."""
        log_ratio = (tabular.log_policy(logits), tabular.log_policy(WORLD.reference))
        held = jax.lax.stop_gradient(sampling)
        return tabular.expectation(WORLD, held, estimator(*log_ratio))

    def test_values(self):
        k1, k2, k3 = (self.mean(f, POLICY, POLICY) for f in (kl_k1, kl_k2, kl_k3))
        np.testing.assert_allclose([k1, k3], tabular.kl(WORLD, POLICY))
        assert abs(k2 - k1) > 0.01

    def test_gradients(self):
        by = lambda f: jax.grad(lambda x: self.mean(f, x, x))(POLICY)
        # E[grad log pi] = 0
        np.testing.assert_allclose(by(kl_k1), 0.0, atol=1e-14)
        # E[d grad log pi] = sum of pi (d - KL) grad logits: that of KL(pi || ref)
        reverse = jax.grad(tabular.kl, 1)(WORLD, POLICY)
        np.testing.assert_allclose(by(kl_k2), reverse, atol=1e-14)
        # E[(1 - ref / pi) grad log pi] = -sum of ref grad log pi: of KL(ref || pi)
        swapped = lambda x: tabular.kl(
            dataclasses.replace(WORLD, reference=x), WORLD.reference
        )
        forward = jax.grad(swapped)(POLICY)
        np.testing.assert_allclose(by(kl_k3), forward, atol=1e-14)

    def test_k1_inside_the_reward_is_the_gradient_of_the_objective(self):
        # detached, it is a reward: grad E[r - beta k1] with k1 fixed is grad E[r] -
        # beta E[k1 grad log pi], and E[grad k1] adds nothing
        k1 = kl_k1(tabular.log_policy(POLICY), tabular.log_policy(WORLD.reference))
        penalised = dataclasses.replace(WORLD, reward=WORLD.reward - BETA * k1)
        found = tabular.policy_gradient(penalised, POLICY)
        climb = jax.grad(lambda x: tabular.objective(WORLD, x, beta=BETA))(POLICY)
        np.testing.assert_allclose(found, climb, atol=1e-14)


FUNCTIONS = {
    "log_policy": lambda world, x: tabular.log_policy(x),
    "expected_reward": tabular.expected_reward,
    "kl": tabular.kl,
    "objective": lambda world, x: tabular.objective(world, x, beta=BETA),
    "optimum": lambda world, x: tabular.optimal_policy(world, beta=BETA),
    "implicit_reward": lambda world, x: tabular.implicit_reward(world, x, beta=BETA),
    "preference_probability": lambda world, x: tabular.preference_probability(world),
    "policy_gradient": tabular.policy_gradient,
    "win_rate": lambda world, x: tabular.win_rate(world, x, world.reference),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_jit_vmap_and_grad(name):
    function = FUNCTIONS[name]
    eager = function(WORLD, POLICY)
    np.testing.assert_allclose(jax.jit(function)(WORLD, POLICY), eager, atol=1e-12)
    # many worlds at a time
    keys = jax.random.split(jax.random.key(2), 2)
    make = lambda key: tabular.random_bandit(key, prompts=3, answers=4)
    worlds = [make(key) for key in keys]
    mapped = jax.vmap(lambda key: function(make(key), POLICY))(keys)
    np.testing.assert_allclose(
        mapped, jnp.stack([function(w, POLICY) for w in worlds]), atol=1e-12
    )
    total = lambda world, x: jnp.sum(jnp.sin(function(world, x)))
    for gradient in jax.tree.leaves(jax.grad(total, (0, 1))(WORLD, POLICY)):
        assert np.isfinite(gradient).all()


def test_betas_may_be_mapped():
    betas = jnp.array([0.1, 1.0, 10.0])
    best = lambda beta: tabular.expected_reward(
        WORLD, tabular.optimal_policy(WORLD, beta=beta)
    )
    assert (jnp.diff(jax.vmap(best)(betas)) < 0).all()
