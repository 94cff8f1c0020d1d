"""Per-token rewards, returns and advantages: the weights of a policy gradient.

function                paper                            result
----------------------  -------------------------------  ------------------------------
gae                     Schulman et al. 2015             advantages and returns
gae_associative         the same, as a parallel scan     the same, faster for long rows
length_adaptive_lambda  Yue et al. 2025 (VAPO)           a lambda per answer
monte_carlo_returns     Sutton and Barto 2018            discounted sums of rewards
n_step_returns          Sutton and Barto 2018            n rewards and a value
kl_penalized_rewards    Ziegler et al. 2019              rewards with a KL penalty
reinforce_plus_plus     Hu 2025 (REINFORCE++)            whitened advantages

Rows are answers, right-padded: arrays have the axes [*B T], and `mask` is True on the
answer's tokens, which are adjacent. Rewards, values and advantages share one unit, that
of the reward. Advantages of whole answers are in `baselines`.
"""

from typing import Any

import jax
import jax.numpy as jnp

from jaxalign.masks import whiten
from jaxalign.types import Array, Bool, Float, Int, Scalar, typed


@typed
def gae(
    rewards: Float[Array, "*B T"],
    values: Float[Array, "*B T"],
    mask: Bool[Array, "*B T"],
    *,
    gamma: Scalar,
    lam: Scalar | Float[Array, "*B"],
) -> tuple[Float[Array, "*B T"], Float[Array, "*B T"]]:
    """Generalized advantage estimation (GAE).

    delta_t = r_t + gamma * V_{t+1} - V_t
    A_t = delta_t + gamma * lam * A_{t+1},   returns = A + V

    Args:
      rewards: reward of each token.
      values: value of the state before each token; 0 after the last counted token.
      mask: True on the answer's tokens.
      gamma: discount, in [0, 1].
      lam: lambda, in [0, 1]: one for all, or one per answer
        (`length_adaptive_lambda`).

    Returns:
      (advantages, returns), 0 where masked.

    Reference: Schulman et al. 2015, arXiv:1506.02438, eq. 11 and 16.

    >>> ones = jnp.ones(2)
    >>> advantages, returns = gae(ones, 0 * ones, ones > 0, gamma=1.0, lam=1.0)
    >>> returns.tolist()
    [2.0, 1.0]
    """
    values = jnp.where(mask, values, 0.0)
    delta = rewards + gamma * shift_left(values) - values

    def backward(
        next_advantage: Array, token: tuple[Array, Array]
    ) -> tuple[Array, Array]:
        delta, counts = token
        advantage = jnp.where(counts, delta + gamma * lam * next_advantage, 0.0)
        return advantage, advantage

    start = jnp.zeros_like(delta[..., 0])
    tokens = jnp.moveaxis(delta, -1, 0), jnp.moveaxis(mask, -1, 0)
    _, advantages = jax.lax.scan(backward, start, tokens, reverse=True)
    advantages = jnp.moveaxis(advantages, 0, -1)
    return advantages, jnp.where(mask, advantages + values, 0.0)


@typed
def gae_associative(
    rewards: Float[Array, "*B T"],
    values: Float[Array, "*B T"],
    mask: Bool[Array, "*B T"],
    *,
    gamma: Scalar,
    lam: Scalar | Float[Array, "*B"],
) -> tuple[Float[Array, "*B T"], Float[Array, "*B T"]]:
    """GAE as a parallel scan: about log2(T) steps in place of T, for long answers.

    A_t = delta_t + c_t * A_{t+1} is a line in A_{t+1}. The composition of two lines is
    a line: (d', c') then (d, c) = (d + c * d', c * c')
    so that all T of them compose as sums do in a parallel prefix sum.

    Args:
      rewards, values, mask, gamma, lam: as of `gae`.

    Returns:
      (advantages, returns), 0 where masked, equal to those of `gae` up to rounding.

    Reference: Schulman et al. 2015, arXiv:1506.02438, eq. 11 and 16; Blelloch 1990,
    "Prefix sums and their applications" (recurrences as scans).

    >>> ones = jnp.ones(2)
    >>> _, returns = gae_associative(ones, 0 * ones, ones > 0, gamma=1.0, lam=1.0)
    >>> returns.tolist()
    [2.0, 1.0]
    """
    values = jnp.where(mask, values, 0.0)
    delta = jnp.where(mask, rewards + gamma * shift_left(values) - values, 0.0)
    decay = jnp.broadcast_to(jnp.asarray(gamma * lam), mask.shape[:-1])
    carry = jnp.where(mask, decay[..., None], 0.0).astype(delta.dtype)

    def compose(later: tuple[Array, Array], now: tuple[Array, Array]) -> Any:
        return now[0] + now[1] * later[0], now[1] * later[1]

    advantages, _ = jax.lax.associative_scan(
        compose, (delta, carry), reverse=True, axis=mask.ndim - 1
    )
    return advantages, jnp.where(mask, advantages + values, 0.0)


@typed
def length_adaptive_lambda(
    lengths: Int[Array, "*B"], *, alpha: Scalar
) -> Float[Array, "*B"]:
    """Length-adaptive lambda of GAE, closer to 1 for longer answers.

    lam = 1 - 1 / (alpha * length)

    so that the weights of the temporal differences, 1 + lam + lam^2 + ..., sum to
    alpha * length. Its authors use it for the policy's advantages alone, and lam = 1
    for the value's returns.

    Args:
      lengths: number of tokens of each answer.
      alpha: above 0 (0.05 in the paper).

    Returns:
      One lambda per answer, in [0, 1); 0 where the formula would be negative.

    Reference: Yue et al. 2025, arXiv:2504.05118 (VAPO), "Length-adaptive GAE".

    >>> length_adaptive_lambda([10, 40, 200], alpha=0.05).tolist()
    [0.0, 0.5, 0.8999999761581421]
    """
    horizon = jnp.asarray(alpha, jnp.float32) * lengths
    return 1.0 - 1.0 / jnp.maximum(horizon, 1.0)


@typed
def monte_carlo_returns(
    rewards: Float[Array, "*B T"], mask: Bool[Array, "*B T"], *, gamma: Scalar
) -> Float[Array, "*B T"]:
    """Discounted sum of the rewards from each token on.

    G_t = r_t + gamma * G_{t+1}

    Args:
      rewards: reward of each token.
      mask: True on the answer's tokens.
      gamma: discount, in [0, 1].

    Returns:
      One return per token, 0 where masked.

    Reference: Sutton and Barto 2018, eq. 3.9.

    >>> monte_carlo_returns([1.0, 1.0, 1.0], [True] * 3, gamma=0.5).tolist()
    [1.75, 1.5, 1.0]
    """
    values = jnp.zeros_like(rewards)
    return gae_associative(rewards, values, mask, gamma=gamma, lam=1.0)[1]


@typed
def n_step_returns(
    rewards: Float[Array, "*B T"],
    values: Float[Array, "*B T"],
    mask: Bool[Array, "*B T"],
    *,
    gamma: Scalar,
    n: int,
) -> Float[Array, "*B T"]:
    """n-step returns: n rewards, then the value of the state after them.

    G_t = r_t + ... + gamma^(n-1) * r_{t+n-1} + gamma^n * V_{t+n}

    computed as n backups, G_t = r_t + gamma * G_{t+1}, starting from G = V. Beyond the
    answer's last token there are no rewards and no value.

    Args:
      rewards, values, mask, gamma: as of `gae`.
      n: number of rewards, at least 1; from T on these are Monte Carlo returns.

    Returns:
      One return per token, 0 where masked.

    Raises:
      ValueError: n is less than 1.

    Reference: Sutton and Barto 2018, eq. 7.1.

    >>> ones = jnp.ones(3)
    >>> n_step_returns(ones, 8 * ones, ones > 0, gamma=0.5, n=2).tolist()
    [3.5, 1.5, 1.0]
    """
    if n < 1:
        raise ValueError(f"n of an n-step return must be at least 1, not {n}")

    def backup(returns: Array, _: None) -> tuple[Array, None]:
        return jnp.where(mask, rewards + gamma * shift_left(returns), 0.0), None

    steps = min(n, mask.shape[-1])
    return jax.lax.scan(backup, jnp.where(mask, values, 0.0), length=steps)[0]


@typed
def kl_penalized_rewards(
    score: Float[Array, "*B"],
    logp: Float[Array, "*B T"],
    ref_logp: Float[Array, "*B T"],
    mask: Bool[Array, "*B T"],
    *,
    beta: Scalar,
) -> Float[Array, "*B T"]:
    """Per-token rewards: a KL penalty (k1) on each, the score on the last.

    r_t = -beta * (logp_t - ref_logp_t),   + score at the answer's last token

    Args:
      score: reward of the whole answer.
      logp, ref_logp: log-prob of each token under the policy and the reference, in
        nats.
      mask: True on the answer's tokens.
      beta: KL coefficient, at least 0.

    Returns:
      One reward per token, 0 where masked; a row without tokens gets none.

    Reference: Ziegler et al. 2019, arXiv:1909.08593, eq. 2; Ouyang et al. 2022,
    arXiv:2203.02155, eq. 2.

    >>> logp, mask = jnp.array([-1.0, -1.0, 0.0]), [True, True, False]
    >>> kl_penalized_rewards(1.0, logp, logp - 1.0, mask, beta=0.5).tolist()
    [-0.5, 0.5, 0.0]
    """
    penalty = jnp.where(mask, -beta * (logp - ref_logp), 0.0)
    return penalty + place_at_last_token(score, mask)


@typed
def reinforce_plus_plus(
    reward: Float[Array, "*B"],
    logp: Float[Array, "*B T"],
    ref_logp: Float[Array, "*B T"],
    mask: Bool[Array, "*B T"],
    *,
    beta: Scalar,
) -> Float[Array, "*B T"]:
    """REINFORCE++ advantages: the reward less the KL to go, whitened over all tokens.

    G_t = reward - beta * sum over u >= t of (logp_u - ref_logp_u)
    A_t = (G_t - mean) / std,   of the answer tokens of the whole batch

    A token cannot change the KL before it, and is not charged for it. The whole batch
    is the baseline: no groups are needed. The deviation is the population's, as of
    `whiten`.

    Args:
      reward: reward of the whole answer.
      logp, ref_logp, mask, beta: as of `kl_penalized_rewards`.

    Returns:
      One advantage per token, 0 where masked.

    Reference: Hu 2025, arXiv:2501.03262 (REINFORCE++); not verified against the paper.

    >>> logp = jnp.array([-1.0, -1.0])
    >>> advantages = reinforce_plus_plus(1.0, logp, logp - 1.0, [True] * 2, beta=0.5)
    >>> advantages.round(3).tolist()
    [-1.0, 1.0]
    """
    rewards = kl_penalized_rewards(reward, logp, ref_logp, mask, beta=beta)
    return whiten(monte_carlo_returns(rewards, mask, gamma=1.0), mask)


@typed
def place_at_last_token(
    x: Float[Array, "*B"], mask: Bool[Array, "*B T"]
) -> Float[Array, "*B T"]:
    """One number per row, placed on the last counted token; 0 elsewhere.

    >>> place_at_last_token(1.0, [True, True, False]).tolist()
    [0.0, 1.0, 0.0]
    """
    index = jax.lax.broadcasted_iota(jnp.int32, mask.shape, mask.ndim - 1)
    last = jnp.max(jnp.where(mask, index, -1), axis=-1)
    return jnp.where(index == last[..., None], x[..., None], 0.0)


def shift_left(x: Array) -> Array:
    """The entry of the next token [*B T]; 0 after the last."""
    return jnp.pad(x[..., 1:], [(0, 0)] * (x.ndim - 1) + [(0, 1)])
