"""Policy-gradient losses: tokens of higher advantage become likelier."""

import jax
import jax.numpy as jnp

from jaxalign.estimators.kl import LARGEST_LOG_RATIO, kl_k2, kl_k3
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
    """PPO's clipped objective, negated, one term per token.

    ratio = exp(logp - old_logp)
    loss = -min(ratio * advantage, clip(ratio, 1 - clip_low, 1 + clip_high) * advantage)

    Args:
      clip_low, clip_high: PPO has them equal; DAPO clips higher above.

    Reference: Schulman et al. 2017, arXiv:1707.06347, eq. 7.

    >>> import numpy as np
    >>> one = np.ones(1, np.float32)
    >>> clipped_surrogate(-one, -one, one, clip_low=0.2, clip_high=0.2).tolist()
    [-1.0]
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
    """PPO's clipped objective, bounded also where the advantage is negative, negated.

    surrogate = min(ratio * advantage, clip(ratio) * advantage), as `clipped_surrogate`
    loss = -max(surrogate, dual * advantage)    if advantage < 0
         = -surrogate                           if not

    Args:
      max_ratio: the largest ratio that a negative advantage is multiplied by, above 1 and
        1 + clip_high; the paper has 3. TRL calls it delta.

    Reference: Ye et al. 2020, arXiv:1912.09729 (dual-clip PPO).

    >>> import numpy as np
    >>> one = np.ones(1, np.float32)
    >>> dual_clip(3 * one, one, -one, clip_low=0.2, clip_high=0.2, dual=3.0).tolist()
    [3.0]
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
    """The policy gradient on samples of the policy itself, one term per token.

    loss = -advantage * logp

    Reference: Williams 1992, "Simple statistical gradient-following algorithms".

    >>> import numpy as np
    >>> one = np.ones(1, np.float32)
    >>> reinforce(-2 * one, 3 * one).tolist()
    [6.0]
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
    """REINFORCE with clipped importance weights, one term per token.

    weight = clip(exp(logp - old_logp), 1 - clip_low, 1 + clip_high)
    loss = -weight * advantage * logp

    The weight gets no gradient; so a clipped token still has one.

    Args:
      clip_low: 1 or more for no lower bound, as in the paper.
      clip_high: TRL's `epsilon_high` is 1 + this.

    Reference: MiniMax 2025, arXiv:2506.13585 (CISPO).

    >>> import numpy as np
    >>> one = np.ones(1, np.float32)
    >>> cispo(-one, -2 * one, one, clip_low=1.0, clip_high=0.5).tolist()
    [1.5]
    """
    old_logp, advantage = jax.lax.stop_gradient((old_logp, advantage))
    log_ratio = jnp.clip(logp - old_logp, -LARGEST_LOG_RATIO, LARGEST_LOG_RATIO)
    clipped = jnp.clip(jnp.exp(log_ratio), 1.0 - clip_low, 1.0 + clip_high)
    weight = jax.lax.stop_gradient(clipped)
    return -weight * advantage * logp


@typed
def gspo(
    logp: Float[Array, "B T"],
    old_logp: Float[Array, "B T"],
    advantage: Float[Array, "B"],
    mask: Bool[Array, "B T"],
    *,
    clip_low: Scalar,
    clip_high: Scalar,
) -> Float[Array, "B"]:
    """The clipped objective with one ratio per answer, negated, one term per answer.

    ratio = exp(mean over t of (logp - old_logp))
    loss = -min(ratio * advantage, clip(ratio, 1 - clip_low, 1 + clip_high) * advantage)

    The ratio is a geometric mean over the answer's tokens, so it moves little, and clip
    ranges are small (the paper has 3e-4 and 4e-4). A row without tokens gives 0.

    Reference: Zheng et al. 2025, arXiv:2507.18071, eq. 5 to 7 (GSPO).

    >>> import numpy as np
    >>> x, mask = np.ones((1, 2), np.float32), np.ones((1, 2), bool)
    >>> knobs = dict(clip_low=0.2, clip_high=0.2)
    >>> gspo(x, x, np.ones(1, np.float32), mask, **knobs).tolist()
    [-1.0]
    """
    old_logp = jax.lax.stop_gradient(old_logp)
    length = jnp.sum(mask, axis=1)
    total = jnp.sum(jnp.where(mask, logp - old_logp, 0.0), axis=1)
    mean = total / jnp.maximum(length, 1)
    loss = clipped_surrogate(
        mean, jnp.zeros_like(mean), advantage, clip_low=clip_low, clip_high=clip_high
    )
    return jnp.where(length > 0, loss, 0.0)


@typed
def sequence_clipped_surrogate(
    logp: Float[Array, "B T"],
    old_logp: Float[Array, "B T"],
    advantage: Float[Array, "B"],
    mask: Bool[Array, "B T"],
    *,
    clip_low: Scalar,
    clip_high: Scalar,
) -> Float[Array, "B"]:
    """The clipped objective with the whole answer's ratio, negated, one term an answer.

    ratio = exp(sum over t of (logp - old_logp))
    loss = -min(ratio * advantage, clip(ratio, 1 - clip_low, 1 + clip_high) * advantage)

    At ratio 1 its gradient is REINFORCE's; in later updates on the same answers, where
    nothing is clipped, it is that of the expected advantage, without bias. A row
    without tokens gives 0.

    Reference: TRL's RLOOTrainer, for several updates on a batch; the paper has one,
    without a ratio: Ahmadian et al. 2024, arXiv:2402.14740 (RLOO).

    >>> import numpy as np
    >>> x, mask = np.ones((1, 2), np.float32), np.ones((1, 2), bool)
    >>> wide = dict(clip_low=1.0, clip_high=9.0)
    >>> loss = sequence_clipped_surrogate(x, 0 * x, np.ones(1, np.float32), mask, **wide)
    >>> bool(np.isclose(loss, -np.exp(2.0))[0])
    True
    """
    old_logp = jax.lax.stop_gradient(old_logp)
    total = jnp.sum(jnp.where(mask, logp - old_logp, 0.0), axis=1)
    loss = clipped_surrogate(
        total, jnp.zeros_like(total), advantage, clip_low=clip_low, clip_high=clip_high
    )
    return jnp.where(jnp.any(mask, axis=1), loss, 0.0)


@typed
def entropy_bonus(
    entropy: Float[Array, "*S"], *, coefficient: Scalar
) -> Float[Array, "*S"]:
    """Rewards a policy for keeping its options open, one term per token.

    loss = -coefficient * entropy

    Reference: Mnih et al. 2016, arXiv:1602.01783, section 4; Schulman et al. 2017,
    arXiv:1707.06347, eq. 9.

    >>> import numpy as np
    >>> entropy_bonus(np.array([2.0], np.float32), coefficient=0.5).tolist()
    [-1.0]
    """
    return -coefficient * entropy


@typed
def kl_loss(
    logp: Float[Array, "*S"], old_logp: Float[Array, "*S"], ref_logp: Float[Array, "*S"]
) -> Float[Array, "*S"]:
    """The KL from the reference as a loss, per token, on samples of an old policy.

    ratio = exp(logp - old_logp)
    loss = stop_gradient(ratio * k3) + stop_gradient(ratio) * (k2 - stop_gradient(k2))

    Its expectation is KL(policy || reference), its gradient that of this KL, in any
    update: with d = logp - ref_logp, the gradient is ratio * d * grad logp. Derived: it
    is the gradient of ratio * k3 by both factors, too. k3 by itself is unbiased as a
    value, but its gradient is that of KL(reference || policy), and without the ratio
    either is right for samples of the present policy only. In a later update the ratio
    is that of one token: which prefixes were sampled is left as it was.

    Args:
      old_logp: under the policy that sampled.

    Reference: Schulman 2020, "Approximating KL divergence", k2 and k3; Shao et al.
    2024, arXiv:2402.03300, eq. 4, has k3 and its own gradient. TRL multiplies k3 by the
    ratio (`use_bias_correction_kl`), which is the same gradient.

    >>> import numpy as np
    >>> one = np.ones(1, np.float32)
    >>> jax.grad(lambda x: kl_loss(x, one, -one).sum())(one).tolist()
    [2.0]
    """
    old_logp, ref_logp = jax.lax.stop_gradient((old_logp, ref_logp))
    log_ratio = jnp.clip(logp - old_logp, -LARGEST_LOG_RATIO, LARGEST_LOG_RATIO)
    ratio = jax.lax.stop_gradient(jnp.exp(log_ratio))
    value = ratio * jax.lax.stop_gradient(kl_k3(logp, ref_logp))
    surrogate = kl_k2(logp, ref_logp)
    return value + ratio * (surrogate - jax.lax.stop_gradient(surrogate))


@typed
def truncated_importance_weight(
    logp: Float[Array, "*S"], sampler_logp: Float[Array, "*S"], *, max_weight: Scalar
) -> Float[Array, "*S"]:
    """Weights for tokens that another program sampled, one per token; no gradient.

    weight = min(exp(logp - sampler_logp), cap)

    A sampler rounds otherwise than the trainer does, so its policy is another one.
    Multiply the terms of a policy loss by these weights.

    Args:
      logp: of the trainer, for the parameters that sampled.
      sampler_logp: as the sampler gave them.

    Reference: Ionides 2008, "Truncated importance sampling".

    >>> import numpy as np
    >>> one = np.ones(1, np.float32)
    >>> truncated_importance_weight(-one, -3 * one, cap=2.0).tolist()
    [2.0]
    """
    logp, sampler_logp = jax.lax.stop_gradient((logp, sampler_logp))
    log_ratio = jnp.clip(logp - sampler_logp, -LARGEST_LOG_RATIO, LARGEST_LOG_RATIO)
    return jnp.minimum(jnp.exp(log_ratio), max_weight)
