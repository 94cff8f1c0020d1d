"""Advantages: against a loop, closed forms, and answers that end in every way.

Tolerances: 1e-6 is a few roundings of one float32; 1e-5 is for sums over a row (or
1 / (1 - x), which magnifies them), and an absolute one where terms cancel to 0.
"""

import inspect

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxalign import estimators
from jaxalign.estimators import advantages

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
ROLLOUT = (REWARDS, VALUES, MASK)


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


BOTH = pytest.mark.parametrize("gae", [advantages.gae, advantages.gae_associative])


@BOTH
@pytest.mark.parametrize(
    "gamma, lam", [(1.0, 0.95), (0.9, 0.5), (1.0, 1.0), (1.0, 0.0)]
)
def test_scan_equals_loop(gae, gamma, lam):
    actual, returns = gae(REWARDS, VALUES, MASK, gamma=gamma, lam=lam)
    expected = loop(gamma, lam)
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        returns, np.where(MASK, expected + VALUES, 0.0), rtol=1e-5, atol=1e-6
    )


def test_lambda_1_is_the_sum_of_rewards_less_the_value():
    actual, _ = estimators.gae(REWARDS, VALUES, MASK, gamma=1.0, lam=1.0)
    masked = np.where(MASK, REWARDS, 0.0)
    later = masked[:, ::-1].cumsum(axis=1)[:, ::-1]
    np.testing.assert_allclose(
        actual, np.where(MASK, later - VALUES, 0.0), rtol=1e-5, atol=1e-5
    )


@BOTH
def test_by_hand_with_the_end_token_first(gae):
    # one token, reward 2, value 0.5: delta = 1.5, whatever stands beside it
    actual, returns = gae(
        np.float32([[9.0, 2.0, 9.0]]),
        np.float32([[9.0, 0.5, 9.0]]),
        np.array([[False, True, False]]),
        gamma=1.0,
        lam=0.95,
    )
    np.testing.assert_allclose(actual, [[0.0, 1.5, 0.0]])
    np.testing.assert_allclose(returns, [[0.0, 2.0, 0.0]])


@BOTH
def test_padding_and_nan_in_it_change_nothing(gae):
    wide = lambda x, fill: np.pad(x, ((0, 0), (0, 3)), constant_values=fill)
    more = gae(
        wide(REWARDS, np.nan),
        wide(VALUES, np.nan),
        wide(MASK, False),
        gamma=1.0,
        lam=0.9,
    )
    less = gae(REWARDS, VALUES, MASK, gamma=1.0, lam=0.9)
    cut = jax.tree.map(lambda x: x[:, :-3], more)
    # bit for bit, but for prefix sums: those of 9 tokens group other than those of 6
    rounding = 0.0 if gae is advantages.gae else 1e-6
    chex.assert_trees_all_close(cut, less, rtol=rounding, atol=rounding)


@BOTH
def test_a_lambda_for_each_answer(gae):
    lam = np.float32([0.0, 0.5, 0.9, 1.0])
    actual = gae(REWARDS, VALUES, MASK, gamma=0.9, lam=lam)
    for b in range(4):
        row = slice(b, b + 1)
        single = gae(REWARDS[row], VALUES[row], MASK[row], gamma=0.9, lam=float(lam[b]))
        mine = jax.tree.map(lambda x, row=row: x[row], actual)
        chex.assert_trees_all_close(mine, single, rtol=1e-6)


def test_associative_has_no_loop():
    hyperparameters = {"gamma": 1.0, "lam": 0.95}
    text = lambda gae: str(
        jax.make_jaxpr(lambda *x: gae(*x, **hyperparameters))(*ROLLOUT)
    )
    assert "scan[" in text(advantages.gae)
    assert "scan[" not in text(advantages.gae_associative)
    assert "while[" not in text(advantages.gae_associative)


@pytest.mark.slow
def test_associative_of_many_tokens():
    # 1000 tokens: the sums of float32 in another order
    rng = np.random.default_rng(1)
    rewards, values = rng.normal(size=(2, 2, 1000)).astype(np.float32)
    mask = np.arange(1000) < np.array([[1000], [777]])
    hyperparameters = {"gamma": 1.0, "lam": 0.99}
    chex.assert_trees_all_close(
        advantages.gae_associative(rewards, values, mask, **hyperparameters),
        advantages.gae(rewards, values, mask, **hyperparameters),
        rtol=1e-4,
        atol=1e-4,
    )


def test_score_arrives_on_the_last_counted_token():
    score = np.float32([0.7, -1.3, 2.1, 5.0])
    zero = np.zeros(MASK.shape, np.float32)
    actual = estimators.kl_penalized_rewards(score, zero, zero, MASK, beta=0.1)
    expected = np.zeros(MASK.shape)
    expected[0, 3], expected[1, 5], expected[2, 3] = 0.7, -1.3, 2.1
    # 0.7 arrives as 0.7, and the empty answer gets nothing
    np.testing.assert_allclose(actual, expected, rtol=1e-6)


def test_penalty_on_every_counted_token():
    logp, ref = REWARDS, VALUES
    actual = estimators.kl_penalized_rewards(
        np.zeros(4, np.float32), logp, ref, MASK, beta=0.5
    )
    expected = np.where(MASK, -0.5 * (logp - ref), 0.0)
    np.testing.assert_allclose(actual, expected, rtol=1e-6)


def test_eager_equals_jit_equals_eight_devices():
    hyperparameters = {"gamma": 1.0, "lam": 0.95}
    function = lambda *x: estimators.gae(*x, **hyperparameters)
    eager = function(REWARDS, VALUES, MASK)
    chex.assert_trees_all_close(jax.jit(function)(REWARDS, VALUES, MASK), eager)
    mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    spread = jax.device_put((jnp.asarray(REWARDS), VALUES, MASK), rows)
    chex.assert_trees_all_close(jax.jit(function)(*spread), eager)


def test_length_adaptive_lambda_by_hand():
    # 1 - 1 / (0.05 * 40), 1 - 1 / (0.05 * 2000); 0.05 * 10 < 1, and nothing: 0
    lengths = np.array([40, 2000, 10, 0])
    actual = advantages.length_adaptive_lambda(lengths, alpha=0.05)
    np.testing.assert_allclose(actual, [0.5, 0.99, 0.0, 0.0], rtol=1e-6)
    # what it is for: 1 + lam + lam^2 + ... = alpha * length
    np.testing.assert_allclose(1 / (1 - actual[:2]), [2.0, 100.0], rtol=1e-5)
    by = jax.grad(lambda a: advantages.length_adaptive_lambda(lengths, alpha=a).sum())
    assert np.isfinite(by(0.05))


def test_monte_carlo_by_hand():
    # 1 + 0.5 * (2 + 0.5 * 4) = 3, 2 + 0.5 * 4 = 4, 4; what is masked is not counted
    rewards = np.float32([[9.0, 1.0, 2.0, 4.0, np.nan]])
    mask = np.array([[False, True, True, True, False]])
    actual = advantages.monte_carlo_returns(rewards, mask, gamma=0.5)
    np.testing.assert_allclose(actual, [[0.0, 3.0, 4.0, 4.0, 0.0]])


def test_n_step_by_hand():
    # two rewards, then gamma^2 V, until the answer ends:
    # 1 + 2/2 + 8/4 = 4, 2 + 4/2 + 0 = 4, 4
    rewards = np.float32([[np.nan, 1.0, 2.0, 4.0, np.nan]])
    values = np.float32([[np.nan, 5.0, 7.0, 8.0, np.nan]])
    mask = np.array([[False, True, True, True, False]])
    actual = advantages.n_step_returns(rewards, values, mask, gamma=0.5, n=2)
    np.testing.assert_allclose(actual, [[0.0, 4.0, 4.0, 4.0, 0.0]])


@pytest.mark.parametrize("gamma", [1.0, 0.9])
def test_n_step_from_one_to_all(gamma):
    n_step = lambda n: advantages.n_step_returns(*ROLLOUT, gamma=gamma, n=n)
    # one step is lambda 0, all of them lambda 1 and Monte Carlo, whatever the values
    one, all_ = (
        estimators.gae(*ROLLOUT, gamma=gamma, lam=lam)[1] for lam in (0.0, 1.0)
    )
    np.testing.assert_allclose(n_step(1), one, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(n_step(6), all_, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(n_step(99), n_step(6))
    monte_carlo = advantages.monte_carlo_returns(REWARDS, MASK, gamma=gamma)
    np.testing.assert_allclose(monte_carlo, all_, rtol=1e-5, atol=1e-6)


def test_gae_is_the_mean_of_n_step_advantages():
    # eq. 16: A = (1 - lam) * sum over n >= 1 of lam^(n - 1) * (G^(n) - V); from T on,
    # G^(n) is G^(T), whose weights sum to lam^(T - 1)
    lam, length = 0.7, MASK.shape[1]
    weights = [(1 - lam) * lam ** (n - 1) for n in range(1, length)]
    weights += [lam ** (length - 1)]
    returns = sum(
        w * advantages.n_step_returns(*ROLLOUT, gamma=0.9, n=n)
        for n, w in enumerate(weights, start=1)
    )
    expected = estimators.gae(*ROLLOUT, gamma=0.9, lam=lam)[1]
    np.testing.assert_allclose(returns, expected, rtol=1e-5, atol=1e-6)


def test_no_steps_are_refused():
    with pytest.raises(ValueError, match="must be at least 1, not 0"):
        advantages.n_step_returns(*ROLLOUT, gamma=1.0, n=0)


# Functions of the rewards and values of MASK; the last argument is a hyperparameter.
CASES = {
    "gae": lambda r, v, k=0.7: advantages.gae(r, v, MASK, gamma=k, lam=k)[0],
    "gae_associative": lambda r, v, k=0.7: advantages.gae_associative(
        r, v, MASK, gamma=k, lam=k
    )[0],
    "monte_carlo_returns": lambda r, v, k=0.7: advantages.monte_carlo_returns(
        r + v, MASK, gamma=k
    ),
    "n_step_returns": lambda r, v, k=0.7: advantages.n_step_returns(
        r, v, MASK, gamma=k, n=2
    ),
    "kl_penalized_rewards": lambda r, v, k=0.7: advantages.kl_penalized_rewards(
        r[:, 0], r, v, MASK, beta=k
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_gradients_agree_with_finite_differences(name):
    # float64: central differences of step 1e-6 are exact to about 1e-10 / 1e-6
    with jax.enable_x64(True):
        wide = [jnp.asarray(x, jnp.float64) for x in (REWARDS, VALUES)]
        check_grads(CASES[name], wide, 1, ["rev"], atol=1e-4, rtol=1e-4, eps=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_eager_equals_jit_and_hyperparameters_may_be_mapped(name):
    function = CASES[name]
    eager = [function(REWARDS, VALUES, k) for k in (0.3, 0.9)]
    jitted = jax.jit(function)(REWARDS, VALUES, 0.3)
    chex.assert_trees_all_close(jitted, eager[0], rtol=1e-5, atol=1e-6)
    mapped = jax.vmap(lambda k: function(REWARDS, VALUES, k))(jnp.array([0.3, 0.9]))
    chex.assert_trees_all_close(mapped, jnp.stack(eager), rtol=1e-5, atol=1e-6)
    assert (eager[0] != eager[1]).any()


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("size", [-1e4, 1e4])
def test_extremes_are_finite(name, size):
    far = np.where(np.arange(24).reshape(4, 6) % 2, size, -size).astype(np.float32)
    total = lambda *x: CASES[name](*x).sum()
    chex.assert_tree_all_finite(jax.value_and_grad(total, (0, 1))(far, -far))


@pytest.mark.parametrize("name", [*CASES, "length_adaptive_lambda"])
def test_public_form(name):
    """An equation, a source and a doctest, for each."""
    text = inspect.getdoc(getattr(advantages, name))
    assert "Reference: " in text and ">>> " in text and " = " in text


def test_reinforce_plus_plus_by_hand():
    """Each token pays for its own log-ratio and for those after it, and no other."""
    score = np.array([1.0, -2.0, 0.5, 9.0], np.float32)
    logp, ref_logp = REWARDS, VALUES
    expected = np.zeros(MASK.shape)
    for b, row in enumerate(MASK):
        for t in np.flatnonzero(row):
            k1 = sum((logp - ref_logp)[b, u] for u in np.flatnonzero(row) if u >= t)
            expected[b, t] = score[b] - 0.3 * k1
    counted = expected[MASK]  # of all answers together, token by token
    expected = np.where(MASK, (expected - counted.mean()) / counted.std(), 0.0)
    actual = advantages.reinforce_plus_plus(score, logp, ref_logp, MASK, beta=0.3)
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)
