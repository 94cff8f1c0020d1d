"""Search for a NaN or an infinity in a tree of arrays."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxalign import sharding
from jaxalign.types import Array


@jax.jit
def all_finite(leaves: list[Array]) -> Array:
    """Whether all numbers of each array are finite, bool [leaves]."""
    return jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in leaves])


def first_nonfinite(tree: Any) -> str | None:
    """The path of the first array with a NaN or an infinity, or None.

    Integers and keys are skipped.

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
    for (path, _), is_finite in zip(floats, sharding.to_host(finite), strict=True):
        if not is_finite:
            return jax.tree_util.keystr(path)
    return None
