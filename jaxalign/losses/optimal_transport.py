"""Alignment via optimal transport (AOT): losses of whole distributions of log-ratios.

loss          paper                         distributions compared
------------  ----------------------------  --------------------------------------------
aot           Melnyk et al. 2024, paired    chosen minus rejected: policy over reference
aot_unpaired  Melnyk et al. 2024, unpaired  policy minus reference: chosen over rejected

Both sort over the batch: the value belongs to the batch, micro-batches change it, and
no row may be padding. So the arrays have the one axis [B]. Log-probs are sums over an
answer's tokens, in nats. The reference gets no gradient.
"""

import jax
import jax.numpy as jnp

from jaxalign.types import Array, Float, Scalar, typed


@typed
def aot(
    chosen: Float[Array, "B"],
    rejected: Float[Array, "B"],
    ref_chosen: Float[Array, "B"],
    ref_rejected: Float[Array, "B"],
    *,
    beta: Scalar,
    label_smoothing: Scalar = 0.0,
) -> Float[Array, "B"]:
    """Alignment via optimal transport (AOT) of paired answers.

    gap = sort(chosen - rejected) - sort(ref_chosen - ref_rejected)
    loss = -(1 - e) * log sigmoid(beta * gap) - e * log sigmoid(-beta * gap)

    The policy's log-prob differences should dominate the reference's, quantile by
    quantile.

    Args:
      chosen, rejected: log-prob of the answer under the policy, summed over its tokens,
        in nats.
      ref_chosen, ref_rejected: the same sums under the reference; no gradient.
      beta: weight of the KL constraint, above 0.
      label_smoothing: e, the share of wrong labels, in [0, 1/2).

    Returns:
      One term per rank of the sorted batch (not per row), in nats.

    Reference: Melnyk et al. 2024, arXiv:2406.05882, section 3, paired.

    >>> loss = aot([-1.0], [-1.0], [-1.0], [-1.0], beta=0.1)
    >>> round(float(loss[0]), 4)
    0.6931
    """
    ref_chosen, ref_rejected = jax.lax.stop_gradient((ref_chosen, ref_rejected))
    gap = jnp.sort(chosen - rejected) - jnp.sort(ref_chosen - ref_rejected)
    return smoothed_logistic(gap, beta, label_smoothing)


@typed
def aot_unpaired(
    chosen: Float[Array, "B"],
    rejected: Float[Array, "B"],
    ref_chosen: Float[Array, "B"],
    ref_rejected: Float[Array, "B"],
    *,
    beta: Scalar,
    label_smoothing: Scalar = 0.0,
) -> Float[Array, "B"]:
    """Alignment via optimal transport (AOT) of unpaired answers.

    gap = sort(chosen - ref_chosen) - sort(rejected - ref_rejected)
    loss = -(1 - e) * log sigmoid(beta * gap) - e * log sigmoid(-beta * gap)

    The log-ratios of chosen answers should dominate those of rejected ones, quantile by
    quantile: as many of each, of the same prompts or not.

    Args:
      chosen, rejected, ref_chosen, ref_rejected: sums of log-probs, as of `aot`.
      beta: weight of the KL constraint, above 0.
      label_smoothing: e, the share of wrong labels, in [0, 1/2).

    Returns:
      One term per rank of the sorted batch (not per row), in nats.

    Reference: Melnyk et al. 2024, arXiv:2406.05882, section 3, unpaired.

    >>> loss = aot_unpaired([-1.0], [-1.0], [-1.0], [-1.0], beta=0.1)
    >>> round(float(loss[0]), 4)
    0.6931
    """
    ref_chosen, ref_rejected = jax.lax.stop_gradient((ref_chosen, ref_rejected))
    gap = jnp.sort(chosen - ref_chosen) - jnp.sort(rejected - ref_rejected)
    return smoothed_logistic(gap, beta, label_smoothing)


def smoothed_logistic(gap: Array, beta: Scalar, label_smoothing: Scalar) -> Array:
    """Logistic loss of a gap under wrong labels."""
    as_labeled = -jax.nn.log_sigmoid(beta * gap)
    flipped = -jax.nn.log_sigmoid(-beta * gap)
    return (1.0 - label_smoothing) * as_labeled + label_smoothing * flipped
