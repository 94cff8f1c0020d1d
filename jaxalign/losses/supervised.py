"""Supervised losses: how unlikely the data are."""

import jax.numpy as jnp

from jaxalign.estimators.logprobs import log1mexp
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
def unlikelihood(logp: Float[Array, "*S"]) -> Float[Array, "*S"]:
    """Unlikelihood of a token that should not be generated, one term per token.

    loss = -log(1 - exp(logp))

    Args:
      logp: of the negative token; kept below -1e-6, where the loss is 13.8 nats and
        has no gradient, so that a certain token costs a finite amount.

    Reference: Welleck et al. 2019, arXiv:1908.04319 (unlikelihood training; its
    token-level loss adds alpha times this over negative tokens to the NLL).

    >>> import numpy as np
    >>> bool(np.isclose(unlikelihood(np.log([0.75]))[0], np.log(4.0)))
    True
    """
    return -log1mexp(logp)


@typed
def z_loss(
    log_normalizer: Float[Array, "*S"], *, coefficient: Scalar
) -> Float[Array, "*S"]:
    """Keeps the softmax normaliser near 1, one term per token.

    loss = coefficient * normaliser^2

    Args:
      log_normalizer: log Z, the logsumexp of a token's logits.
      coefficient: PaLM has 1e-4.

    Reference: Chowdhery et al. 2022, arXiv:2204.02311, section 5.

    >>> import numpy as np
    >>> z_loss(np.array([2.0], np.float32), coefficient=0.5).tolist()
    [2.0]
    """
    return coefficient * jnp.square(log_normalizer)
