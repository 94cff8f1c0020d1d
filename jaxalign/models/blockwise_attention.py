"""Causal float32 attention in blocks of queries with a custom gradient, for CPUs.

On a CPU, moving the attention weights [B K G T S] costs more than the products. So the
exponentials stay as they are computed and are normalized after the product with the
values; they enter each product in their memory layout, so that XLA transposes queries,
keys and values instead; and no gradient needs a sum over them.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxalign.types import Array

BLOCK, BLOCKS = 128, 8  # least queries of a block, and most blocks
# as -inf to a softmax, but no NaN where a query has no key
MASKED_SCORE = -1e30


def query_blocks(length: int) -> Iterator[tuple[slice, slice]]:
    """The queries of each block, and the keys up to the block's end.

    >>> [(rows.start, rows.stop, keys.stop) for rows, keys in query_blocks(200)]
    [(0, 128, 128), (128, 200, 200)]
    """
    block = max(BLOCK, -(-length // BLOCKS))
    for start in range(0, length, block):
        end = min(start + block, length)
        yield slice(start, end), slice(end)


class MaskedKV(NamedTuple):
    """Keys and values, and the queries that attend to them.

    Attributes:
      key, value: of each row [B K S E], or shared by B / P consecutive rows [P K S E].
      mask: True where a query attends to a key [B T S]; None in gradients.
    """

    key: Array
    value: Array
    mask: Any


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def attend(query: Array, parts: Sequence[MaskedKV], scale: float) -> Array:
    """softmax(scale query key') value over the keys of all parts, in float32.

    Args:
      query: [B K G T E]; each key head serves G query heads.
      parts: prefixes, then the row's own T keys with a causal mask. Each query attends
        to at least one key.

    Returns:
      [B K G T E].
    """
    return forward(query, parts, scale)[0]


def forward(query: Array, parts: Sequence[MaskedKV], scale: float) -> tuple[Array, Any]:
    """The output, and the residuals of `backward`."""
    outputs, saved = [], []
    for rows, visible in visible_kv(parts, query.shape[3]):
        block = query[:, :, :, rows]
        scores = [masked_scores(block, part, scale) for part in visible]
        highest = functools.reduce(jnp.maximum, reduce_keys(jnp.max, scores, query))
        weights = [jnp.exp(x - group_rows(highest, len(x))) for x in scores]
        norm = 1.0 / functools.reduce(jnp.add, reduce_keys(jnp.sum, weights, query))
        sums = [
            ungroup_rows(jnp.einsum("bkgts,bkse->bkgte", weight, part.value), query)
            for weight, part in zip(weights, visible, strict=True)
        ]
        outputs.append(norm * functools.reduce(jnp.add, sums))
        saved.append((weights, norm))
    output = jnp.concatenate(outputs, axis=3)
    return output, (query, parts, output, saved)


def backward(
    scale: float, residuals: Any, gradient: Array
) -> tuple[Array, list[MaskedKV]]:
    """The gradients with respect to query, keys and values.

    With the output f = p v, the weights p = softmax(s) and the gradient d of f, the
    gradient of s is

    p (d v' - sum_s p (d v')) = p (d v' - sum_e d f)

    Reference: Dao et al. 2022, arXiv:2205.14135, appendix B.2.
    """
    query, parts, output, saved = residuals
    gradient = gradient * jnp.concatenate([norm for _, norm in saved], axis=3)
    mean = jnp.sum(gradient * output, axis=-1, keepdims=True)
    query_gradients: list[Array] = []
    kv_gradients: list[list[tuple[Array, Array]]] = [[] for _ in parts]
    for (rows, visible), (weights, _) in zip(
        visible_kv(parts, query.shape[3]), saved, strict=True
    ):
        blocks = [x[:, :, :, rows] for x in (query, gradient, mean)]
        to_query: list[Array] = []
        for part, weight, to_kv in zip(visible, weights, kv_gradients, strict=True):
            block, block_gradient, block_mean = (
                group_rows(x, len(weight)) for x in blocks
            )
            to_weight = jnp.einsum("bkgte,bkse->bkgts", block_gradient, part.value)
            to_score = scale * weight * (to_weight - block_mean)
            product = jnp.einsum("bkgts,bkse->bkgte", to_score, part.key)
            to_query.append(ungroup_rows(product, query))
            to_key = jnp.einsum("bkgte,bkgts->bkes", block, to_score)
            to_value = jnp.einsum("bkgte,bkgts->bkes", block_gradient, weight)
            to_kv.append((to_key, to_value))
        query_gradients.append(functools.reduce(jnp.add, to_query))
    gradients = []
    for to_kv in kv_gradients:
        key, value = map(sum_key_blocks, zip(*to_kv, strict=True))
        gradients.append(MaskedKV(key, value, None))
    return jnp.concatenate(query_gradients, axis=3), gradients


def visible_kv(
    parts: Sequence[MaskedKV], length: int
) -> Iterator[tuple[slice, list[MaskedKV]]]:
    """Each block of queries, and the parts with the row's own keys up to its end."""
    *prefixes, own = parts
    for rows, keys in query_blocks(length):
        before = [MaskedKV(key, value, mask[:, rows]) for key, value, mask in prefixes]
        key, value, mask = own
        last = MaskedKV(key[:, :, keys], value[:, :, keys], mask[:, rows, keys])
        yield rows, [*before, last]


def masked_scores(query: Array, part: MaskedKV, scale: float) -> Array:
    """scale query key' [P K G*B/P T S]; MASKED_SCORE where the mask is False."""
    grouped = group_rows(query, len(part.key))
    scores = scale * jnp.einsum("bkgte,bkse->bkgts", grouped, part.key)
    mask = jnp.broadcast_to(
        part.mask[:, None, None], (len(query), 1, query.shape[2], *part.mask.shape[1:])
    )
    return jnp.where(group_rows(mask, len(part.key)), scores, MASKED_SCORE)


def reduce_keys(
    function: Callable[..., Array], scores: Sequence[Array], query: Array
) -> Iterator[Array]:
    """The maximum or sum over the keys of each part [B K G T 1]."""
    return (ungroup_rows(function(x, axis=-1, keepdims=True), query) for x in scores)


def group_rows(x: Array, count: int) -> Array:
    """[B K G ...] -> [P K G*B/P ...]: rows that share keys become one row's heads."""
    if len(x) == count:
        return x
    split = x.reshape(count, -1, *x.shape[1:]).swapaxes(1, 2)
    return split.reshape(*split.shape[:2], -1, *x.shape[3:])


def ungroup_rows(x: Array, query: Array) -> Array:
    """The inverse of `group_rows`, to the rows and heads of `query`."""
    if len(x) == len(query):
        return x
    split = x.reshape(*x.shape[:2], -1, query.shape[2], *x.shape[3:]).swapaxes(1, 2)
    return split.reshape(len(query), *split.shape[2:])


def sum_key_blocks(parts: Sequence[Array]) -> Array:
    """The sum [B K T E] of gradients [B K E S] of blocks that read the first S keys."""
    length = parts[-1].shape[-1]
    after = lambda part: [(0, 0)] * 3 + [(0, length - part.shape[-1])]
    padded = [jnp.pad(part, after(part)) for part in parts]
    return functools.reduce(jnp.add, padded).swapaxes(2, 3)


attend.defvjp(forward, backward)
