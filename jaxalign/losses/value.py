"""Losses of value models: values predict returns."""

import jax
import jax.numpy as jnp

from jaxalign.types import Array, Float, Scalar, typed


@typed
def clipped_value(
    value: Float[Array, "*S"],
    old_value: Float[Array, "*S"],
    returns: Float[Array, "*S"],
    *,
    clip: Scalar,
) -> Float[Array, "*S"]:
    """Half the squared error of a value that may not move far, one term per token.

    clipped = clip(value, old_value - clip, old_value + clip)
    loss = max((value - returns)^2, (clipped - returns)^2) / 2

    Reference: the code of Schulman et al. 2017 (`ppo2` in OpenAI baselines); Ziegler et
    al. 2019, arXiv:1909.08593, as in lm-human-preferences.

    >>> import numpy as np
    >>> one = np.ones(1, np.float32)
    >>> clipped_value(one, one, 3 * one, clip=0.2).tolist()
    [2.0]
    """
    old_value, returns = jax.lax.stop_gradient((old_value, returns))
    clipped = jnp.clip(value, old_value - clip, old_value + clip)
    error = jnp.square(value - returns)
    clipped_error = jnp.square(clipped - returns)
    return 0.5 * jnp.maximum(error, clipped_error)
