"""Baselines of groups: by hand, shifts and scales, degenerate groups, gradients."""

import inspect

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxalign.estimators import baselines

REWARDS = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
BASELINES = {
    "group_centered": baselines.group_centered,
    "group_normalized": baselines.group_normalized,
    "leave_one_out": baselines.leave_one_out,
    "reinforce_plus_plus_baseline": baselines.reinforce_plus_plus_baseline,
}


def test_by_hand():
    # groups (0, 2, 4) and (1, 1, 4): means 2 and 2
    rewards = np.float32([[0, 2, 4], [1, 1, 4]])
    centered = np.array([[-2.0, 0, 2], [-1, -1, 2]])
    # sums of squares 8 and 6, over N - 1 = 2: deviations 2 and sqrt 3
    scaled = centered / np.array([[2.0], [np.sqrt(3)]])
    # others' means: 3, 2, 1 and 5/2, 5/2, 1
    left_out = np.array([[-3.0, 0, 3], [-1.5, -1.5, 3]])
    # mean 2 of all six, squares 8 + 6, over 6
    total = centered / np.sqrt(14 / 6)
    np.testing.assert_allclose(baselines.group_centered(rewards), centered, atol=1e-6)
    actual = baselines.group_normalized(rewards, eps=0.0)
    np.testing.assert_allclose(actual, scaled, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(baselines.leave_one_out(rewards), left_out, atol=1e-6)
    actual = baselines.reinforce_plus_plus_baseline(rewards)
    np.testing.assert_allclose(actual, total, rtol=1e-5)


def test_leave_one_out_leaves_one_out():
    actual = baselines.leave_one_out(REWARDS)
    for i in range(4):
        others = np.delete(REWARDS, i, axis=1).mean(axis=1)
        np.testing.assert_allclose(actual[:, i], REWARDS[:, i] - others, rtol=1e-5)


def test_eps_by_hand():
    # deviation of (0, 2): sqrt 2; (0 - 1) / (sqrt 2 + 0.5)
    actual = baselines.group_normalized(np.float32([[0, 2]]), eps=0.5)
    one = 1 / (np.sqrt(2) + 0.5)
    np.testing.assert_allclose(actual, [[-one, one]], rtol=1e-6)


@pytest.mark.parametrize("name", BASELINES)
def test_what_prompts_add_does_not_matter(name):
    # float32: rewards of 4 with steps of 2^-21, once more for their means
    shifted = REWARDS + np.float32([[4], [-2], [1]])
    actual, expected = BASELINES[name](shifted), BASELINES[name](REWARDS)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.sum(actual, axis=1), 0.0, atol=1e-5)


@pytest.mark.parametrize(
    "name", [n for n in BASELINES if n not in ("group_centered", "leave_one_out")]
)
def test_units_of_reward_do_not_matter(name):
    # but for eps: 1e-4 beside deviations near 1
    actual, expected = BASELINES[name](7 * REWARDS), BASELINES[name](REWARDS)
    np.testing.assert_allclose(actual, expected, rtol=1e-3)


def test_scale_of_a_group_and_of_the_batch():
    # one prompt has answers 100 apart, the other 1 apart: GRPO makes them alike,
    # REINFORCE++ does not
    rewards = np.float32([[0, 100], [0, 1]])
    spread = lambda f: np.ptp(f(rewards), axis=1)
    groups = spread(baselines.group_normalized)
    np.testing.assert_allclose(groups[0], groups[1], rtol=1e-3)
    batch = spread(baselines.reinforce_plus_plus_baseline)
    np.testing.assert_allclose(batch[0], 100 * batch[1], rtol=1e-4)


@pytest.mark.parametrize("name", BASELINES)
def test_equal_rewards_say_nothing(name):
    # 0.5 is exact in float32, so that deviations are 0, not rounding over eps
    total = lambda r: jnp.sum(BASELINES[name](r) * REWARDS)
    equal = np.full((3, 4), 0.5, np.float32)
    np.testing.assert_array_equal(BASELINES[name](equal), 0.0)
    with jax.debug_nans(True):
        chex.assert_tree_all_finite(jax.grad(total)(equal))


@pytest.mark.parametrize("name", BASELINES)
def test_a_group_of_one_is_refused(name):
    with pytest.raises(ValueError, match="needs at least 2 samples per prompt, not 1"):
        BASELINES[name](REWARDS[:, :1])


@pytest.mark.parametrize("name", BASELINES)
def test_gradients_agree_with_finite_differences(name):
    # float64: central differences of step 1e-6 are exact to about 1e-10 / 1e-6
    with jax.enable_x64(True):
        wide = (jnp.asarray(REWARDS, jnp.float64),)
        check_grads(BASELINES[name], wide, 1, ["rev"], atol=1e-4, rtol=1e-4, eps=1e-6)


@pytest.mark.parametrize("name", BASELINES)
def test_eager_equals_jit_and_extremes_are_finite(name):
    function = BASELINES[name]
    chex.assert_trees_all_close(
        jax.jit(function)(REWARDS), function(REWARDS), rtol=1e-5, atol=1e-6
    )
    far = np.float32([[1e4, -1e4], [-1e4, -1e4]])
    total = lambda r: jnp.sum(function(r) ** 2)
    chex.assert_tree_all_finite(jax.value_and_grad(total)(far))


@pytest.mark.parametrize("name", BASELINES)
def test_public_form(name):
    """An equation, a source and a doctest, for each."""
    text = inspect.getdoc(BASELINES[name])
    assert "Reference: " in text and ">>> " in text and " = " in text
