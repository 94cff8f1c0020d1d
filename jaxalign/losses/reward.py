"""Losses of reward models: scores explain what people preferred."""

import jax
import jax.numpy as jnp

from jaxalign.types import Array, Bool, Float, Scalar, typed


@typed
def bradley_terry(
    chosen: Float[Array, "B"],
    rejected: Float[Array, "B"],
    *,
    margin: Scalar | Float[Array, "B"] = 0.0,
) -> Float[Array, "B"]:
    """Negative log-likelihood of a preference, one term per pair.

    loss = -log sigmoid(chosen - rejected - margin)

    Args:
      margin: by how much the scores should differ, per pair or for all (Llama 2).

    Reference: Bradley and Terry 1952; Ouyang et al. 2022, arXiv:2203.02155, eq. 1;
    Touvron et al. 2023, arXiv:2307.09288, eq. 2 (margin).

    >>> import numpy as np
    >>> zero = np.zeros(1, np.float32)
    >>> bool(np.isclose(bradley_terry(zero, zero), np.log(2.0))[0])
    True
    """
    return -jax.nn.log_sigmoid(chosen - rejected - margin)


@typed
def plackett_luce(
    scores: Float[Array, "B K"], mask: Bool[Array, "B K"]
) -> Float[Array, "B"]:
    """Negative log-likelihood of a ranking, best first, one term per prompt.

    loss = sum over k of [log sum over j >= k of exp(scores_j) - scores_k]

    With two answers it is Bradley-Terry. What the mask drops does not take part.

    Reference: Plackett 1975; Luce 1959; Rafailov et al. 2023, arXiv:2305.18290, eq. 18.

    >>> import numpy as np
    >>> equal, mask = np.zeros((1, 3), np.float32), np.ones((1, 3), bool)
    >>> bool(np.isclose(plackett_luce(equal, mask), np.log(6.0))[0])
    True
    """
    safe = jnp.where(mask, scores, 0.0)
    # A finite stand-in for -inf, far below every score: the gradient stays finite.
    lowest = jnp.min(safe, axis=1, keepdims=True) - 1e5
    ranked = jnp.where(mask, safe, lowest)
    remaining = jax.lax.cumlogsumexp(ranked, axis=1, reverse=True)
    return jnp.sum(jnp.where(mask, remaining - ranked, 0.0), axis=1)
