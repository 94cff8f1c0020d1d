"""Policy-gradient losses: tokens and answers of positive advantage become likelier.

loss                        paper                            ratio, one per
--------------------------  -------------------------------  ------------------------
clipped_surrogate           Schulman et al. 2017 (PPO)       token
dual_clip                   Ye et al. 2020 (dual-clip PPO)   token
reinforce                   Williams 1992                    none (on-policy)
cispo                       MiniMax 2025 (CISPO)             token, as a weight
gspo                        Zheng et al. 2025 (GSPO)         answer, geometric mean
sequence_clipped_surrogate  TRL's RLOO                       answer, product

`truncated_importance_weight` corrects for a sampler that is not exactly the policy.
Log-probs are of single tokens, in nats; the importance ratio is exp(logp - old_logp),
with the log-ratio clamped to [-20, 20]. Old log-probs and advantages get no gradient.
`reduction` sums the terms, `regularizers` has the entropy bonus and the KL loss.
"""

import jax
import jax.numpy as jnp

from jaxalign.estimators.kl import LARGEST_LOG_RATIO
from jaxalign.types import Array, Bool, Float, Scalar, typed


@typed
def clipped_surrogate(
    logp: Float[Array, "*S"],
    old_logp: Float[Array, "*S"],
    advantage: Float[Array, "*S"],
    *,
    clip_low: Scalar,
    clip_high: Scalar,
) -> Float[Array, "*S"]:
    """PPO's clipped surrogate objective, negated.

    ratio = exp(logp - old_logp)
    loss = -min(ratio * advantage, clip(ratio, 1 - clip_low, 1 + clip_high) * advantage)

    Args:
      logp: log-prob of each token under the policy, in nats.
      old_logp: the same under the policy that sampled; no gradient.
      advantage: advantage of each token; no gradient.
      clip_low, clip_high: clip range, at least 0; equal in PPO, while DAPO's upper
        range is wider.

    Returns:
      One term per token, in units of advantage.

    Reference: Schulman et al. 2017, arXiv:1707.06347, eq. 7.

    >>> float(clipped_surrogate(-1.0, -1.0, 3.0, clip_low=0.2, clip_high=0.2))
    -3.0
    """
    old_logp, advantage = jax.lax.stop_gradient((old_logp, advantage))
    log_ratio = jnp.clip(logp - old_logp, -LARGEST_LOG_RATIO, LARGEST_LOG_RATIO)
    ratio = jnp.exp(log_ratio)
    clipped = jnp.clip(ratio, 1.0 - clip_low, 1.0 + clip_high)
    return -jnp.minimum(ratio * advantage, clipped * advantage)


@typed
def dual_clip(
    logp: Float[Array, "*S"],
    old_logp: Float[Array, "*S"],
    advantage: Float[Array, "*S"],
    *,
    clip_low: Scalar,
    clip_high: Scalar,
    max_ratio: Scalar,
) -> Float[Array, "*S"]:
    """Dual-clip PPO, negated: bounded for negative advantages too.

    surrogate = min(ratio * advantage, clip(ratio) * advantage), as `clipped_surrogate`
    loss = -max(surrogate, max_ratio * advantage)    if advantage < 0
         = -surrogate                                if not

    Args:
      logp, old_logp, advantage, clip_low, clip_high: as of `clipped_surrogate`.
      max_ratio: largest ratio for negative advantages, above 1 + clip_high (c = 3 in
        the paper; delta in TRL).

    Returns:
      One term per token, in units of advantage.

    Reference: Ye et al. 2020, arXiv:1912.09729 (dual-clip PPO).

    >>> clip = dict(clip_low=0.2, clip_high=0.2)
    >>> float(dual_clip(3.0, 1.0, -1.0, max_ratio=3.0, **clip))
    3.0
    """
    advantage = jax.lax.stop_gradient(advantage)
    loss = clipped_surrogate(
        logp, old_logp, advantage, clip_low=clip_low, clip_high=clip_high
    )
    bounded = jnp.minimum(loss, -max_ratio * advantage)
    return jnp.where(advantage < 0.0, bounded, loss)


@typed
def reinforce(
    logp: Float[Array, "*S"], advantage: Float[Array, "*S"]
) -> Float[Array, "*S"]:
    """REINFORCE, the policy gradient on samples of the policy itself.

    loss = -advantage * logp

    Args:
      logp: log-prob of each token under the policy, in nats.
      advantage: advantage of each token; no gradient.

    Returns:
      One term per token; only its gradient has a meaning.

    Reference: Williams 1992, "Simple statistical gradient-following algorithms".

    >>> float(reinforce(-2.0, 3.0))
    6.0
    """
    advantage = jax.lax.stop_gradient(advantage)
    return -advantage * logp


@typed
def cispo(
    logp: Float[Array, "*S"],
    old_logp: Float[Array, "*S"],
    advantage: Float[Array, "*S"],
    *,
    clip_low: Scalar,
    clip_high: Scalar,
) -> Float[Array, "*S"]:
    """CISPO: REINFORCE with clipped importance weights.

    weight = clip(exp(logp - old_logp), 1 - clip_low, 1 + clip_high)
    loss = -weight * advantage * logp

    The weight gets no gradient; so a clipped token still has one.

    Args:
      logp, old_logp, advantage: per token, as of `clipped_surrogate`.
      clip_low: at least 0; 1 or more for no lower bound, as in the paper.
      clip_high: at least 0; TRL's `epsilon_high` is 1 + this.

    Returns:
      One term per token; only its gradient has a meaning.

    Reference: MiniMax 2025, arXiv:2506.13585 (CISPO).

    >>> float(cispo(-1.0, -2.0, 1.0, clip_low=1.0, clip_high=0.5))
    1.5
    """
    old_logp, advantage = jax.lax.stop_gradient((old_logp, advantage))
    log_ratio = jnp.clip(logp - old_logp, -LARGEST_LOG_RATIO, LARGEST_LOG_RATIO)
    clipped = jnp.clip(jnp.exp(log_ratio), 1.0 - clip_low, 1.0 + clip_high)
    weight = jax.lax.stop_gradient(clipped)
    return -weight * advantage * logp


@typed
def gspo(
    logp: Float[Array, "*B T"],
    old_logp: Float[Array, "*B T"],
    advantage: Float[Array, "*B"],
    mask: Bool[Array, "*B T"],
    *,
    clip_low: Scalar,
    clip_high: Scalar,
) -> Float[Array, "*B"]:
    """GSPO: the clipped surrogate of a length-normalized sequence ratio, negated.

    ratio = exp(mean over t of (logp - old_logp))
    loss = -min(ratio * advantage, clip(ratio, 1 - clip_low, 1 + clip_high) * advantage)

    Args:
      logp: log-prob of each token under the policy, in nats.
      old_logp: the same under the policy that sampled; no gradient.
      advantage: advantage of each answer; no gradient.
      mask: True on the answer's tokens.
      clip_low, clip_high: clip range, at least 0; small, since a geometric mean moves
        little (3e-4 and 4e-4 in the paper).

    Returns:
      One term per answer, in units of advantage; 0 for an answer without tokens.

    Reference: Zheng et al. 2025, arXiv:2507.18071, eq. 5 to 7.

    >>> logp = jnp.ones(2)
    >>> float(gspo(logp, logp, 1.0, [True, True], clip_low=0.2, clip_high=0.2))
    -1.0
    """
    old_logp = jax.lax.stop_gradient(old_logp)
    length = jnp.sum(mask, axis=-1)
    total = jnp.sum(jnp.where(mask, logp - old_logp, 0.0), axis=-1)
    mean = total / jnp.maximum(length, 1)
    loss = clipped_surrogate(
        mean, jnp.zeros_like(mean), advantage, clip_low=clip_low, clip_high=clip_high
    )
    return jnp.where(length > 0, loss, 0.0)


@typed
def sequence_clipped_surrogate(
    logp: Float[Array, "*B T"],
    old_logp: Float[Array, "*B T"],
    advantage: Float[Array, "*B"],
    mask: Bool[Array, "*B T"],
    *,
    clip_low: Scalar,
    clip_high: Scalar,
) -> Float[Array, "*B"]:
    """The clipped surrogate of an answer's full importance ratio, negated.

    ratio = exp(sum over t of (logp - old_logp))
    loss = -min(ratio * advantage, clip(ratio, 1 - clip_low, 1 + clip_high) * advantage)

    At ratio 1 its gradient is REINFORCE's; in later updates on the same answers, where
    nothing is clipped, it is that of the expected advantage, without bias.

    Args:
      logp, old_logp, advantage, mask: as of `gspo`.
      clip_low, clip_high: clip range, at least 0.

    Returns:
      One term per answer, in units of advantage; 0 for an answer without tokens.

    Reference: TRL's RLOOTrainer, for several updates on a batch; the paper has one,
    without a ratio: Ahmadian et al. 2024, arXiv:2402.14740 (RLOO).

    >>> logp, wide = jnp.ones(2), dict(clip_low=1.0, clip_high=9.0)
    >>> loss = sequence_clipped_surrogate(logp, 0 * logp, 1.0, [True, True], **wide)
    >>> bool(jnp.isclose(loss, -jnp.exp(2.0)))
    True
    """
    old_logp = jax.lax.stop_gradient(old_logp)
    total = jnp.sum(jnp.where(mask, logp - old_logp, 0.0), axis=-1)
    loss = clipped_surrogate(
        total, jnp.zeros_like(total), advantage, clip_low=clip_low, clip_high=clip_high
    )
    return jnp.where(jnp.any(mask, axis=-1), loss, 0.0)


@typed
def truncated_importance_weight(
    logp: Float[Array, "*S"], sampler_logp: Float[Array, "*S"], *, max_weight: Scalar
) -> Float[Array, "*S"]:
    """Truncated importance-sampling weights for a sampler/trainer mismatch.

    weight = min(exp(logp - sampler_logp), max_weight)

    A sampler rounds differently from the trainer, so its policy is another one.
    Multiply the terms of a policy loss by these weights.

    Args:
      logp: log-prob of each token by the trainer, for the parameters that sampled, in
        nats.
      sampler_logp: the same as reported by the sampler.
      max_weight: upper bound of the weights, above 0.

    Returns:
      One weight per token, without gradient.

    Reference: Ionides 2008, "Truncated importance sampling".

    >>> float(truncated_importance_weight(-1.0, -3.0, max_weight=2.0))
    2.0
    """
    logp, sampler_logp = jax.lax.stop_gradient((logp, sampler_logp))
    log_ratio = jnp.clip(logp - sampler_logp, -LARGEST_LOG_RATIO, LARGEST_LOG_RATIO)
    return jnp.minimum(jnp.exp(log_ratio), max_weight)
