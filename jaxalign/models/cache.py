"""KV cache with an optional shared prompt prefix."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxalign import sharding
from jaxalign.models.config import ModelConfig
from jaxalign.types import Array, Int, repeat_rows

MASKED_POSITION = 2**31 - 1  # of slots without a token: after every query's position


class SharedPrefix(NamedTuple):
    """Keys and values of prompts, each shared by B / P consecutive rows.

    Attributes:
      length: tokens of each prompt.
      keys, values: [P K S E] per layer.
    """

    length: Int[Array, "P"]
    keys: tuple[Array, ...]
    values: tuple[Array, ...]


class Cache(NamedTuple):
    """Keys and values of the tokens that each row has read, [B K S E] per layer.

    The slots of a head are contiguous, as the products of a decode step need them: XLA
    on CPU would copy the whole cache at each step otherwise.

    Attributes:
      length: tokens of each row, those of its prefix included.
      keys, values: of the row's own tokens.
      prefix: of the tokens that rows share; None where each row has all of its own.
    """

    length: Int[Array, "B"]
    keys: tuple[Array, ...]
    values: tuple[Array, ...]
    prefix: SharedPrefix | None = None

    @property
    def prefix_length(self) -> Array:
        """Tokens of each row's prefix, the position of its first own slot [B]."""
        if self.prefix is None:
            return jnp.zeros_like(self.length)
        lengths = self.prefix.length
        return jnp.repeat(lengths, len(self.length) // len(lengths))

    @property
    def slot_positions(self) -> Array:
        """The position of the token in each slot, those of the prefix first [B S]."""
        slots = jnp.arange(self.keys[0].shape[2])
        own = self.prefix_length[:, None] + slots[None, :]
        if self.prefix is None:
            return own
        slots = jnp.arange(self.prefix.keys[0].shape[2])[None, :]
        filled = slots < self.prefix_length[:, None]
        return jnp.concatenate([jnp.where(filled, slots, MASKED_POSITION), own], axis=1)

    @property
    def prefix_kv(self) -> list[list[tuple[Array, Array]]]:
        """Per layer, the keys and values of the prefix; an empty list without one."""
        if self.prefix is None:
            return [[] for _ in self.keys]
        layers = zip(self.prefix.keys, self.prefix.values, strict=True)
        return [[layer] for layer in layers]


def init_cache(config: ModelConfig, batch: int, length: int) -> Cache:
    """An empty cache of `length` slots per row; tokens beyond overwrite the last slots.

    `length` slots suffice where no row's `Cache.length` plus the tokens of one call of
    `extend` exceeds it.
    """
    shape = (batch, config.kv_heads, length, config.head_dim)
    slots = lambda: sharding.constrain(
        jnp.zeros(shape, jnp.dtype(config.dtype)), "batch", "kv_heads", None, None
    )
    empty = lambda: tuple(slots() for _ in range(config.layers))
    return Cache(jnp.zeros(batch, jnp.int32), empty(), empty())


def branch(cache: Cache, rows: int, length: int) -> Cache:
    """Repeat each row side by side, with the tokens read so far as a shared prefix.

    A decode step reads the prefix once for all rows of a prompt. Where prompts do not
    divide among the devices of their rows, each row gets a copy instead.

    Args:
      rows: rows per row of this cache.
      length: slots at the end of each row, in which new rows put tokens of their own.

    Reference: Juravsky et al. 2024, arXiv:2402.05099, section 3.
    """
    if rows == 1:
        return cache
    if len(cache.length) % sharding.shard_count("batch"):
        return repeat_rows(cache, rows, length)
    read = lambda x: x[:, :, : x.shape[2] - length]
    empty = lambda x: sharding.constrain(
        jnp.zeros((len(x) * rows, x.shape[1], length, x.shape[3]), x.dtype),
        "batch",
        "kv_heads",
        None,
        None,
    )
    kv = cache.keys, cache.values
    prefix = SharedPrefix(cache.length, *jax.tree.map(read, kv))
    keys, values = jax.tree.map(empty, kv)
    return Cache(jnp.repeat(cache.length, rows), keys, values, prefix)


def write_kv(cache: Array, new: Array, start: Array) -> Array:
    """Write [B T K E] into [B K S E], each row from a slot of its own.

    Args:
      start: the first slot of each row to write [B].
    """
    write = lambda row, x, at: jax.lax.dynamic_update_slice(row, x, (0, at, 0))
    return jax.vmap(write)(cache, swap_heads_and_time(new), start)


def swap_heads_and_time(x: Array) -> Array:
    """[B S K E] -> [B K S E], and back."""
    return jnp.swapaxes(x, 1, 2)
