"""Regularizers of policy gradients: the entropy bonus and the KL from the reference.

Both return one term per token, of any shape [*S], to be added to a policy loss.
"""

import jax
import jax.numpy as jnp

from jaxalign.estimators.kl import LARGEST_LOG_RATIO, kl_k2, kl_k3
from jaxalign.types import Array, Float, Scalar, typed


@typed
def entropy_bonus(
    entropy: Float[Array, "*S"], *, coefficient: Scalar
) -> Float[Array, "*S"]:
    """Entropy bonus: lower loss for a policy of higher entropy.

    loss = -coefficient * entropy

    Args:
      entropy: entropy of the next-token distribution, in nats.
      coefficient: weight of the bonus, at least 0.

    Returns:
      One term per token, in nats times the coefficient.

    Reference: Mnih et al. 2016, arXiv:1602.01783, section 4; Schulman et al. 2017,
    arXiv:1707.06347, eq. 9.

    >>> float(entropy_bonus(2.0, coefficient=0.5))
    -1.0
    """
    return -coefficient * entropy


@typed
def kl_loss(
    logp: Float[Array, "*S"], old_logp: Float[Array, "*S"], ref_logp: Float[Array, "*S"]
) -> Float[Array, "*S"]:
    """KL from the reference as a loss, on samples of an old policy.

    ratio = exp(logp - old_logp)
    loss = stop_gradient(ratio * k3) + stop_gradient(ratio) * (k2 - stop_gradient(k2))

    Its expectation is KL(policy || reference), its gradient that of this KL, in any
    update: with d = logp - ref_logp, the gradient is ratio * d * grad logp. Derived: it
    is the gradient of ratio * k3 by both factors, too. k3 by itself is unbiased as a
    value, but its gradient is that of KL(reference || policy), and without the ratio
    either is right for samples of the present policy only. In a later update the ratio
    is that of one token: the probability of its prefix is not corrected.

    Args:
      logp: log-prob of each token under the policy, in nats.
      old_logp: the same under the policy that sampled; no gradient.
      ref_logp: the same under the reference; no gradient.

    Returns:
      One term per token, in nats.

    Reference: Schulman 2020, "Approximating KL divergence", k2 and k3; Shao et al.
    2024, arXiv:2402.03300, eq. 4, has k3 and its own gradient. TRL multiplies k3 by the
    ratio (`use_bias_correction_kl`), which is the same gradient.

    >>> float(jax.grad(lambda x: kl_loss(x, 1.0, -1.0))(1.0))  # ratio 1, d = 2
    2.0
    """
    old_logp, ref_logp = jax.lax.stop_gradient((old_logp, ref_logp))
    log_ratio = jnp.clip(logp - old_logp, -LARGEST_LOG_RATIO, LARGEST_LOG_RATIO)
    ratio = jax.lax.stop_gradient(jnp.exp(log_ratio))
    value = ratio * jax.lax.stop_gradient(kl_k3(logp, ref_logp))
    surrogate = kl_k2(logp, ref_logp)
    return value + ratio * (surrogate - jax.lax.stop_gradient(surrogate))
