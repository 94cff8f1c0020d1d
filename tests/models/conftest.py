"""A tiny transformer, and rows of different length for it to read."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxalign.batches import TokenBatch, from_lengths
from jaxalign.models import transformer
from jaxalign.models.config import ModelConfig
from jaxalign.models.families import known
from jaxalign.types import LanguageModel, Params

# Six query heads share three key heads; head_dim * heads is not the width.
TINY = ModelConfig(
    vocab_size=22,
    width=24,
    hidden=36,
    layers=3,
    heads=6,
    kv_heads=3,
    head_dim=8,
    context=32,
    tied=False,
)
LENGTHS = np.array([9, 4, 1, 7], np.int32)

SIZES = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}
SHARED = SIZES | {"num_key_value_heads": 2, "head_dim": 12}
PATTERN = ["sliding_attention", "full_attention", "sliding_attention"]
STRETCHED = {"factor": 4.0, "original_max_position_embeddings": 16}
# A tiny model of each family, as transformers names its settings, with all that the
# family has switched on; texts of 30 tokens are beyond windows and original contexts.
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": SHARED
    | {
        "attention_bias": True,
        "mlp_bias": True,
        "rope_theta": 500.0,
        "rope_scaling": STRETCHED
        | {"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0},
    },
    "mistral": SHARED | {"sliding_window": 5},
    "qwen2": SHARED
    | {
        "head_dim": 8,
        "use_sliding_window": True,
        "sliding_window": 6,
        "max_window_layers": 2,
        "rope_scaling": STRETCHED | {"rope_type": "yarn"},
    },
    "qwen3": SHARED
    | {
        "attention_bias": True,
        "use_sliding_window": True,
        "sliding_window": 6,
        "layer_types": PATTERN,
    },
    "gemma2": SHARED
    | {
        "sliding_window": 5,
        "query_pre_attn_scalar": 20,
        "attn_logit_softcapping": 2.0,
        "final_logit_softcapping": 3.0,
        "attention_bias": True,
    },
    "gemma3_text": SHARED
    | {
        "sliding_window": 5,
        "layer_types": PATTERN,
        "query_pre_attn_scalar": 20,
        "final_logit_softcapping": 3.0,
        "rope_theta": 1000.0,
        "rope_local_base_freq": 100.0,
        "rope_scaling": {"rope_type": "linear", "factor": 8.0},
    },
    "phi3": SIZES
    | {
        "num_key_value_heads": 2,
        "sliding_window": 7,
        "pad_token_id": 0,
        "original_max_position_embeddings": 16,
        "partial_rotary_factor": 0.5,
        "rope_scaling": {
            "rope_type": "longrope",
            "short_factor": [1.0, 1.1],
            "long_factor": [2.0, 3.0],
            "original_max_position_embeddings": 16,
        },
    },
    "gpt2": {
        "vocab_size": 61,
        "n_embd": 32,
        "n_layer": 3,
        "n_head": 4,
        "n_positions": 64,
        "n_inner": 40,
    },
    "gpt_neox": SIZES | {"rotary_pct": 0.5, "rotary_emb_base": 500},
    "olmo2": SHARED | {"head_dim": 8, "attention_bias": True},
}


@pytest.fixture(scope="session")
def tiny() -> LanguageModel:
    return transformer.language_model(TINY)


@pytest.fixture(scope="session")
def variant():
    """The tiny model with other settings."""
    return lambda **changes: transformer.language_model(
        dataclasses.replace(TINY, **changes)
    )


@pytest.fixture(scope="session", params=FAMILIES)
def family(request) -> str:
    """Each family in turn."""
    return request.param


@pytest.fixture(scope="session")
def settings():
    """What the config.json of a family's tiny model says."""

    def of(name: str, *, reward: bool = False) -> dict[str, Any]:
        table = known.FAMILIES[name]
        head = table.reward if reward else table.language
        ours = {"architectures": [head], "model_type": name}
        return FAMILIES[name] | ours | ({"num_labels": 1} if reward else {})

    return of


@pytest.fixture(scope="session")
def tiny_of(settings):
    """A family's tiny model, without one layer's code written out for each."""

    def of(name: str, **changes: Any) -> LanguageModel:
        config = known.read_config(settings(name), name)
        changed = dataclasses.replace(config, **{"unroll": 1} | changes)
        return transformer.language_model(changed)

    return of


@pytest.fixture(scope="session")
def draw():
    """Parameters of a model, drawn by numpy: compiling `init` takes seconds."""

    def make(model: Any) -> Params:
        rng = np.random.default_rng(0)
        shapes = jax.eval_shape(model.init, jax.random.key(0))

        # norms differ from 1, which would hide where they are applied
        def drawn(path: tuple[Any, ...], x: jax.ShapeDtypeStruct) -> jax.Array:
            mean = 1.0 if path[-1].key == "scale" else 0.0
            return jnp.asarray(rng.normal(mean, 0.25, x.shape), x.dtype)

        return jax.tree_util.tree_map_with_path(drawn, shapes)

    return make


@pytest.fixture(scope="session")
def params(tiny, draw) -> Params:
    return draw(tiny)


@pytest.fixture(scope="session")
def rows() -> TokenBatch:
    tokens = np.random.default_rng(0).integers(0, TINY.vocab_size, (4, 9))
    return from_lengths(tokens.astype(np.int32), LENGTHS, np.ones(4, np.int32))


@pytest.fixture(scope="session")
def hidden(tiny, params):
    """The forward pass of a batch: [B T D], as numpy."""
    compiled = jax.jit(tiny.hidden)

    def run(batch: TokenBatch) -> np.ndarray:
        read = compiled(params, batch.tokens, batch.positions, batch.segments)
        return np.asarray(read)

    return run
