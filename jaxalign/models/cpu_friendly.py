"""Rewrites that XLA compiles to faster programs on a CPU."""

import math

import jax
import jax.numpy as jnp

from jaxalign.types import Array


def matmul_2d(x: Array, weight: Array, *, axes: int = 1) -> Array:
    """Contract the last axes of x with the first axes of a weight, as 2-D matrices.

    On every backend. XLA on CPU takes twice as long for the gradient of a weight as a
    sum over two axes (batch and time).

    Args:
      x: [... I], with as many trailing axes I as `axes`.
      weight: [I O ...]; cast to the dtype of x.
      axes: number of axes that are contracted.
    """
    inner = math.prod(weight.shape[:axes])
    flat = x.reshape(-1, inner) @ weight.astype(x.dtype).reshape(inner, -1)
    return flat.reshape(*x.shape[:-axes], *weight.shape[axes:])


def cos_sin_once(angle: Array) -> tuple[Array, Array]:
    """Cosine and sine, computed once and kept.

    On CPUs only, by a scan of two steps: XLA on CPU would compute both again for the
    queries, the keys and the gradients of each layer, a tenth of a training step, but
    keeps the outputs of a loop.
    """
    if jax.default_backend() != "cpu":
        return jnp.cos(angle), jnp.sin(angle)
    either = lambda _, is_sine: (
        None,
        jnp.where(is_sine, jnp.sin(angle), jnp.cos(angle)),
    )
    _, (cosine, sine) = jax.lax.scan(either, None, jnp.array([False, True]))
    return cosine, sine
