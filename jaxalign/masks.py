"""The only reductions of the library: sums, means and whitening over a mask.

Masks are bool, True on what counts, and applied with `where`, so that a NaN in padding
stays in padding. Under `jax.jit` with sharded arrays these are statistics of the global
batch.
"""

import jax.numpy as jnp
from jax import lax

from jaxalign.types import Array, Bool, Float, typed


@typed
def masked_sum(x: Float[Array, "*S"], mask: Bool[Array, "*S"]) -> Float[Array, ""]:
    """Sum over the counted entries.

    >>> float(masked_sum([1.0, 2.0, 4.0], [True, False, True]))
    5.0
    """
    return jnp.sum(jnp.where(mask, x, 0.0))


@typed
def masked_mean(x: Float[Array, "*S"], mask: Bool[Array, "*S"]) -> Float[Array, ""]:
    """Mean over the counted entries; 0 where there are none.

    >>> float(masked_mean([1.0, 2.0, 4.0], [True, False, True]))
    2.5
    """
    return masked_sum(x, mask) / jnp.maximum(jnp.sum(mask), 1)


@typed
def whiten(
    x: Float[Array, "*S"],
    mask: Bool[Array, "*S"],
    *,
    shift_mean: bool = True,
    eps: float = 1e-8,
) -> Float[Array, "*S"]:
    """Scale to unit variance and, unless `shift_mean=False`, to zero mean.

    whitened = (x - mean) * rsqrt(var + eps)    (+ mean, if not shift_mean)

    The variance is the population's, as in the original code of Ziegler et al. 2019
    (`whiten` in lm-human-preferences): advantages shift their mean, rewards keep it.

    Args:
      x: numbers of any one unit.
      mask: True on counted entries.
      shift_mean: False adds the mean back.
      eps: added to the variance, above 0.

    Returns:
      The whitened numbers, 0 where masked.

    >>> whiten([1.0, 3.0], [True, True]).tolist()
    [-1.0, 1.0]
    """
    mean = masked_mean(x, mask)
    centered = jnp.where(mask, x - mean, 0.0)
    variance = masked_mean(jnp.square(centered), mask)
    scaled = centered * lax.rsqrt(variance + eps)
    return jnp.where(mask, scaled if shift_mean else scaled + mean, 0.0)
