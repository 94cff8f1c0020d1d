"""From scores to what the policy gradient weighs each token by."""

import jax
import jax.numpy as jnp

from jaxalign.types import Array, Bool, Float, Scalar, typed


@typed
def gae(
    rewards: Float[Array, "B T"],
    values: Float[Array, "B T"],
    mask: Bool[Array, "B T"],
    *,
    gamma: Scalar,
    lam: Scalar,
) -> tuple[Float[Array, "B T"], Float[Array, "B T"]]:
    """Generalised advantage estimation: (advantages, returns), 0 where masked.

    delta_t = r_t + gamma * V_{t+1} - V_t
    A_t = delta_t + gamma * lam * A_{t+1},   returns = A + V

    Args:
      values: of the state before each token; that after the last counted token is 0.
      mask: True on the tokens of the answer, which are next to each other.

    Reference: Schulman et al. 2015, arXiv:1506.02438, eq. 11 and 16.

    >>> ones = jnp.ones((1, 2))
    >>> advantages, returns = gae(ones, 0 * ones, ones > 0, gamma=1.0, lam=1.0)
    >>> returns.tolist()
    [[2.0, 1.0]]
    """
    values = jnp.where(mask, values, 0.0)
    after = jnp.pad(values[:, 1:], ((0, 0), (0, 1)))
    delta = rewards + gamma * after - values

    def back(next_advantage: Array, at: tuple[Array, Array]) -> tuple[Array, Array]:
        delta, counts = at
        advantage = jnp.where(counts, delta + gamma * lam * next_advantage, 0.0)
        return advantage, advantage

    start = jnp.zeros_like(delta[:, 0])
    _, advantages = jax.lax.scan(back, start, (delta.T, mask.T), reverse=True)
    return advantages.T, jnp.where(mask, advantages.T + values, 0.0)


@typed
def kl_penalised_rewards(
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
    >>> r = kl_penalised_rewards(jnp.ones(1), logp, logp - 1.0, mask, beta=0.5)
    >>> r.tolist()
    [[-0.5, 0.5, 0.0]]
    """
    penalty = jnp.where(mask, -beta * (logp - ref_logp), 0.0)
    index = jnp.arange(mask.shape[1])
    last = jnp.max(jnp.where(mask, index[None, :], -1), axis=1)
    final = index[None, :] == last[:, None]
    return penalty + jnp.where(final, score[:, None], 0.0)
