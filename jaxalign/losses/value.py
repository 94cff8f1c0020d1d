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


@typed
def squared_value(
    value: Float[Array, "*S"], returns: Float[Array, "*S"]
) -> Float[Array, "*S"]:
    """Half the squared error of a value, one term per token.

    loss = (value - returns)^2 / 2

    Reference: Schulman et al. 2017, arXiv:1707.06347, section 5 (without the half).

    >>> import numpy as np
    >>> one = np.ones(1, np.float32)
    >>> squared_value(one, 3 * one).tolist()
    [2.0]
    """
    returns = jax.lax.stop_gradient(returns)
    return 0.5 * jnp.square(value - returns)


@typed
def huber_value(
    value: Float[Array, "*S"], returns: Float[Array, "*S"], *, delta: Scalar
) -> Float[Array, "*S"]:
    """Squared near the return and linear far from it, one term per token.

    error = |value - returns|
    loss = error^2 / 2                      if error <= delta
         = delta * (error - delta / 2)      if not

    Reference: Huber 1964, "Robust estimation of a location parameter".

    >>> import numpy as np
    >>> one = np.ones(1, np.float32)
    >>> huber_value(one, 4 * one, delta=1.0).tolist()
    [2.5]
    """
    returns = jax.lax.stop_gradient(returns)
    error = jnp.abs(value - returns)
    near = jnp.minimum(error, delta)
    return 0.5 * jnp.square(near) + delta * (error - near)
