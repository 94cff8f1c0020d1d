"""Gemma 2 and the text models of Gemma 3."""

from typing import Any

from jaxalign.models.config import ModelConfig
from jaxalign.models.families import rope_config
from jaxalign.models.families.family import (
    ATTENTION,
    FEED_FORWARD,
    HEAD_NORMS,
    Family,
    TensorTable,
    layer_types,
    our_activation,
    read_shape,
    read_sliding,
    write_llama,
)

NORMS: TensorTable = {
    "attention_norm.scale": ("input_layernorm.weight", "d -> d"),
    "attention_post_norm.scale": ("post_attention_layernorm.weight", "d -> d"),
    "feed_forward_norm.scale": ("pre_feedforward_layernorm.weight", "d -> d"),
    "feed_forward_post_norm.scale": ("post_feedforward_layernorm.weight", "d -> d"),
}
LAYER = ATTENTION | FEED_FORWARD | NORMS


def read_gemma(hf_config: Any) -> dict[str, Any]:
    """Fields of both: norms on both sides, 1 + scale, scaled embeddings, windows."""
    is_default = hf_config.query_pre_attn_scalar == hf_config.head_dim
    return read_shape(hf_config) | {
        "norm_eps": hf_config.rms_norm_eps,
        "norm_offset": 1.0,
        "norm_place": "both",
        "activation": our_activation(hf_config.hidden_activation),
        "qkv_bias": bool(hf_config.attention_bias),
        "out_bias": bool(hf_config.attention_bias),
        "scale_embeddings": True,
        "query_scale": None if is_default else hf_config.query_pre_attn_scalar**-0.5,
        "logit_cap": hf_config.final_logit_softcapping,
        **read_sliding(hf_config.sliding_window, hf_config.layer_types),
    }


def write_gemma(config: ModelConfig) -> dict[str, Any]:
    """The inverse of `read_gemma`: fields of config.json."""
    settings = write_llama(config)
    settings["hidden_activation"] = settings.pop("hidden_act")
    scale = config.query_scale or config.head_dim**-0.5
    return settings | {
        "attention_bias": config.qkv_bias,
        "query_pre_attn_scalar": round(scale**-2),
        "final_logit_softcapping": config.logit_cap,
        "attn_logit_softcapping": config.attention_cap,
        "sliding_window": config.window,
        "layer_types": layer_types(config),
    }


def read_gemma2(hf_config: Any) -> dict[str, Any]:
    """Fields of Gemma 2: a soft cap on attention scores."""
    return read_gemma(hf_config) | {
        "attention_cap": hf_config.attn_logit_softcapping,
        **rope_config.read(
            hf_config.rope_parameters, hf_config.max_position_embeddings
        ),
    }


def read_gemma3(hf_config: Any) -> dict[str, Any]:
    """Fields of Gemma 3: norms of queries and keys, a rotary base for sliding layers.

    Raises:
      ValueError: scaled rotary frequencies in sliding layers.
    """
    sliding, full = (
        hf_config.rope_parameters[kind]
        for kind in ("sliding_attention", "full_attention")
    )
    if sliding["rope_type"] != "default":
        raise ValueError("scaled rotary frequencies in sliding layers: not supported")
    same = sliding == full
    return read_gemma(hf_config) | {
        "qk_norm": "head",
        "rope_local_theta": None if same else float(sliding["rope_theta"]),
        **rope_config.read(full, hf_config.max_position_embeddings),
    }


def write_gemma3(config: ModelConfig) -> dict[str, Any]:
    """The inverse of `read_gemma3`: fields of config.json."""
    local = config.rope_local_theta or config.rope_theta
    return write_gemma(config) | {"rope_local_base_freq": local}


GEMMA2 = Family(
    name="gemma2",
    language="Gemma2ForCausalLM",
    reward="Gemma2ForSequenceClassification",
    read=read_gemma2,
    write=write_gemma,
    layer=lambda config: LAYER,
    supported_values={"use_bidirectional_attention": (False, None)},
)
GEMMA3 = Family(
    name="gemma3_text",
    language="Gemma3ForCausalLM",
    reward="Gemma3TextForSequenceClassification",
    read=read_gemma3,
    write=write_gemma3,
    layer=lambda config: LAYER | HEAD_NORMS,
    supported_values={
        "use_bidirectional_attention": (False, None),
        "attn_logit_softcapping": (None,),
    },
)
