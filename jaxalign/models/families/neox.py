"""GPT-NeoX and Pythia: parallel layers, layer norms, partial rotary embeddings."""

from typing import Any

from jaxalign.models.config import ModelConfig
from jaxalign.models.families import rope_config
from jaxalign.models.families.family import (
    Family,
    TensorTable,
    hf_activation,
    our_activation,
    read_shape,
    write_llama,
)
from jaxalign.models.hf_layout import AxisSlice

TRUNK: TensorTable = {
    "embed": ("embed_in.weight", "v d -> v d"),
    "norm.scale": ("final_layer_norm.weight", "d -> d"),
    "norm.bias": ("final_layer_norm.bias", "d -> d"),
}
LAYER: TensorTable = {
    "attention.out": ("attention.dense.weight", "d (h e) -> h e d"),
    "attention.out_bias": ("attention.dense.bias", "d -> d"),
    "feed_forward.up": ("mlp.dense_h_to_4h.weight", "f d -> d f"),
    "feed_forward.up_bias": ("mlp.dense_h_to_4h.bias", "f -> f"),
    "feed_forward.down": ("mlp.dense_4h_to_h.weight", "d f -> f d"),
    "feed_forward.down_bias": ("mlp.dense_4h_to_h.bias", "d -> d"),
    "attention_norm.scale": ("input_layernorm.weight", "d -> d"),
    "attention_norm.bias": ("input_layernorm.bias", "d -> d"),
    "feed_forward_norm.scale": ("post_attention_layernorm.weight", "d -> d"),
    "feed_forward_norm.bias": ("post_attention_layernorm.bias", "d -> d"),
} | {
    # fused per head: a head's query, key and value are contiguous
    f"attention.{leaf}{bias}": (
        f"attention.query_key_value.{kind}",
        axes,
        AxisSlice("q", i, i + 1),
    )
    for i, leaf in enumerate(("query", "key", "value"))
    for bias, kind, axes in (
        ("", "weight", "(h q e) d -> d h e"),
        ("_bias", "bias", "(h q e) -> h e"),
    )
}


def read(hf_config: Any) -> dict[str, Any]:
    """Fields of GPT-NeoX's configuration."""
    return read_shape(hf_config) | {
        "norm": "layer",
        "norm_eps": hf_config.layer_norm_eps,
        "activation": our_activation(hf_config.hidden_act),
        "gated": False,
        "qkv_bias": bool(hf_config.attention_bias),
        "out_bias": bool(hf_config.attention_bias),
        "mlp_bias": True,
        "parallel": hf_config.use_parallel_residual,
        **rope_config.read(
            hf_config.rope_parameters, hf_config.max_position_embeddings
        ),
    }


def write(config: ModelConfig) -> dict[str, Any]:
    """The inverse of `read`: fields of config.json."""
    settings = {
        name: value
        for name, value in write_llama(config).items()
        if name not in ("head_dim", "num_key_value_heads", "rope_theta", "rms_norm_eps")
    }
    return settings | {
        "layer_norm_eps": config.norm_eps,
        "hidden_act": hf_activation(config.activation),
        "use_parallel_residual": config.parallel,
        "attention_bias": config.qkv_bias,
        "rotary_pct": config.rotary_fraction,
        "rotary_emb_base": config.rope_theta,
    }


NEOX = Family(
    name="gpt_neox",
    language="GPTNeoXForCausalLM",
    reward="GPTNeoXForSequenceClassification",
    read=read,
    write=write,
    layer=lambda config: LAYER,
    trunk=TRUNK,
    prefix="gpt_neox",
    unembed="embed_out.weight",
)
