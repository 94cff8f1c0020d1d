"""Policy-gradient losses: tokens of higher advantage become likelier."""

import jax
import jax.numpy as jnp

from jaxalign.estimators.kl import LARGEST_LOG_RATIO
from jaxalign.types import Array, Float, Scalar, typed


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
