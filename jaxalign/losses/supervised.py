"""Supervised losses: how unlikely the data are."""

from jaxalign.types import Array, Float, typed


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
