"""Supervised losses of SFT data: likelihood, unlikelihood, softmax normalizer.

loss          paper                          use
------------  -----------------------------  --------------------------------------
nll           Ouyang et al. 2022             tokens of SFT answers
unlikelihood  Welleck et al. 2019            tokens that should not be generated
z_loss        Chowdhery et al. 2022 (PaLM)   keeps the logits' normalizer near 1

Each returns one term per token, of any shape [*S]; the objective takes the mean over
the answer tokens of the global batch.
"""

import jax.numpy as jnp

from jaxalign.estimators.logprobs import log1mexp
from jaxalign.types import Array, Float, Scalar, typed


@typed
def nll(logp: Float[Array, "*S"]) -> Float[Array, "*S"]:
    """Negative log-likelihood (NLL).

    loss = -logp

    Args:
      logp: log-prob of each token under the policy, in nats.

    Returns:
      One term per token, in nats.

    Reference: Ouyang et al. 2022, arXiv:2203.02155, section 3.5.

    >>> float(nll(-0.5))
    0.5
    """
    return -logp


@typed
def unlikelihood(logp: Float[Array, "*S"]) -> Float[Array, "*S"]:
    """Unlikelihood of a token that should not be generated.

    loss = -log(1 - exp(logp))

    Args:
      logp: log-prob of the negative token under the policy, in nats; clamped to at most
        -1e-6, where the loss is 13.8 nats without gradient, so that a certain token
        costs a finite amount.

    Returns:
      One term per token, in nats.

    Reference: Welleck et al. 2019, arXiv:1908.04319 (unlikelihood training; its
    token-level loss adds alpha times this over negative tokens to the NLL).

    >>> round(float(unlikelihood(jnp.log(0.75))), 4)  # log 4
    1.3863
    """
    return -log1mexp(logp)


@typed
def z_loss(
    log_normalizer: Float[Array, "*S"], *, coefficient: Scalar
) -> Float[Array, "*S"]:
    """Regularizer that keeps the softmax normalizer Z near 1.

    loss = coefficient * log_normalizer^2

    Args:
      log_normalizer: log Z, the logsumexp of a token's logits.
      coefficient: weight, at least 0 (1e-4 in PaLM).

    Returns:
      One term per token.

    Reference: Chowdhery et al. 2022, arXiv:2204.02311, section 5.

    >>> float(z_loss(2.0, coefficient=0.5))
    2.0
    """
    return coefficient * jnp.square(log_normalizer)
