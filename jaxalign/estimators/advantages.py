"""From scores to what the policy gradient weighs each token by."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxalign.masks import whiten
from jaxalign.types import Array, Bool, Float, Int, Scalar, typed


@typed
def gae(
    rewards: Float[Array, "B T"],
    values: Float[Array, "B T"],
    mask: Bool[Array, "B T"],
    *,
    gamma: Scalar,
    lam: Scalar | Float[Array, "B"],
) -> tuple[Float[Array, "B T"], Float[Array, "B T"]]:
    """Generalised advantage estimation: (advantages, returns), 0 where masked.

    delta_t = r_t + gamma * V_{t+1} - V_t
    A_t = delta_t + gamma * lam * A_{t+1},   returns = A + V

    Args:
      values: of the state before each token; that after the last counted token is 0.
      mask: True on the tokens of the answer, which are next to each other.
      lam: one for all, or one for each answer (see `length_adaptive_lambda`).

    Reference: Schulman et al. 2015, arXiv:1506.02438, eq. 11 and 16.

    >>> ones = jnp.ones((1, 2))
    >>> advantages, returns = gae(ones, 0 * ones, ones > 0, gamma=1.0, lam=1.0)
    >>> returns.tolist()
    [[2.0, 1.0]]
    """
    values = jnp.where(mask, values, 0.0)
    delta = rewards + gamma * shift_left(values) - values

    def back(next_advantage: Array, at: tuple[Array, Array]) -> tuple[Array, Array]:
        delta, counts = at
        advantage = jnp.where(counts, delta + gamma * lam * next_advantage, 0.0)
        return advantage, advantage

    start = jnp.zeros_like(delta[:, 0])
    _, advantages = jax.lax.scan(back, start, (delta.T, mask.T), reverse=True)
    return advantages.T, jnp.where(mask, advantages.T + values, 0.0)


@typed
def gae_associative(
    rewards: Float[Array, "B T"],
    values: Float[Array, "B T"],
    mask: Bool[Array, "B T"],
    *,
    gamma: Scalar,
    lam: Scalar | Float[Array, "B"],
) -> tuple[Float[Array, "B T"], Float[Array, "B T"]]:
    """What `gae` returns, in about log2(T) steps rather than T: for long answers.

    A_t = delta_t + c_t * A_{t+1} is a line in A_{t+1}. Two lines in a row are a line:
    (d', c') then (d, c) = (d + c * d', c * c')
    so that all T of them compose as sums do in a parallel prefix sum.

    Reference: Schulman et al. 2015, arXiv:1506.02438, eq. 11 and 16; Blelloch 1990,
    "Prefix sums and their applications" (recurrences as scans).

    >>> ones = jnp.ones((1, 2))
    >>> _, returns = gae_associative(ones, 0 * ones, ones > 0, gamma=1.0, lam=1.0)
    >>> returns.tolist()
    [[2.0, 1.0]]
    """
    values = jnp.where(mask, values, 0.0)
    delta = jnp.where(mask, rewards + gamma * shift_left(values) - values, 0.0)
    decay = jnp.broadcast_to(jnp.asarray(gamma * lam), mask.shape[:1])
    carry = jnp.where(mask, decay[:, None], 0.0).astype(delta.dtype)

    def compose(later: tuple[Array, Array], now: tuple[Array, Array]) -> Any:
        return now[0] + now[1] * later[0], now[1] * later[1]

    advantages, _ = jax.lax.associative_scan(
        compose, (delta, carry), reverse=True, axis=1
    )
    return advantages, jnp.where(mask, advantages + values, 0.0)


@typed
def length_adaptive_lambda(
    lengths: Int[Array, "B"], *, alpha: Scalar
) -> Float[Array, "B"]:
    """A lambda for each answer, nearer to 1 the longer it is: pass it to `gae`.

    lam = 1 - 1 / (alpha * length)

    so that the weights of the temporal differences, 1 + lam + lam^2 + ..., sum to
    alpha * length. Its authors use it for the policy's advantages alone, with alpha
    0.05, and lam = 1 for the value's returns. An answer so short that alpha * length is
    less than 1 gets 0, where the formula would be negative.

    Reference: Yue et al. 2025, arXiv:2504.05118 (VAPO), "Length-adaptive GAE".

    >>> length_adaptive_lambda(jnp.array([10, 40, 200]), alpha=0.05).tolist()
    [0.0, 0.5, 0.8999999761581421]
    """
    horizon = jnp.asarray(alpha, jnp.float32) * lengths
    return 1.0 - 1.0 / jnp.maximum(horizon, 1.0)


@typed
def monte_carlo_returns(
    rewards: Float[Array, "B T"], mask: Bool[Array, "B T"], *, gamma: Scalar
) -> Float[Array, "B T"]:
    """The discounted sum of rewards from each token on, 0 where masked.

    G_t = r_t + gamma * G_{t+1}

    Reference: Sutton and Barto 2018, eq. 3.9.

    >>> monte_carlo_returns(jnp.ones((1, 3)), jnp.ones((1, 3)) > 0, gamma=0.5).tolist()
    [[1.75, 1.5, 1.0]]
    """
    values = jnp.zeros_like(rewards)
    return gae_associative(rewards, values, mask, gamma=gamma, lam=1.0)[1]


@typed
def n_step_returns(
    rewards: Float[Array, "B T"],
    values: Float[Array, "B T"],
    mask: Bool[Array, "B T"],
    *,
    gamma: Scalar,
    n: int,
) -> Float[Array, "B T"]:
    """n rewards, and the value of where they lead; 0 where masked.

    G_t = r_t + ... + gamma^(n-1) * r_{t+n-1} + gamma^n * V_{t+n}

    which is n backups, G_t = r_t + gamma * G_{t+1}, that begin from G = V. Beyond the
    answer's last token there are no rewards and no value.

    Args:
      n: rewards that are summed; from T on these are Monte Carlo returns.

    Raises:
      ValueError: n is less than 1.

    Reference: Sutton and Barto 2018, eq. 7.1.

    >>> ones = jnp.ones((1, 3))
    >>> n_step_returns(ones, 8 * ones, ones > 0, gamma=0.5, n=2).tolist()
    [[3.5, 1.5, 1.0]]
    """
    if n < 1:
        raise ValueError(f"an n-step return needs n of at least 1, not {n}")

    def backup(returns: Array, _: None) -> tuple[Array, None]:
        return jnp.where(mask, rewards + gamma * shift_left(returns), 0.0), None

    steps = min(n, mask.shape[1])
    return jax.lax.scan(backup, jnp.where(mask, values, 0.0), length=steps)[0]


@typed
def kl_penalized_rewards(
    score: Float[Array, "B"],
    logp: Float[Array, "B T"],
    ref_logp: Float[Array, "B T"],
    mask: Bool[Array, "B T"],
    *,
    beta: Scalar,
) -> Float[Array, "B T"]:
    """Rewards per token: the k1 penalty on each, the score on the last that counts.

    r_t = -beta * (logp_t - ref_logp_t),   + score at the answer's last token

    A row without counted tokens gets none, its score included.

    Reference: Ziegler et al. 2019, arXiv:1909.08593, eq. 2; Ouyang et al. 2022,
    arXiv:2203.02155, eq. 2.

    >>> logp = jnp.array([[-1.0, -1.0, 0.0]])
    >>> mask = jnp.array([[True, True, False]])
    >>> r = kl_penalized_rewards(jnp.ones(1), logp, logp - 1.0, mask, beta=0.5)
    >>> r.tolist()
    [[-0.5, 0.5, 0.0]]
    """
    penalty = jnp.where(mask, -beta * (logp - ref_logp), 0.0)
    return penalty + place_at_last_token(score, mask)


@typed
def reinforce_plus_plus(
    reward: Float[Array, "B"],
    logp: Float[Array, "B T"],
    ref_logp: Float[Array, "B T"],
    mask: Bool[Array, "B T"],
    *,
    beta: Scalar,
) -> Float[Array, "B T"]:
    """The reward less the KL to go, whitened over all tokens; 0 where masked.

    G_t = reward - beta * sum over u >= t of (logp_u - ref_logp_u)
    A_t = (G_t - mean) / std,   of the answer tokens of the whole batch

    What a token does to the KL before it is nothing, so no token pays for that. No
    groups are needed: the whole batch is the baseline. The deviation is the
    population's, as of `whiten`.

    Reference: Hu 2025, arXiv:2501.03262 (REINFORCE++), as the specification of this
    project has it; the paper's text was not at hand.

    >>> logp, mask = jnp.array([[-1.0, -1.0]]), jnp.array([[True, True]])
    >>> found = reinforce_plus_plus(jnp.ones(1), logp, logp - 1.0, mask, beta=0.5)
    >>> found.round(3).tolist()
    [[-1.0, 1.0]]
    """
    rewards = kl_penalized_rewards(reward, logp, ref_logp, mask, beta=beta)
    return whiten(monte_carlo_returns(rewards, mask, gamma=1.0), mask)


@typed
def place_at_last_token(
    x: Float[Array, "B"], mask: Bool[Array, "B T"]
) -> Float[Array, "B T"]:
    """A number a row, put on the last token that counts; 0 elsewhere.

    >>> place_at_last_token(jnp.ones(1), jnp.array([[True, True, False]])).tolist()
    [[0.0, 1.0, 0.0]]
    """
    index = jnp.arange(mask.shape[1])
    last = jnp.max(jnp.where(mask, index[None, :], -1), axis=1)
    return jnp.where(index[None, :] == last[:, None], x[:, None], 0.0)


def shift_left(x: Array) -> Array:
    """What stands at the next token [B T]; 0 after the last."""
    return jnp.pad(x[:, 1:], ((0, 0), (0, 1)))
