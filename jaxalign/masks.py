"""The only reducers of the library: sums, means and whitening over what counts.

Masks are bool and applied with `where`, so that a NaN in padding stays in padding.
Under `jax.jit` with sharded arrays these are statistics of the global batch.
"""

import jax.numpy as jnp
from jax import lax

from jaxalign.types import Array, Bool, Float, typed


@typed
def masked_sum(x: Float[Array, "*S"], mask: Bool[Array, "*S"]) -> Float[Array, ""]:
    """The sum of what the mask keeps.

    >>> float(masked_sum(jnp.array([1.0, 2.0, 4.0]), jnp.array([True, False, True])))
    5.0
    """
    return jnp.sum(jnp.where(mask, x, 0.0))


@typed
def masked_mean(x: Float[Array, "*S"], mask: Bool[Array, "*S"]) -> Float[Array, ""]:
    """The mean of what the mask keeps; 0 where it keeps nothing.

    >>> float(masked_mean(jnp.array([1.0, 2.0, 4.0]), jnp.array([True, False, True])))
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
    """Scales to unit variance and, unless `shift_mean=False`, to zero mean.

    whitened = (x - mean) * rsqrt(var + eps)    (+ mean, if not shift_mean)

    The variance is the population's, as in the original code of Ziegler et al. 2019
    (`whiten` in lm-human-preferences): advantages shift their mean, rewards keep it.
    What the mask drops comes back as 0.

    >>> whiten(jnp.array([1.0, 3.0]), jnp.array([True, True])).tolist()
    [-1.0, 1.0]
    """
    mean = masked_mean(x, mask)
    centred = jnp.where(mask, x - mean, 0.0)
    variance = masked_mean(jnp.square(centred), mask)
    scaled = centred * lax.rsqrt(variance + eps)
    return jnp.where(mask, scaled if shift_mean else scaled + mean, 0.0)
