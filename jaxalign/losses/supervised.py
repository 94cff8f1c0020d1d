"""Supervised losses: how unlikely the data are."""

import jax.numpy as jnp

from jaxalign.types import Array, Float, Scalar, typed


@typed
def nll(logp: Float[Array, "*S"]) -> Float[Array, "*S"]:
    """Negative log-likelihood, one term per token.

    loss = -logp

    The mean over answer tokens is taken by the objective, over the global batch.

    Reference: Ouyang et al. 2022, arXiv:2203.02155, section 3.5.

    >>> import numpy as np
    >>> nll(np.array([-0.5])).tolist()
    [0.5]
    """
    return -logp


@typed
def z_loss(
    normaliser: Float[Array, "*S"], *, coefficient: Scalar
) -> Float[Array, "*S"]:
    """Keeps the softmax normaliser near 1, one term per token.

    loss = coefficient * normaliser^2

    Args:
      normaliser: log Z, the logsumexp of a token's logits.
      coefficient: PaLM has 1e-4.

    Reference: Chowdhery et al. 2022, arXiv:2204.02311, section 5.

    >>> import numpy as np
    >>> z_loss(np.array([2.0], np.float32), coefficient=0.5).tolist()
    [2.0]
    """
    return coefficient * jnp.square(normaliser)
