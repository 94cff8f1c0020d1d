"""The modules of a transformer, and its training forward pass over a parameter tree.

Layers are stacked and scanned, so that compile time does not grow with depth.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh

from jaxalign import sharding
from jaxalign.batches import Branches
from jaxalign.models.attention import (
    Mask,
    attention_mask,
    dot_product_attention,
    select_attention,
)
from jaxalign.models.config import ModelConfig
from jaxalign.models.layers import Block, GatherFn, Norm, all_positions, normal_param
from jaxalign.models.rotary_embedding import CosSin, rotary_cos_sin, uses_long_factors
from jaxalign.types import Array, Key, Params

REMAT_POLICIES = {
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    "full": jax.checkpoint_policies.nothing_saveable,
}


class Transformer(nnx.Module):
    """The modules of a language model, or of a trunk without its unembedding."""

    def __init__(
        self, config: ModelConfig, *, rngs: nnx.Rngs, unembed: bool = True
    ) -> None:
        """Create embeddings, stacked layers, the final norm, and the unembedding."""
        shape, std = (config.vocab_size, config.width), config.width**-0.5
        dtype = config.param_dtype
        self.embed = normal_param(rngs, shape, ("vocab", "width"), std, dtype)
        if config.learned_positions:
            table = (config.context, config.width)
            self.positions = normal_param(rngs, table, (None, "width"), std, dtype)

        @nnx.split_rngs(splits=config.layers)
        @nnx.vmap(in_axes=(0,), out_axes=0)
        def stack_blocks(rngs: nnx.Rngs) -> Block:
            return Block(config, rngs=rngs)

        self.blocks = stack_blocks(rngs)
        self.norm = Norm(config)
        if unembed and not config.tied:
            axes = ("width", "vocab")
            self.unembed = normal_param(rngs, shape[::-1], axes, std, dtype)


class TransformerGraph:
    """The graph definitions of a transformer, and functions over its parameters."""

    def __init__(self, config: ModelConfig, *, unembed: bool = True) -> None:
        """Trace the modules once, without computing parameters.

        Args:
          unembed: False for a trunk, to which a scalar head is added.
        """
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
        """New parameters as a nested dict."""
        return nnx.to_pure_dict(nnx.state(self.build(key), nnx.Param))

    def rope_and_masks(
        self, positions: Array, segments: Array, branches: Branches | None
    ) -> list[tuple[CosSin, Mask]]:
        """Rotary cosine and sine, and the mask, of each kind of layer.

        Returns:
          One entry; or two, of full attention and of sliding windows, for models with
          both.
        """
        config = self.config
        long = uses_long_factors(positions, segments, config)
        return [
            (
                rotary_cos_sin(positions, config, is_sliding=is_sliding, long=long),
                attention_mask(
                    segments,
                    positions,
                    config,
                    is_sliding=is_sliding,
                    branches=branches,
                ),
            )
            for is_sliding in sorted(set(config.is_sliding))
        ]

    def hidden_states(
        self,
        params: Params,
        tokens: Array,
        positions: Array,
        segments: Array,
        at: Array | None = None,
        branches: Branches | None = None,
        embeddings: Array | None = None,
    ) -> Array:
        """The final hidden states [B T D] of right-padded, possibly packed, rows.

        Args:
          tokens, positions, segments: [B T], see `LanguageModel`.
          at: positions of each row to compute [B Q], for hidden states [B Q D]. Where
            layers are unrolled, the last layer computes keys and values alone for the
            others.
          branches: the layout of all rows, where they are prompts with answers; not
            with `at`.
          embeddings: of the tokens, in place of those of the table [B T D].
        """
        config = self.config
        if embeddings is None:
            embeddings = embed_tokens(config, params, tokens)
        x = add_positions(config, params, embeddings, positions)
        x = sharding.constrain(x, "batch", None, None)
        kinds = self.rope_and_masks(positions, segments, branches)

        def layer(
            x: Array, item: Any, query_positions: GatherFn = all_positions
        ) -> tuple[Array, None]:
            block, is_sliding = item
            if is_sliding is None:  # all layers are of one kind
                cos_sin, mask = kinds[0]
            else:
                select = lambda full, sliding: jnp.where(is_sliding, sliding, full)
                cos_sin, mask = jax.tree.map(select, *kinds)
            if query_positions is all_positions:
                attend = select_attention(segments, mask, config, branches)
            else:
                attend = functools.partial(
                    dot_product_attention, mask=query_positions(mask), config=config
                )
            module = nnx.merge(self.block, block)
            return module(x, cos_sin, attend, query_positions), None

        unrolled = config.layers <= config.unroll
        if config.remat != "none":
            # in an unrolled loop XLA's common subexpression elimination would undo the
            # remat: it would keep the first forward pass in place of a second one
            policy, unrolled = REMAT_POLICIES[config.remat], False
            layer = jax.checkpoint(layer, policy=policy, prevent_cse=False)
        gather = all_positions
        if at is not None:
            gather = functools.partial(gather_positions, at=at)
        splits_last = at is not None and unrolled and config.attention != "cudnn"
        is_sliding = jnp.array(config.is_sliding) if len(kinds) > 1 else None
        stack, last = (params["blocks"], is_sliding), None
        if splits_last:
            last = jax.tree.map(lambda x: x[-1], stack)
            stack = jax.tree.map(lambda x: x[:-1], stack)
        x, _ = jax.lax.scan(layer, x, stack, unroll=config.layers if unrolled else 1)
        x = layer(x, last, gather)[0] if splits_last else gather(x)
        return nnx.merge(self.norm, params["norm"])(x)


def gather_positions(x: Array, at: Array) -> Array:
    """Gather positions [B Q] of each row: [B T ...] -> [B Q ...]."""
    return jnp.take_along_axis(x, at.reshape(at.shape + (1,) * (x.ndim - 2)), axis=1)


def embed_tokens(config: ModelConfig, params: Params, tokens: Array) -> Array:
    """The embeddings of tokens in the compute dtype [... D], without positions.

    They are cast after the lookup, so that gradients of the table add up in its dtype.
    On a mesh the table is gathered along its width, as other parameters are; XLA would
    gather all of it.

    Args:
      tokens: [...].
    """
    dtype = jnp.dtype(config.dtype)
    table = sharding.constrain(params["embed"], "vocab", None)
    x = table[tokens].astype(dtype)
    if config.scale_embeddings:
        x = x * jnp.asarray(config.width**0.5, dtype)
    return x


def add_positions(
    config: ModelConfig, params: Params, embeddings: Array, positions: Array
) -> Array:
    """Embeddings [B T D] plus those of positions [B T], where they are learned."""
    if not config.learned_positions:
        return embeddings
    table = sharding.constrain(params["positions"], None, None)
    return embeddings + table[positions].astype(embeddings.dtype)


def unembed(config: ModelConfig, params: Params) -> Array:
    """The matrix [D V] from hidden states to logits, in the compute dtype."""
    matrix = params["embed"].T if config.tied else params["unembed"]
    return matrix.astype(jnp.dtype(config.dtype))


def init_sharded(
    init: Callable[[Key], Params], specs: Any, key: Key, mesh: Mesh | None = None
) -> Params:
    """New parameters, each created on the devices that hold it.

    Args:
      init: (key) -> parameters.
      specs: their tree of `PartitionSpec`.
      mesh: None for the default device.
    """
    if mesh is None:
        return jax.jit(init)(key)
    shardings = sharding.shardings(mesh, specs, jax.eval_shape(init, key))
    return jax.jit(init, out_shardings=shardings)(key)
