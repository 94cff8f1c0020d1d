"""Losses of whole distributions of rewards: optimal transport in one dimension.

Both sort over the whole batch that they are given: their value is of a batch, and
micro-batches, each sorted by itself, change it. No row may be padding. Log-probs are
sums over an answer's tokens. The reference's get no gradient.
"""

import jax
import jax.numpy as jnp

from jaxalign.types import Array, Float, Scalar, typed


def _violation(gap: Array, beta: Scalar, label_smoothing: Scalar) -> Array:
    right = -jax.nn.log_sigmoid(beta * gap)
    wrong = -jax.nn.log_sigmoid(-beta * gap)
    return (1.0 - label_smoothing) * right + label_smoothing * wrong


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
    """Alignment via optimal transport of paired answers, one term per rank.

    gap = sort(chosen - rejected) - sort(ref_chosen - ref_rejected)
    loss = -(1 - e) * log sigmoid(beta * gap) - e * log sigmoid(-beta * gap)

    The policy's margins should dominate the reference's, quantile by quantile. Sorts
    over the whole batch that it is given: micro-batches change it. Terms come in order
    of rank, not of row.

    Args:
      label_smoothing: e, the share of labels taken to be wrong.

    Reference: Melnyk et al. 2024, arXiv:2406.05882, section 3, paired.

    >>> import numpy as np
    >>> zero = np.zeros(1, np.float32)
    >>> bool(np.isclose(aot(zero, zero, zero, zero, beta=0.1), np.log(2.0))[0])
    True
    """
    ref_chosen, ref_rejected = jax.lax.stop_gradient((ref_chosen, ref_rejected))
    gap = jnp.sort(chosen - rejected) - jnp.sort(ref_chosen - ref_rejected)
    return _violation(gap, beta, label_smoothing)


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
    """Alignment via optimal transport of unpaired answers, one term per rank.

    gap = sort(chosen - ref_chosen) - sort(rejected - ref_rejected)
    loss = -(1 - e) * log sigmoid(beta * gap) - e * log sigmoid(-beta * gap)

    The rewards of chosen answers should dominate those of rejected ones, quantile by
    quantile: as many of each, of the same prompts or not. Sorts over the whole batch
    that it is given: micro-batches change it. Terms come in order of rank, not of row.

    Args:
      label_smoothing: e, the share of labels taken to be wrong.

    Reference: Melnyk et al. 2024, arXiv:2406.05882, section 3, unpaired.

    >>> import numpy as np
    >>> zero = np.zeros(1, np.float32)
    >>> loss = aot_unpaired(zero, zero, zero, zero, beta=0.1)
    >>> bool(np.isclose(loss, np.log(2.0))[0])
    True
    """
    ref_chosen, ref_rejected = jax.lax.stop_gradient((ref_chosen, ref_rejected))
    gap = jnp.sort(chosen - ref_chosen) - jnp.sort(rejected - ref_rejected)
    return _violation(gap, beta, label_smoothing)
