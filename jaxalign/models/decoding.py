"""The forward pass of a transformer with a KV cache: prefill and decode steps.

Layers are unrolled, each with a cache of its own that is updated in place; a scanned
cache would be copied at every step.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import PartitionSpec

from jaxalign import sharding
from jaxalign.models import lazy_weights
from jaxalign.models.attention import concat_kv_attention
from jaxalign.models.cache import Cache, write_kv
from jaxalign.models.config import ModelConfig
from jaxalign.models.rotary_embedding import CosSin, rotary_cos_sin
from jaxalign.models.transformer_graph import (
    TransformerGraph,
    add_positions,
    embed_tokens,
)
from jaxalign.types import Array, Params

# bytes of gathered layers that a device may hold
MAX_GATHERED_BYTES = 8 * 2**30


def prepare(graph: TransformerGraph, params: Params) -> Params:
    """Parameters for a decode loop: materialized, cast, split by layer, gathered.

    Layers that are sharded along their width are gathered, unless they take more than
    `MAX_GATHERED_BYTES` per device: then each is gathered at each token.
    """
    config, specs = graph.config, graph.specs
    dtype = jnp.dtype(config.dtype)
    params = lazy_weights.materialize(params)
    cast = lambda x: x.astype(dtype) if x.ndim > 1 else x
    layers = tuple(
        jax.tree.map(lambda x, i=i: x[i], params["blocks"])
        for i in range(config.layers)
    )
    split: Params = jax.tree.map(cast, {**params, "blocks": layers})
    size = sum(x.nbytes for x in jax.tree.leaves(split))
    if size > MAX_GATHERED_BYTES * sharding.shard_count("heads"):
        return split
    layer = jax.tree.map(lambda spec: PartitionSpec(*spec[1:]), specs["blocks"])
    specs = {**specs, "blocks": (layer,) * config.layers}
    gathered: Params = sharding.gather_along("width", split, specs)
    return gathered


def extend(
    graph: TransformerGraph, params: Params, tokens: Array, cache: Cache
) -> tuple[Array, Cache]:
    """Read T more tokens of each row.

    Args:
      params: of the model, or of `prepare`.
      tokens: [B T].

    Returns:
      Their final hidden states [B T D], and the cache with their keys and values.
    """
    config = graph.config
    if not isinstance(params["blocks"], tuple):
        params = prepare(graph, params)
    positions = cache.length[:, None] + jnp.arange(tokens.shape[1])[None, :]
    kinds = {
        is_sliding: decode_rope_and_mask(config, cache, positions, is_sliding)
        for is_sliding in config.is_sliding
    }
    embeddings = embed_tokens(config, params, tokens)
    x = add_positions(config, params, embeddings, positions)
    keys, values = list(cache.keys), list(cache.values)
    prefix, start = cache.prefix_kv, cache.length - cache.prefix_length
    for i, layer in enumerate(params["blocks"]):
        cos_sin, mask = kinds[config.is_sliding[i]]

        def attend(
            query: Array, key: Array, value: Array, i: int = i, mask: Array = mask
        ) -> Array:
            keys[i] = write_kv(keys[i], key, start)
            values[i] = write_kv(values[i], value, start)
            parts = [*prefix[i], (keys[i], values[i])]
            return concat_kv_attention(query, parts, mask, config)

        x = nnx.merge(graph.block, layer)(x, cos_sin, attend)
    longer = cache._replace(
        length=cache.length + tokens.shape[1], keys=tuple(keys), values=tuple(values)
    )
    return nnx.merge(graph.norm, params["norm"])(x), longer


def decode_rope_and_mask(
    config: ModelConfig, cache: Cache, positions: Array, is_sliding: bool
) -> tuple[CosSin, Array]:
    """Rotary cosine and sine of new tokens, and their mask on the slots [B T S].

    Keys are rotated before the length of their row is known: with longrope, the long
    factors apply to all rows of a cache with more slots than the original context. Rows
    that end within that context then have the log-probs of the training forward pass
    with `RopeScaling.always_long`.

    Args:
      positions: of the new tokens [B T].
    """
    slots = cache.slot_positions[:, None, :]
    mask = slots <= positions[:, :, None]
    if is_sliding and config.window is not None:
        mask = mask & (positions[:, :, None] - slots < config.window)
    scaling = config.rope_scaling
    is_long = scaling is not None and slots.shape[2] > scaling.original_context
    long = jnp.full(positions.shape, is_long)
    return rotary_cos_sin(positions, config, is_sliding=is_sliding, long=long), mask
