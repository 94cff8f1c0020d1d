"""Chunks of positions, and their logits from hidden states."""

import jax.numpy as jnp

from jaxalign.sharding import shard_count
from jaxalign.types import Array

# The most logits of one chunk on each device: 256 MiB in float32.
CHUNK_LOGITS = 2**26


def balanced_chunk_size(
    shape: tuple[int, int], vocabulary: int, chunk: int | None
) -> int:
    """Positions per chunk: the given number, or as many as fit, evened out over chunks.

    Args:
      shape: rows and positions.
      vocabulary: logits per position.
      chunk: most positions per chunk; None for as many as keep its logits within
        `CHUNK_LOGITS` per device, if the mesh is in context.
    """
    rows, length = shape
    if chunk is None:
        devices = shard_count("batch") * shard_count("vocab")
        chunk = CHUNK_LOGITS * devices // max(1, rows * vocabulary)
    parts = -(-length // max(1, chunk))
    return -(-length // max(1, parts)) or 1


def split_chunks(x: Array, chunk: int) -> Array:
    """[B T ...] -> [N B C ...]: chunks in front; rows stay on their devices."""
    rows, length, *rest = x.shape
    parts = -(-length // chunk)
    spare = ((0, 0), (0, parts * chunk - length), *((0, 0) for _ in rest))
    return jnp.moveaxis(jnp.pad(x, spare).reshape(rows, parts, chunk, *rest), 1, 0)


def join_chunks(x: Array, length: int) -> Array:
    """Inverse of `split_chunks`: [N B C ...] -> [B T ...]."""
    parts, rows, chunk, *rest = x.shape
    return jnp.moveaxis(x, 0, 1).reshape(rows, parts * chunk, *rest)[:, :length]


def scaled_logits(
    hidden: Array, unembed: Array, temperature: Array, logit_cap: float | None
) -> Array:
    """Logits [B C V] in float32: capped, then divided by the temperature."""
    wide = jnp.result_type(hidden, unembed, jnp.float32)
    logits = jnp.einsum("bcd,dv->bcv", hidden, unembed, preferred_element_type=wide)
    if logit_cap is not None:
        logits = logit_cap * jnp.tanh(logits / logit_cap)
    return logits / temperature.astype(wide)
