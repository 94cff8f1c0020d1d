"""A decoder-only transformer, as a bundle of pure functions over a parameter tree.

Layers are stacked and scanned for training, so that compile time does not grow with
depth; for decoding they are unrolled, each with a cache of its own that is updated in
place (a scanned cache would be copied at every step).
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import PartitionSpec

from jaxalign import sharding
from jaxalign.batches import Branches
from jaxalign.models.attention import (
    attention_mask,
    concat_kv_attention,
    dot_product_attention,
    select_attention,
)
from jaxalign.models.cache import Cache, branch, init_cache, write_kv
from jaxalign.models.config import ModelConfig
from jaxalign.models.layers import (
    Block,
    CosSin,
    GatherFn,
    Norm,
    all_positions,
    normal_param,
    rotary_cos_sin,
    uses_long_factors,
)
from jaxalign.types import Array, Key, LanguageModel, Params

REMAT_POLICIES = {
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    "full": jax.checkpoint_policies.nothing_saveable,
}

MAX_GATHERED_BYTES = (
    8 * 2**30
)  # bytes of whole layers that a device may hold while it decodes


class Transformer(nnx.Module):
    """The modules of a language model, or of a trunk without its unembedding."""

    def __init__(
        self, config: ModelConfig, *, rngs: nnx.Rngs, unembed: bool = True
    ) -> None:
        shape, std = (config.vocab_size, config.width), config.width**-0.5
        kind = config.param_dtype
        self.embed = normal_param(rngs, shape, ("vocab", "width"), std, kind)
        if config.learned_positions:
            places = (config.context, config.width)
            self.positions = normal_param(rngs, places, (None, "width"), std, kind)

        @nnx.split_rngs(splits=config.layers)
        @nnx.vmap(in_axes=(0,), out_axes=0)
        def stacked(rngs: nnx.Rngs) -> Block:
            return Block(config, rngs=rngs)

        self.blocks = stacked(rngs)
        self.norm = Norm(config)
        if unembed and not config.tied:
            self.unembed = normal_param(
                rngs, shape[::-1], ("width", "vocab"), std, kind
            )


class TransformerGraph:
    """The structure of a transformer, without its parameters."""

    def __init__(self, config: ModelConfig, *, unembed: bool = True) -> None:
        self.config = config
        self.unembed = unembed
        abstract = nnx.eval_shape(lambda: self.build(jax.random.key(0)))
        state = nnx.state(abstract, nnx.Param)
        self.block = nnx.graphdef(abstract.blocks)
        self.norm = nnx.graphdef(abstract.norm)
        flat = {}
        for path, leaf in nnx.to_flat_state(state):
            layers = ("layers",) if path[0] == "blocks" else ()
            flat[path] = sharding.spec(*layers, *leaf.get_metadata("axes"))
        self.specs: Any = nnx.traversals.unflatten_mapping(flat)

    def build(self, key: Key) -> Transformer:
        """The modules with new parameters."""
        return Transformer(self.config, rngs=nnx.Rngs(key), unembed=self.unembed)

    def init(self, key: Key) -> Params:
        """New parameters, as a nested dict."""
        return nnx.to_pure_dict(nnx.state(self.build(key), nnx.Param))

    def hidden(
        self,
        params: Params,
        tokens: Array,
        positions: Array,
        segments: Array,
        at: Array | None = None,
        branches: Branches | None = None,
    ) -> Array:
        """The final hidden states [B T D] of right-padded, possibly packed, rows.

        Args:
          at: the places of each row that are wanted, [B Q] for [B Q D]. Where layers
            are unrolled, the last one does no more for the others than they need.
          branches: how all rows are laid out, where they are prompts with answers;
            not with `at`.
        """
        config = self.config
        x = embed_tokens(config, params, tokens, positions)
        x = sharding.constrain(x, "batch", None, None)
        long = uses_long_factors(positions, segments, config)
        kinds = [
            (
                rotary_cos_sin(positions, config, is_sliding=slides, long=long),
                attention_mask(
                    segments, positions, config, is_sliding=slides, branches=branches
                ),
            )
            for slides in sorted(set(config.is_sliding))
        ]

        def layer(
            x: Array, item: Any, asking: GatherFn = all_positions
        ) -> tuple[Array, None]:
            block, slides = item
            if slides is None:  # all layers are of one kind
                angles, mask = kinds[0]
            else:
                either = lambda no, yes: jnp.where(slides, yes, no)
                angles, mask = jax.tree.map(either, *kinds)
            if asking is all_positions:
                attend = select_attention(segments, mask, config, branches)
            else:
                attend = functools.partial(
                    dot_product_attention, mask=asking(mask), config=config
                )
            return nnx.merge(self.block, block)(x, angles, attend, asking), None

        shallow = config.layers <= config.unroll
        if config.remat != "none":
            # unrolled, XLA would merge the second forward pass with the first and
            # keep all that was to be forgotten
            policy, shallow = REMAT_POLICIES[config.remat], False
            layer = jax.checkpoint(layer, policy=policy, prevent_cse=False)
        asking = (
            all_positions if at is None else functools.partial(gather_positions, at=at)
        )
        apart = at is not None and shallow and config.attention != "cudnn"
        unroll = config.layers if shallow else 1
        slides = jnp.array(config.is_sliding) if len(kinds) > 1 else None
        stack, last = (params["blocks"], slides), None
        if apart:
            last = jax.tree.map(lambda x: x[-1], stack)
            stack = jax.tree.map(lambda x: x[:-1], stack)
        x, _ = jax.lax.scan(layer, x, stack, unroll=unroll)
        x = layer(x, last, asking)[0] if apart else asking(x)
        return nnx.merge(self.norm, params["norm"])(x)


def gather_positions(x: Array, at: Array) -> Array:
    """Of each row [B T ...] the places at [B Q], [B Q ...]."""
    return jnp.take_along_axis(x, at.reshape(at.shape + (1,) * (x.ndim - 2)), axis=1)


def embed_tokens(
    config: ModelConfig, params: Params, tokens: Array, at: Array
) -> Array:
    """The embeddings of tokens [B T D]; cast after, as gradients add up in float32.

    The table is gathered along its width, as other parameters are; XLA would rather
    gather the whole of it.

    Args:
      at: positions, which models that learn them add [B T].
    """
    kind = jnp.dtype(config.dtype)
    table = sharding.constrain(params["embed"], "vocab", None)
    x = table[tokens].astype(kind)
    if config.embed_scaled:
        x = x * jnp.asarray(config.width**0.5, kind)
    if config.learned_positions:
        x = x + sharding.constrain(params["positions"], None, None)[at].astype(kind)
    return x


def prepare(graph: TransformerGraph, params: Params) -> Params:
    """Cast, cut per layer, gathered: what a decode loop should not do at each step.

    Layers that are cut along their width are gathered, unless they are larger than
    `MAX_GATHERED_BYTES`: then each is gathered at each token.
    """
    config, specs = graph.config, graph.specs
    kind = jnp.dtype(config.dtype)
    cast = lambda x: x.astype(kind) if x.ndim > 1 else x
    layers = tuple(
        jax.tree.map(lambda x, i=i: x[i], params["blocks"])
        for i in range(config.layers)
    )
    ready: Params = jax.tree.map(cast, {**params, "blocks": layers})
    size = sum(x.nbytes for x in jax.tree.leaves(ready))
    if size > MAX_GATHERED_BYTES * sharding.shard_count("heads"):
        return ready
    layer = jax.tree.map(lambda spec: PartitionSpec(*spec[1:]), specs["blocks"])
    specs = {**specs, "blocks": (layer,) * config.layers}
    whole: Params = sharding.gather_along("width", ready, specs)
    return whole


def extend(
    graph: TransformerGraph, params: Params, tokens: Array, cache: Cache
) -> tuple[Array, Cache]:
    """Reads T more tokens of each row: their hidden states, and the longer cache."""
    config = graph.config
    if not isinstance(params["blocks"], tuple):
        params = prepare(graph, params)
    positions = cache.length[:, None] + jnp.arange(tokens.shape[1])[None, :]
    kinds = {
        slides: decode_rope_and_mask(config, cache, positions, slides)
        for slides in config.is_sliding
    }
    x = embed_tokens(config, params, tokens, positions)
    keys, values = list(cache.keys), list(cache.values)
    asked, start = cache.asked, cache.length - cache.begun
    for i, layer in enumerate(params["blocks"]):
        angles, mask = kinds[config.is_sliding[i]]

        def attend(
            query: Array, key: Array, value: Array, i: int = i, mask: Array = mask
        ) -> Array:
            keys[i] = write_kv(keys[i], key, start)
            values[i] = write_kv(values[i], value, start)
            return concat_kv_attention(
                query, [*asked[i], (keys[i], values[i])], mask, config
            )

        x = nnx.merge(graph.block, layer)(x, angles, attend)
    longer = cache._replace(
        length=cache.length + tokens.shape[1], keys=tuple(keys), values=tuple(values)
    )
    return nnx.merge(graph.norm, params["norm"])(x), longer


def decode_rope_and_mask(
    config: ModelConfig, cache: Cache, positions: Array, slides: bool
) -> tuple[CosSin, Array]:
    """The angles of new tokens, and which slots each of them sees [B T S].

    Keys are turned before it is known how long their row will be: with longrope, all
    rows of a cache with more slots than the original context count as long. Those that
    end within it have the log-probs of `Graph.hidden` where `Scaling.always` is set.
    """
    slots = cache.places[:, None, :]
    mask = slots <= positions[:, :, None]
    if slides and config.window is not None:
        mask = mask & (positions[:, :, None] - slots < config.window)
    scaling = config.rope_scaling
    wide = scaling is not None and slots.shape[2] > scaling.original
    long = jnp.full(positions.shape, wide)
    return rotary_cos_sin(positions, config, is_sliding=slides, long=long), mask


def unembed(config: ModelConfig, params: Params) -> Array:
    """The matrix [D V] from hidden states to logits, in the compute dtype."""
    matrix = params["embed"].T if config.tied else params["unembed"]
    return matrix.astype(jnp.dtype(config.dtype))


def init_sharded(init: Any, specs: Any, key: Key, mesh: Any = None) -> Params:
    """New parameters, each made where it belongs."""
    if mesh is None:
        return jax.jit(init)(key)
    places = sharding.shardings(mesh, specs, jax.eval_shape(init, key))
    return jax.jit(init, out_shardings=places)(key)


@functools.lru_cache
def language_model(config: ModelConfig) -> LanguageModel:
    """The pure functions of a language model; equal configs share them, and so what was
    compiled for them.
    """
    graph = TransformerGraph(config)
    return LanguageModel(
        config=config,
        init=functools.partial(init_sharded, graph.init, graph.specs),
        specs=lambda: graph.specs,
        hidden=graph.hidden,
        unembed=functools.partial(unembed, config),
        init_cache=functools.partial(init_cache, config),
        extend=functools.partial(extend, graph),
        prepare=functools.partial(prepare, graph),
        branch=branch,
    )
