"""Advantages: against a loop, closed forms, and answers that end in every way."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxalign import estimators

RNG = np.random.default_rng(0)
# Answers that begin after prompts of 1 to 3 tokens; one ends at T, one has one token
# (its end token at the first place), one is empty, one stops early.
MASK = np.array(
    [
        [0, 1, 1, 1, 0, 0],
        [0, 0, 1, 1, 1, 1],
        [0, 0, 0, 1, 0, 0],
        [0, 0, 0, 0, 0, 0],
    ],
    bool,
)
REWARDS = RNG.normal(size=MASK.shape).astype(np.float32)
VALUES = RNG.normal(size=MASK.shape).astype(np.float32)


def loop(gamma, lam):
    """GAE as the paper writes it, one answer at a time."""
    advantages = np.zeros(MASK.shape)
    for b, row in enumerate(MASK):
        later, next_value = 0.0, 0.0
        for t in np.flatnonzero(row)[::-1]:
            delta = REWARDS[b, t] + gamma * next_value - VALUES[b, t]
            later = delta + gamma * lam * later
            advantages[b, t], next_value = later, VALUES[b, t]
    return advantages


@pytest.mark.parametrize(
    "gamma, lam", [(1.0, 0.95), (0.9, 0.5), (1.0, 1.0), (1.0, 0.0)]
)
def test_scan_equals_loop(gamma, lam):
    found, returns = estimators.gae(REWARDS, VALUES, MASK, gamma=gamma, lam=lam)
    expected = loop(gamma, lam)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        returns, np.where(MASK, expected + VALUES, 0.0), rtol=1e-5, atol=1e-6
    )


def test_lambda_1_is_the_sum_of_rewards_less_the_value():
    found, _ = estimators.gae(REWARDS, VALUES, MASK, gamma=1.0, lam=1.0)
    masked = np.where(MASK, REWARDS, 0.0)
    later = masked[:, ::-1].cumsum(axis=1)[:, ::-1]
    np.testing.assert_allclose(
        found, np.where(MASK, later - VALUES, 0.0), rtol=1e-5, atol=1e-5
    )


def test_by_hand_with_the_end_token_first():
    # one token, reward 2, value 0.5: delta = 1.5, whatever stands beside it
    found, returns = estimators.gae(
        np.float32([[9.0, 2.0, 9.0]]),
        np.float32([[9.0, 0.5, 9.0]]),
        np.array([[False, True, False]]),
        gamma=1.0,
        lam=0.95,
    )
    np.testing.assert_allclose(found, [[0.0, 1.5, 0.0]])
    np.testing.assert_allclose(returns, [[0.0, 2.0, 0.0]])


def test_padding_and_nan_in_it_change_nothing():
    wide = lambda x, fill: np.pad(x, ((0, 0), (0, 3)), constant_values=fill)
    more = estimators.gae(
        wide(REWARDS, np.nan),
        wide(VALUES, np.nan),
        wide(MASK, False),
        gamma=1.0,
        lam=0.9,
    )
    less = estimators.gae(REWARDS, VALUES, MASK, gamma=1.0, lam=0.9)
    chex.assert_trees_all_equal(jax.tree.map(lambda x: x[:, :-3], more), less)


def test_score_arrives_on_the_last_counted_token():
    score = np.float32([0.7, -1.3, 2.1, 5.0])
    zero = np.zeros(MASK.shape, np.float32)
    found = estimators.kl_penalised_rewards(score, zero, zero, MASK, beta=0.1)
    expected = np.zeros(MASK.shape)
    expected[0, 3], expected[1, 5], expected[2, 3] = 0.7, -1.3, 2.1
    # 0.7 arrives as 0.7, and the empty answer gets nothing
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_penalty_on_every_counted_token():
    logp, ref = REWARDS, VALUES
    found = estimators.kl_penalised_rewards(
        np.zeros(4, np.float32), logp, ref, MASK, beta=0.5
    )
    expected = np.where(MASK, -0.5 * (logp - ref), 0.0)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_eager_equals_jit_equals_eight_devices():
    knobs = {"gamma": 1.0, "lam": 0.95}
    function = lambda *x: estimators.gae(*x, **knobs)
    eager = function(REWARDS, VALUES, MASK)
    chex.assert_trees_all_close(jax.jit(function)(REWARDS, VALUES, MASK), eager)
    mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    spread = jax.device_put((jnp.asarray(REWARDS), VALUES, MASK), rows)
    chex.assert_trees_all_close(jax.jit(function)(*spread), eager)
