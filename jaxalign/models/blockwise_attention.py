"""Causal float32 attention in blocks of queries, with a gradient of its own, for CPUs.

There, moving the shares [B K G T S] costs more than the products. So they are kept as
they come out of the exponential and normalised after the product with the values; they
are an operand of each product as they lie in memory, so that what XLA transposes is
queries, keys and values; and no gradient needs a sum over them.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxalign.types import Array

BLOCK, BLOCKS = 128, 8  # queries in a block at least, and blocks at most
MASKED_SCORE = (
    -1e30
)  # a score that no softmax can tell from -inf, and no NaN where all have it


def query_blocks(length: int) -> Iterator[tuple[slice, slice]]:
    """The queries of each block, and the keys up to its end.

    >>> [(rows.start, rows.stop, seen.stop) for rows, seen in query_blocks(200)]
    [(0, 128, 128), (128, 200, 200)]
    """
    block = max(BLOCK, -(-length // BLOCKS))
    for start in range(0, length, block):
        end = min(start + block, length)
        yield slice(start, end), slice(end)


class MaskedKV(NamedTuple):
    """Keys and values that queries look at.

    Attributes:
      key, value: of each row, or shared by the next B / P rows [P K S E].
      mask: which of them a query sees [B T S].
    """

    key: Array
    value: Array
    mask: Any


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def attend(query: Array, parts: Sequence[MaskedKV], scale: float) -> Array:
    """softmax(scale query key') value, of float32, over the keys of all parts.

    Args:
      query: [B K G T E]; each key head serves G of them.
      parts: the last is the row's own: T keys, of which a query sees none after its
        place. Each query sees one key at least.
    """
    return forward(query, parts, scale)[0]


def forward(query: Array, parts: Sequence[MaskedKV], scale: float) -> tuple[Array, Any]:
    """What is found, and what the backward pass needs."""
    found, kept = [], []
    for rows, here in visible_kv(parts, query.shape[3]):
        asking = query[:, :, :, rows]
        scores = [masked_scores(asking, part, scale) for part in here]
        highest = functools.reduce(jnp.maximum, reduce_keys(jnp.max, scores, query))
        shares = [jnp.exp(x - group_rows(highest, len(x))) for x in scores]
        norm = 1.0 / functools.reduce(jnp.add, reduce_keys(jnp.sum, shares, query))
        read = [
            ungroup_rows(jnp.einsum("bkgts,bkse->bkgte", share, part.value), query)
            for share, part in zip(shares, here, strict=True)
        ]
        found.append(norm * functools.reduce(jnp.add, read))
        kept.append((shares, norm))
    whole = jnp.concatenate(found, axis=3)
    return whole, (query, parts, whole, kept)


def backward(scale: float, saved: Any, slope: Array) -> tuple[Array, list[MaskedKV]]:
    """The gradients of query, keys and values.

    Of what is found, f = p v with p = softmax(s), and of its gradient d, that of s is

    p (d v' - sum_s p (d v')) = p (d v' - sum_e d f)

    Reference: Dao et al. 2022, arXiv:2205.14135, appendix B.2.
    """
    query, parts, found, kept = saved
    slope = slope * jnp.concatenate([norm for _, norm in kept], axis=3)
    mean = jnp.sum(slope * found, axis=-1, keepdims=True)
    queries: list[Array] = []
    of_keys: list[list[tuple[Array, Array]]] = [[] for _ in parts]
    for (rows, here), (shares, _) in zip(
        visible_kv(parts, query.shape[3]), kept, strict=True
    ):
        told = [x[:, :, :, rows] for x in (query, slope, mean)]
        asking: list[Array] = []
        for part, share, so_far in zip(here, shares, of_keys, strict=True):
            asked, by, middle = (group_rows(x, len(share)) for x in told)
            rise = jnp.einsum("bkgte,bkse->bkgts", by, part.value)
            scores = scale * share * (rise - middle)
            toward = jnp.einsum("bkgts,bkse->bkgte", scores, part.key)
            asking.append(ungroup_rows(toward, query))
            key = jnp.einsum("bkgte,bkgts->bkes", asked, scores)
            so_far.append((key, jnp.einsum("bkgte,bkgts->bkes", by, share)))
        queries.append(functools.reduce(jnp.add, asking))
    gradients = []
    for found_so_far in of_keys:
        key, value = map(sum_key_blocks, zip(*found_so_far, strict=True))
        gradients.append(MaskedKV(key, value, None))
    return jnp.concatenate(queries, axis=3), gradients


def visible_kv(
    parts: Sequence[MaskedKV], length: int
) -> Iterator[tuple[slice, list[MaskedKV]]]:
    """Each block of queries, and what it sees: of its own row the keys to its end."""
    *before, own = parts
    for rows, keys in query_blocks(length):
        whole = [MaskedKV(key, value, mask[:, rows]) for key, value, mask in before]
        key, value, mask = own
        last = MaskedKV(key[:, :, keys], value[:, :, keys], mask[:, rows, keys])
        yield rows, [*whole, last]


def masked_scores(query: Array, part: MaskedKV, scale: float) -> Array:
    """The scores of queries [P K G*B/P T S]; LOWEST where nothing is seen."""
    asking = group_rows(query, len(part.key))
    scores = scale * jnp.einsum("bkgte,bkse->bkgts", asking, part.key)
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
    """[B K G ...] as [P K G*B/P ...]: rows that look at the same keys side by side."""
    if len(x) == count:
        return x
    split = x.reshape(count, -1, *x.shape[1:]).swapaxes(1, 2)
    return split.reshape(*split.shape[:2], -1, *x.shape[3:])


def ungroup_rows(x: Array, query: Array) -> Array:
    """The way back of `group_rows`, to the rows and heads of queries."""
    if len(x) == len(query):
        return x
    split = x.reshape(*x.shape[:2], -1, query.shape[2], *x.shape[3:]).swapaxes(1, 2)
    return split.reshape(len(query), *split.shape[2:])


def sum_key_blocks(parts: Sequence[Array]) -> Array:
    """The sum [B K T E] of [B K E S] of blocks that saw the first S keys only."""
    length = parts[-1].shape[-1]
    after = lambda part: [(0, 0)] * 3 + [(0, length - part.shape[-1])]
    wide = [jnp.pad(part, after(part)) for part in parts]
    return functools.reduce(jnp.add, wide).swapaxes(2, 3)


attend.defvjp(forward, backward)
