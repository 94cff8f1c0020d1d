"""Top-k and top-p (nucleus) filters of next-token probabilities.

Both take masses: probabilities up to a factor, such as exp(logits - max(logits)), with
0 for tokens that may not be sampled.
"""

import jax.numpy as jnp

from jaxalign.sampling.cpu_friendly import smallest_top_set
from jaxalign.types import Array, Float, typed


@typed
def top_k(mass: Float[Array, "B V"], k: int) -> Float[Array, "B V"]:
    """Keep the k largest masses of each row (of equal ones the first), 0 elsewhere.

    Args:
      k: at least 1.

    Reference: Fan et al. 2018, arXiv:1805.04833, section 5.4.
    """
    if k >= mass.shape[1]:
        return mass
    return smallest_top_set(mass, jnp.ones_like(mass), float(k))


@typed
def top_p(mass: Float[Array, "B V"], p: float) -> Float[Array, "B V"]:
    """Keep the fewest largest masses with a share of at least p of their row's sum.

    Args:
      p: in (0, 1].

    Reference: Holtzman et al. 2019, arXiv:1904.09751, eq. 2.
    """
    if p >= 1.0:
        return mass
    return smallest_top_set(mass, mass / jnp.sum(mass, axis=-1, keepdims=True), p)
