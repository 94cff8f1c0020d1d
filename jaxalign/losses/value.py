"""Losses of value models: predicted values against returns.

loss           paper                                error
-------------  -----------------------------------  -----------------------------------
clipped_value  Schulman et al. 2017 (code of PPO)   squared, of a value clipped around
                                                    the old one
squared_value  Schulman et al. 2017                 squared
huber_value    Huber 1964                           squared, then linear

Each returns one term per token, of any shape [*S]. Values and returns are in units of
reward.
"""

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
    """PPO's value loss: half the squared error, clipped around the old value.

    clipped = clip(value, old_value - clip, old_value + clip)
    loss = max((value - returns)^2, (clipped - returns)^2) / 2

    Args:
      value: predicted value of each token's state.
      old_value: the prediction when the answer was sampled; no gradient.
      returns: target of the value; no gradient.
      clip: clip range around the old value, above 0, in units of reward.

    Returns:
      One term per token, at least 0.

    Reference: the code of Schulman et al. 2017 (`ppo2` in OpenAI baselines); Ziegler et
    al. 2019, arXiv:1909.08593, as in lm-human-preferences.

    >>> float(clipped_value(1.0, 1.0, 3.0, clip=0.2))
    2.0
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
    """Half the squared error of a value.

    loss = (value - returns)^2 / 2

    Args:
      value: predicted value of each token's state.
      returns: target of the value; no gradient.

    Returns:
      One term per token, at least 0.

    Reference: Schulman et al. 2017, arXiv:1707.06347, section 5 (without the half).

    >>> float(squared_value(1.0, 3.0))
    2.0
    """
    returns = jax.lax.stop_gradient(returns)
    return 0.5 * jnp.square(value - returns)


@typed
def huber_value(
    value: Float[Array, "*S"], returns: Float[Array, "*S"], *, delta: Scalar
) -> Float[Array, "*S"]:
    """Huber loss of a value: squared near the return, linear far from it.

    error = |value - returns|
    loss = error^2 / 2                      if error <= delta
         = delta * (error - delta / 2)      if not

    Args:
      value: predicted value of each token's state.
      returns: target of the value; no gradient.
      delta: error where the loss becomes linear, above 0, in units of reward.

    Returns:
      One term per token, at least 0.

    Reference: Huber 1964, "Robust estimation of a location parameter".

    >>> float(huber_value(1.0, 4.0, delta=1.0))
    2.5
    """
    returns = jax.lax.stop_gradient(returns)
    error = jnp.abs(value - returns)
    near = jnp.minimum(error, delta)
    return 0.5 * jnp.square(near) + delta * (error - near)
