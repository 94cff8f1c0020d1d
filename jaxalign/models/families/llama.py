"""Llama, and the families that differ from it in a few settings."""

from typing import Any

from jaxalign.models.config import ModelConfig
from jaxalign.models.families.family import (
    ATTENTION,
    FEED_FORWARD,
    HEAD_NORMS,
    NORMS,
    Family,
    TensorTable,
    layer_types,
    read_llama,
    read_sliding,
    write_llama,
)

LAYER = ATTENTION | FEED_FORWARD | NORMS
ALL_HEADS_NORMS: TensorTable = {
    "attention.query_norm.scale": ("self_attn.q_norm.weight", "n -> n"),
    "attention.key_norm.scale": ("self_attn.k_norm.weight", "m -> m"),
    "attention_post_norm.scale": ("post_attention_layernorm.weight", "d -> d"),
    "feed_forward_post_norm.scale": ("post_feedforward_layernorm.weight", "d -> d"),
}


def attention_bias(config: ModelConfig) -> dict[str, Any]:
    """The field of config.json for the biases of attention."""
    return {"attention_bias": config.qkv_bias}


def write_plain(config: ModelConfig) -> dict[str, Any]:
    """Fields of Llama's config.json."""
    return write_llama(config) | attention_bias(config) | {"mlp_bias": config.mlp_bias}


def read_mistral(hf_config: Any) -> dict[str, Any]:
    """Fields of Llama, and a window in every layer."""
    return read_llama(hf_config) | read_sliding(hf_config.sliding_window, None)


def write_mistral(config: ModelConfig) -> dict[str, Any]:
    """The inverse of `read_mistral`: fields of config.json."""
    return write_llama(config) | {"sliding_window": config.window}


def read_qwen2(hf_config: Any) -> dict[str, Any]:
    """Fields of Llama, biases of queries, keys and values, windows in some layers."""
    sliding = read_sliding(hf_config.sliding_window, hf_config.layer_types)
    return read_llama(hf_config) | {"qkv_bias": True} | sliding


def write_qwen2(config: ModelConfig) -> dict[str, Any]:
    """The inverse of `read_qwen2`: fields of config.json."""
    return write_llama(config) | {
        "use_sliding_window": config.window is not None,
        "sliding_window": config.window,
        "max_window_layers": config.layers - sum(config.is_sliding),
        "layer_types": layer_types(config),
    }


def read_qwen3(hf_config: Any) -> dict[str, Any]:
    """Fields of Llama, norms of the queries and keys of each head, windows."""
    sliding = read_sliding(hf_config.sliding_window, hf_config.layer_types)
    return read_llama(hf_config) | {"qk_norm": "head"} | sliding


def read_olmo2(hf_config: Any) -> dict[str, Any]:
    """Fields of Llama, norms after layers, norms of all queries and of all keys."""
    return read_llama(hf_config) | {"norm_place": "after", "qk_norm": "all_heads"}


LLAMA = Family(
    name="llama",
    language="LlamaForCausalLM",
    reward="LlamaForSequenceClassification",
    read=read_llama,
    write=write_plain,
    layer=lambda config: LAYER,
    supported_values={"pretraining_tp": (1, None)},
)
MISTRAL = Family(
    name="mistral",
    language="MistralForCausalLM",
    reward="MistralForSequenceClassification",
    read=read_mistral,
    write=write_mistral,
    layer=lambda config: LAYER,
)
QWEN2 = Family(
    name="qwen2",
    language="Qwen2ForCausalLM",
    reward="Qwen2ForSequenceClassification",
    read=read_qwen2,
    write=write_qwen2,
    layer=lambda config: LAYER,
)
QWEN3 = Family(
    name="qwen3",
    language="Qwen3ForCausalLM",
    reward="Qwen3ForSequenceClassification",
    read=read_qwen3,
    write=lambda config: write_qwen2(config) | attention_bias(config),
    layer=lambda config: LAYER | HEAD_NORMS,
)
OLMO2 = Family(
    name="olmo2",
    language="Olmo2ForCausalLM",
    reward="Olmo2ForSequenceClassification",
    read=read_olmo2,
    write=lambda config: write_llama(config) | attention_bias(config),
    layer=lambda config: ATTENTION | FEED_FORWARD | ALL_HEADS_NORMS,
)
