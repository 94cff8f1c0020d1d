"""Causal float32 attention in blocks of queries, with a gradient of its own, for CPUs.

There, moving the shares [B K G T S] costs more than the products. So they are kept as
they come out of the exponential and normalised after the product with the values; they
are an operand of each product as they lie in memory, so that what XLA transposes is
queries, keys and values; and no gradient needs a sum over them.
"""

import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from jaxalign.types import Array

BLOCK, BLOCKS = 128, 8  # queries in a block at least, and blocks at most
LOWEST = (
    -1e30
)  # a score that no softmax can tell from -inf, and no NaN where all have it


def blocks(length: int) -> Iterator[tuple[slice, slice]]:
    """The queries of each block, and the keys up to its end.

    >>> [(rows.start, rows.stop, seen.stop) for rows, seen in blocks(200)]
    [(0, 128, 128), (128, 200, 200)]
    """
    block = max(BLOCK, -(-length // BLOCKS))
    for start in range(0, length, block):
        end = min(start + block, length)
        yield slice(start, end), slice(end)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def attend(query: Array, key: Array, value: Array, mask: Array, scale: float) -> Array:
    """softmax(scale query key') value, of float32.

    Args:
      query: [B K G T E].
      key, value: each shared by G query heads [B K T E].
      mask: which keys a query sees: one at least, and none after its place [B T T].
    """
    return forward(query, key, value, mask, scale)[0]


def forward(
    query: Array, key: Array, value: Array, mask: Array, scale: float
) -> tuple[Array, Any]:
    """What is found, and what the backward pass needs."""
    parts, kept = [], []
    for rows, seen in blocks(query.shape[3]):
        scores = jnp.einsum("bkgte,bkse->bkgts", query[:, :, :, rows], key[:, :, seen])
        scores = jnp.where(mask[:, None, None, rows, seen], scale * scores, LOWEST)
        shares = jnp.exp(scores - jnp.max(scores, axis=-1, keepdims=True))
        norm = 1.0 / jnp.sum(shares, axis=-1, keepdims=True)
        read = jnp.einsum("bkgts,bkse->bkgte", shares, value[:, :, seen])
        parts.append(norm * read)
        kept.append((shares, norm))
    found = jnp.concatenate(parts, axis=3)
    return found, (query, key, value, found, kept)


def backward(
    scale: float, saved: Any, slope: Array
) -> tuple[Array, Array, Array, None]:
    """The gradients of query, key and value.

    Of what is found, f = p v with p = softmax(s), and of its gradient d, that of s is

    p (d v' - sum_s p (d v')) = p (d v' - sum_e d f)

    Reference: Dao et al. 2022, arXiv:2205.14135, appendix B.2.
    """
    query, key, value, found, kept = saved
    slope = slope * jnp.concatenate([norm for _, norm in kept], axis=3)
    mean = jnp.sum(slope * found, axis=-1, keepdims=True)
    queries, keys, values = [], [], []
    for (rows, seen), (shares, _) in zip(blocks(query.shape[3]), kept, strict=True):
        by = slope[:, :, :, rows]
        rise = jnp.einsum("bkgte,bkse->bkgts", by, value[:, :, seen])
        scores = scale * shares * (rise - mean[:, :, :, rows])
        queries.append(jnp.einsum("bkgts,bkse->bkgte", scores, key[:, :, seen]))
        keys.append(jnp.einsum("bkgte,bkgts->bkes", query[:, :, :, rows], scores))
        values.append(jnp.einsum("bkgte,bkgts->bkes", by, shares))
    return jnp.concatenate(queries, axis=3), over_keys(keys), over_keys(values), None


def over_keys(parts: list[Array]) -> Array:
    """The sum [B K T E] of [B K E S] of blocks that saw the first S keys only."""
    length = parts[-1].shape[-1]
    after = lambda part: [(0, 0)] * 3 + [(0, length - part.shape[-1])]
    wide = [jnp.pad(part, after(part)) for part in parts]
    return functools.reduce(jnp.add, wide).swapaxes(2, 3)


attend.defvjp(forward, backward)
