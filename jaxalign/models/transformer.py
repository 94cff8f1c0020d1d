"""A decoder-only transformer as a bundle of pure functions over a parameter tree."""

import functools

from jaxalign.models.cache import branch, init_cache
from jaxalign.models.config import ModelConfig
from jaxalign.models.decoding import extend, prepare
from jaxalign.models.transformer_graph import (
    TransformerGraph,
    init_sharded,
    unembed,
)
from jaxalign.types import LanguageModel


@functools.lru_cache
def language_model(config: ModelConfig) -> LanguageModel:
    """The pure functions of a language model.

    Equal configurations share one bundle, and with it all compiled programs.
    """
    graph = TransformerGraph(config)
    return LanguageModel(
        config=config,
        init=functools.partial(init_sharded, graph.init, graph.specs),
        specs=lambda: graph.specs,
        hidden=graph.hidden_states,
        unembed=functools.partial(unembed, config),
        init_cache=functools.partial(init_cache, config),
        extend=functools.partial(extend, graph),
        prepare=functools.partial(prepare, graph),
        branch=branch,
    )
