"""A decoder-only transformer as a bundle of pure functions over a parameter tree."""

import functools
from typing import TYPE_CHECKING

from jaxalign import lazy
from jaxalign.models.cache import branch, init_cache
from jaxalign.models.config import ModelConfig
from jaxalign.types import LanguageModel

if TYPE_CHECKING:
    from jaxalign.models import decoding, transformer_graph
else:  # these import Flax, which is slow
    decoding = lazy.module("jaxalign.models.decoding")
    transformer_graph = lazy.module("jaxalign.models.transformer_graph")


@functools.lru_cache
def language_model(config: ModelConfig) -> LanguageModel:
    """The pure functions of a language model.

    Equal configurations share one bundle, and with it all compiled programs.
    """
    graph = transformer_graph.TransformerGraph(config)
    return LanguageModel(
        config=config,
        init=functools.partial(transformer_graph.init_sharded, graph.init, graph.specs),
        specs=lambda: graph.specs,
        hidden=graph.hidden_states,
        unembed=functools.partial(transformer_graph.unembed, config),
        init_cache=functools.partial(init_cache, config),
        extend=functools.partial(decoding.extend, graph),
        prepare=functools.partial(decoding.prepare, graph),
        branch=branch,
        embed=functools.partial(transformer_graph.embed_tokens, config),
    )
