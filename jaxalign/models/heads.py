"""Reward and value models: a language model's trunk with a scalar head."""

import functools

import jax
import jax.numpy as jnp

from jaxalign import sharding
from jaxalign.models.config import ModelConfig
from jaxalign.models.transformer import TransformerGraph, init_sharded
from jaxalign.types import Array, Key, Params, ScalarModel


@functools.lru_cache
def scalar_model(config: ModelConfig, *, zero_head: bool = False) -> ScalarModel:
    """A model with one number per token.

    score = hidden @ weight + bias,   weight ~ N(0, 1 / (width + 1)), bias = 0

    in float32, as the reward heads of Stiennon et al. 2020 (alignment details 9); with
    `zero_head` the weight starts at 0, as Ziegler's value heads do.
    """
    graph = TransformerGraph(config, unembed=False)

    def head(key: Key) -> Params:
        std = 0.0 if zero_head else (config.width + 1) ** -0.5
        drawn = std * jax.random.normal(key, (config.width,), jnp.float32)
        return {"weight": drawn, "bias": jnp.zeros((), jnp.float32)}

    def init(key: Key) -> Params:
        trunk_key, head_key = jax.random.split(key)
        return graph.init(trunk_key) | {"head": head(head_key)}

    def scores(
        params: Params,
        tokens: Array,
        positions: Array,
        segments: Array,
        at: Array | None = None,
    ) -> Array:
        trunk = {name: tree for name, tree in params.items() if name != "head"}
        hidden = graph.hidden(trunk, tokens, positions, segments, at)
        weight, bias = params["head"]["weight"], params["head"]["bias"]
        return hidden.astype(jnp.float32) @ weight + bias

    def from_trunk(key: Key, params: Params) -> Params:
        trunk = {name: jax.tree.map(jnp.copy, params[name]) for name in graph.specs}
        return trunk | {"head": head(key)}

    head_specs = {"weight": sharding.spec(None), "bias": sharding.spec()}
    specs = graph.specs | {"head": head_specs}
    return ScalarModel(
        config=config,
        init=functools.partial(init_sharded, init, specs),
        specs=lambda: specs,
        scores=scores,
        from_trunk=from_trunk,
    )
