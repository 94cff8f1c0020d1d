"""Whether what is saved is made of finite numbers."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxalign import sharding
from jaxalign.types import Array


@jax.jit
def all_finite(leaves: list[Array]) -> Array:
    """Whether each array has finite numbers alone [leaves]."""
    return jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in leaves])


def first_nonfinite(tree: Any) -> str | None:
    """The path of the first array with a NaN or an infinity; None if there is none.

    Integers and keys are finite by their type.

    >>> first_nonfinite({"a": jnp.ones(2), "b": jnp.array([0.0, jnp.nan])})
    "['b']"
    """
    floats = [
        (path, leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
        if jnp.issubdtype(leaf.dtype, jnp.inexact)
    ]
    if not floats:
        return None
    finite = all_finite([leaf for _, leaf in floats])
    for (path, _), good in zip(floats, sharding.to_host(finite), strict=True):
        if not good:
            return jax.tree_util.keystr(path)
    return None
