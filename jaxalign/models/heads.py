"""Reward and value models: the trunk of a language model with a scalar head, or two."""

import functools
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from jaxalign import lazy, sharding
from jaxalign.models.config import ModelConfig
from jaxalign.types import Array, Key, Params, ScalarModel

if TYPE_CHECKING:
    from jaxalign.models import transformer_graph
else:  # it imports Flax, which is slow
    transformer_graph = lazy.module("jaxalign.models.transformer_graph")


@functools.lru_cache
def scalar_model(config: ModelConfig, *, zero_head: bool = False) -> ScalarModel:
    """A model with one score per token.

    score = hidden @ weight + bias,    weight ~ N(0, 1 / (width + 1)), bias = 0

    in float32. Equal arguments share one bundle, and with it all compiled programs.

    Args:
      config: of the trunk.
      zero_head: initialize the weight with 0, as the value heads of Ziegler et al. 2019
        (arXiv:1909.08593).

    Reference: Stiennon et al. 2020, arXiv:2009.01325, alignment details 9.
    """
    graph = transformer_graph.TransformerGraph(config, unembed=False)

    def init_head(key: Key) -> Params:
        std = 0.0 if zero_head else (config.width + 1) ** -0.5
        weight = std * jax.random.normal(key, (config.width,), jnp.float32)
        return {"weight": weight, "bias": jnp.zeros((), jnp.float32)}

    def init(key: Key) -> Params:
        trunk_key, head_key = jax.random.split(key)
        return graph.init(trunk_key) | {"head": init_head(head_key)}

    def scores(
        params: Params,
        tokens: Array,
        positions: Array,
        segments: Array,
        at: Array | None = None,
    ) -> Array:
        trunk = {name: tree for name, tree in params.items() if name != "head"}
        hidden = graph.hidden_states(trunk, tokens, positions, segments, at)
        weight, bias = params["head"]["weight"], params["head"]["bias"]
        score = hidden.astype(jnp.float32) @ weight
        return score + jnp.broadcast_to(bias, score.shape)

    def from_trunk(key: Key, params: Params) -> Params:
        trunk = {name: jax.tree.map(jnp.copy, params[name]) for name in graph.specs}
        return trunk | {"head": init_head(key)}

    head_specs = {"weight": sharding.spec(None), "bias": sharding.spec()}
    specs = graph.specs | {"head": head_specs}
    return ScalarModel(
        config=config,
        init=functools.partial(transformer_graph.init_sharded, init, specs),
        specs=lambda: specs,
        scores=scores,
        from_trunk=from_trunk,
    )


def add_safety_head(key: Key, params: Params) -> Params:
    """Add an output to a scalar model's head: the log-odds that an answer is unsafe.

    The model's `scores` are then [..., 2]: the score, and these log-odds, both read
    from the same hidden states. `split_heads` makes two scalar models of it.

    Args:
      params: of a `scalar_model`, with a head of one output.

    Reference: Touvron et al. 2023, arXiv:2307.09288, section 3.2.2 (the auxiliary
    safety loss).
    """
    head = params["head"]
    std = (len(head["weight"]) + 1) ** -0.5
    weight = std * jax.random.normal(key, head["weight"].shape, jnp.float32)
    added = {"weight": weight, "bias": jnp.zeros_like(head["bias"])}
    both = jax.tree.map(lambda *xs: jnp.stack(xs, axis=-1), head, added)
    return {**params, "head": both}


def split_heads(params: Params) -> tuple[Params, Params]:
    """Parameters of the scores and of the unsafe log-odds, of one trunk.

    Args:
      params: of `add_safety_head`.
    """
    parts = [jax.tree.map(lambda x, i=i: x[..., i], params["head"]) for i in range(2)]
    return {**params, "head": parts[0]}, {**params, "head": parts[1]}
