"""Phi-3: Llama with fused projections, longrope and partial rotary embeddings."""

from typing import Any

from jaxalign.models.config import ModelConfig
from jaxalign.models.families.family import (
    EMBED,
    NORMS,
    Family,
    TensorTable,
    read_llama,
    read_sliding,
    write_llama,
)
from jaxalign.models.hf_layout import AxisSlice


def read(hf_config: Any) -> dict[str, Any]:
    """Fields of Llama, and a window in every layer."""
    return read_llama(hf_config) | read_sliding(hf_config.sliding_window, None)


def write(config: ModelConfig) -> dict[str, Any]:
    """The inverse of `read`; the original context is a field of its own."""
    scaling = config.rope_scaling
    settings = write_llama(config)
    settings.pop("head_dim")  # it is always width / heads
    return settings | {
        "partial_rotary_factor": config.rotary_fraction,
        "original_max_position_embeddings": (
            scaling.original_context if scaling else config.context
        ),
        "sliding_window": config.window,
    }


def layer(config: ModelConfig) -> TensorTable:
    """Tensors of a layer: one of queries, keys and values; one of gate and up."""
    heads, end = config.heads, config.heads + config.kv_heads
    qkv = ("self_attn.qkv_proj.weight", "(a e) d -> d a e")
    mlp = ("mlp.gate_up_proj.weight", "(g f) d -> d f")
    return NORMS | {
        "attention.query": (*qkv, AxisSlice("a", 0, heads)),
        "attention.key": (*qkv, AxisSlice("a", heads, end)),
        "attention.value": (*qkv, AxisSlice("a", end, end + config.kv_heads)),
        "attention.out": ("self_attn.o_proj.weight", "d (h e) -> h e d"),
        "feed_forward.gate": (*mlp, AxisSlice("g", 0, 1)),
        "feed_forward.up": (*mlp, AxisSlice("g", 1, 2)),
        "feed_forward.down": ("mlp.down_proj.weight", "d f -> f d"),
    }


PHI3 = Family(
    name="phi3",
    language="Phi3ForCausalLM",
    reward="Phi3ForSequenceClassification",
    read=read,
    write=write,
    layer=layer,
    trunk=EMBED,
)
