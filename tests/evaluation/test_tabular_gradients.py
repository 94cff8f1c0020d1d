"""What each policy gradient is in expectation, over every group that it could draw.

Derivations are beside the tests; everything is in float64.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxalign.estimators.baselines import (
    group_centered,
    group_normalized,
    leave_one_out,
)
from jaxalign.evaluation import tabular
from jaxalign.evaluation.tabular_losses import expected_group_loss
from jaxalign.losses.policy import clipped_surrogate, reinforce

with jax.enable_x64(True):
    WORLD = tabular.random_bandit(jax.random.key(0), prompts=3, answers=4)
    POLICY = jax.random.normal(jax.random.key(1), (3, 4))
    TRUE = tabular.policy_gradient(WORLD, POLICY)
CLIP = {"clip_low": 0.2, "clip_high": 0.2}


@pytest.fixture(autouse=True)
def float64():
    """Derivations hold to rounding, so let rounding be small."""
    with jax.enable_x64(True):
        yield


def ascent(loss, samples, world=WORLD, **about):
    """What an estimator of the policy gradient is, on average, over every group."""
    slope = jax.grad(expected_group_loss, 1)
    return -slope(world, POLICY, loss, samples=samples, **about)


@pytest.mark.parametrize("samples", [1, 2, 3])
def test_reinforce_and_the_surrogate_at_ratio_1(samples):
    # E[r grad log pi] = grad E[r]; at ratio 1, grad ratio = grad log pi, unclipped
    for loss in (
        lambda logp, old, r: reinforce(logp, r),
        lambda logp, old, r: clipped_surrogate(logp, old, r, **CLIP),
    ):
        np.testing.assert_allclose(ascent(loss, samples), TRUE, atol=1e-12)


@pytest.mark.parametrize("samples", [2, 3])
@pytest.mark.parametrize("ratio", [False, True])
def test_baselines(samples, ratio):
    def estimator(advantage):
        if ratio:
            return lambda logp, old, r: clipped_surrogate(
                logp, old, advantage(r), **CLIP
            )
        return lambda logp, old, r: reinforce(logp, advantage(r))

    # the others' mean is independent of the sample: E[b grad log pi] = 0
    rloo = ascent(estimator(leave_one_out), samples)
    np.testing.assert_allclose(rloo, TRUE, atol=1e-12)
    # r - mean is (N - 1) / N of that
    centred = ascent(estimator(group_centered), samples)
    share = (samples - 1) / samples
    np.testing.assert_allclose(centred, share * TRUE, atol=1e-12)


def test_old_samples_with_ratios():
    # E over mu of (pi / mu) r grad log pi = E over pi; clipping breaks it
    wide = {"clip_low": 1.0, "clip_high": 1e9}
    at = {"samples": 1, "sampling": WORLD.reference}
    unclipped = lambda logp, old, r: clipped_surrogate(logp, old, r, **wide)
    np.testing.assert_allclose(ascent(unclipped, **at), TRUE, atol=1e-12)
    clipped = lambda logp, old, r: clipped_surrogate(logp, old, r, **CLIP)
    assert np.abs(ascent(clipped, **at) - TRUE).max() > 1e-2
    plain = lambda logp, old, r: reinforce(logp, r)
    assert np.abs(ascent(plain, **at) - TRUE).max() > 1e-2


def test_scaled_groups_of_two_climb_the_win_rate_instead():
    # two rewards d apart: centred +-d/2, deviation |d| / sqrt 2, so A = +-1 / sqrt
    # 2 by who is better. E[A_1 grad log pi(a)] = E_a[grad log pi(a) E_b[sign(r_a -
    # r_b)]] / sqrt 2: the policy gradient of R(a) = (wins - losses against the
    # policy itself, held fixed) / sqrt 2. Sizes of rewards are lost
    scaled = lambda logp, old, r: reinforce(logp, group_normalized(r, eps=0.0))
    policy = jnp.exp(tabular.log_policy(POLICY))
    sign = jnp.sign(WORLD.reward[:, :, None] - WORLD.reward[:, None, :])
    rank = jnp.einsum("pab,pb->pa", sign, policy) / np.sqrt(2)
    expected = tabular.policy_gradient(dataclasses.replace(WORLD, reward=rank), POLICY)
    found = ascent(scaled, 2)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    # it is not along the true gradient: the cosines of their prompts are below 1
    cosine = np.sum(found * TRUE, axis=1) / np.sqrt(
        np.sum(found**2, axis=1) * np.sum(TRUE**2, axis=1)
    )
    assert (cosine > 0.5).all() and (cosine < 0.999).any()


@pytest.mark.parametrize("samples", [2, 3, 4])
def test_scaled_groups_of_right_and_wrong_are_parallel(samples):
    # rewards 0 and 1: an advantage depends on the own reward and on how many of
    # the others are right, so its mean is u + v r with numbers u, v of the prompt,
    # and u falls out: v times the true gradient. With k of N right the deviation is
    # sqrt(k (N - k) / (N (N - 1))): of a mixed group, 1 / sqrt 2 if N is 2, 1 /
    # sqrt 3 if N is 3, so that v = (N - 1) / N over that, for every prompt
    binary = dataclasses.replace(WORLD, reward=(WORLD.reward > 0).astype(float))
    mixed = np.ptp(binary.reward, axis=1) > 0
    assert mixed.sum() > 1
    true = tabular.policy_gradient(binary, POLICY)[mixed]
    scaled = lambda logp, old, r: reinforce(logp, group_normalized(r, eps=0.0))
    found = ascent(scaled, samples, binary)[mixed]
    factor = jnp.sum(found * true, axis=1) / jnp.sum(true**2, axis=1)
    np.testing.assert_allclose(found, factor[:, None] * true, atol=1e-12)
    if samples < 4:
        share = (samples - 1) / samples
        np.testing.assert_allclose(factor, share * np.sqrt(samples))
    else:
        # 1/2 for k = 1 and 3, more for 2: v is larger where answers are more alike
        right = tabular.log_policy(POLICY)[mixed]
        right = jnp.sum(jnp.exp(right) * binary.reward[mixed], axis=1)
        alike = np.abs(right - 0.5)
        np.testing.assert_array_equal(np.argsort(factor), np.argsort(alike))
        assert np.ptp(factor) > 1e-3
