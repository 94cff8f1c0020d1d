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


def read_gemma(there: Any) -> dict[str, Any]:
    """What both have: norms on both sides, 1 + scale, scaled embeddings, windows."""
    usual = there.query_pre_attn_scalar == there.head_dim
    return read_shape(there) | {
        "norm_eps": there.rms_norm_eps,
        "norm_offset": 1.0,
        "norm_place": "both",
        "activation": our_activation(there.hidden_activation),
        "qkv_bias": bool(there.attention_bias),
        "out_bias": bool(there.attention_bias),
        "embed_scaled": True,
        "query_scale": None if usual else there.query_pre_attn_scalar**-0.5,
        "logit_cap": there.final_logit_softcapping,
        **read_sliding(there.sliding_window, there.layer_types),
    }


def write_gemma(config: ModelConfig) -> dict[str, Any]:
    """The same."""
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


def read_gemma2(there: Any) -> dict[str, Any]:
    """Soft caps on scores and logits."""
    return read_gemma(there) | {
        "attention_cap": there.attn_logit_softcapping,
        **rope_config.read(there.rope_parameters, there.max_position_embeddings),
    }


def read_gemma3(there: Any) -> dict[str, Any]:
    """Norms of queries and keys, and another rotary base in sliding layers.

    Raises:
      ValueError: rotary frequencies of sliding layers that are stretched.
    """
    near, far = (
        there.rope_parameters[kind] for kind in ("sliding_attention", "full_attention")
    )
    if near["rope_type"] != "default":
        raise ValueError("scaled rotary frequencies in sliding layers: not supported")
    same = near == far
    return read_gemma(there) | {
        "qk_norm": "head",
        "rope_local_theta": None if same else float(near["rope_theta"]),
        **rope_config.read(far, there.max_position_embeddings),
    }


def write_gemma3(config: ModelConfig) -> dict[str, Any]:
    """The same."""
    local = config.rope_local_theta or config.rope_theta
    return write_gemma(config) | {"rope_local_base_freq": local}


GEMMA2 = Family(
    name="gemma2",
    language="Gemma2ForCausalLM",
    reward="Gemma2ForSequenceClassification",
    read=read_gemma2,
    write=write_gemma,
    layer=lambda config: LAYER,
    fixed={"use_bidirectional_attention": (False, None)},
)
GEMMA3 = Family(
    name="gemma3_text",
    language="Gemma3ForCausalLM",
    reward="Gemma3TextForSequenceClassification",
    read=read_gemma3,
    write=write_gemma3,
    layer=lambda config: LAYER | HEAD_NORMS,
    fixed={
        "use_bidirectional_attention": (False, None),
        "attn_logit_softcapping": (None,),
    },
)
