"""What decoding keeps of the tokens that a model has read."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxalign import sharding
from jaxalign.models.config import ModelConfig
from jaxalign.types import Array, Int, repeat_rows

MASKED_POSITION = 2**31 - 1  # behind every token


class SharedPrefix(NamedTuple):
    """What rows have in common: the next B / P rows each, what one prompt left.

    Attributes:
      length: of each prompt.
      keys, values: [P K S E] per layer.
    """

    length: Int[Array, "P"]
    keys: tuple[Array, ...]
    values: tuple[Array, ...]


class Cache(NamedTuple):
    """Keys and values of what each row has read, [B K S E] per layer.

    A head's slots lie side by side, as the products of a decode step want them: XLA on
    CPU would else copy the whole cache at each step.

    Attributes:
      length: tokens of each row, its prompt's included.
      prompts: what rows read together, before what is their own. None: all is theirs.
    """

    length: Int[Array, "B"]
    keys: tuple[Array, ...]
    values: tuple[Array, ...]
    prompts: SharedPrefix | None = None

    @property
    def begun(self) -> Array:
        """Where in its text each row's own slots begin [B]."""
        if self.prompts is None:
            return jnp.zeros_like(self.length)
        asked = self.prompts.length
        return jnp.repeat(asked, len(self.length) // len(asked))

    @property
    def places(self) -> Array:
        """Where in its text stands what each slot holds, the prompts' first [B S]."""
        own = self.begun[:, None] + jnp.arange(self.keys[0].shape[2])[None, :]
        if self.prompts is None:
            return own
        slots = jnp.arange(self.prompts.keys[0].shape[2])[None, :]
        asked = jnp.where(slots < self.begun[:, None], slots, MASKED_POSITION)
        return jnp.concatenate([asked, own], axis=1)

    @property
    def asked(self) -> list[list[tuple[Array, Array]]]:
        """Keys and values of the prompts, per layer; none where rows share nothing."""
        if self.prompts is None:
            return [[] for _ in self.keys]
        layers = zip(self.prompts.keys, self.prompts.values, strict=True)
        return [[layer] for layer in layers]


def init_cache(config: ModelConfig, batch: int, length: int) -> Cache:
    """An empty cache of `length` slots a row; reading beyond them overwrites the last.

    `length` slots are enough where no row's `Cache.length` plus the tokens of any one
    call of `extend` exceeds it.
    """
    shape = (batch, config.kv_heads, length, config.head_dim)
    slots = lambda: sharding.constrain(
        jnp.zeros(shape, jnp.dtype(config.dtype)), "batch", "kv_heads", None, None
    )
    empty = lambda: tuple(slots() for _ in range(config.layers))
    return Cache(jnp.zeros(batch, jnp.int32), empty(), empty())


def branch(cache: Cache, rows: int, length: int) -> Cache:
    """So many rows for each, side by side, that share what was read.

    A decode step reads that once for all of them. Where prompts do not divide over the
    devices that their rows are on, each row has a copy.

    Args:
      length: slots at the end of each row of this cache, for what the new ones will
        read on their own.

    Reference: Juravsky et al. 2024, arXiv:2402.05099, section 3.
    """
    if rows == 1:
        return cache
    if len(cache.length) % sharding.shard_count("batch"):
        return repeat_rows(cache, rows, length)
    asked = lambda x: x[:, :, : x.shape[2] - length]
    own = lambda x: sharding.constrain(
        jnp.zeros((len(x) * rows, x.shape[1], length, x.shape[3]), x.dtype),
        "batch",
        "kv_heads",
        None,
        None,
    )
    prompts = SharedPrefix(
        cache.length, *jax.tree.map(asked, (cache.keys, cache.values))
    )
    keys, values = jax.tree.map(own, (cache.keys, cache.values))
    return Cache(jnp.repeat(cache.length, rows), keys, values, prompts)


def write_kv(cache: Array, new: Array, start: Array) -> Array:
    """Puts [B T K E] into [B K S E], each row from its own slot on."""
    put = lambda row, x, at: jax.lax.dynamic_update_slice(row, x, (0, at, 0))
    return jax.vmap(put)(cache, swap_heads_and_time(new), start)


def swap_heads_and_time(x: Array) -> Array:
    """[B S K E] as [B K S E], and the other way round."""
    return jnp.swapaxes(x, 1, 2)
