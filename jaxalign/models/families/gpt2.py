"""GPT-2: layer norms, biases, learned positions, weights stored input first."""

from typing import Any

from jaxalign.models.config import ModelConfig
from jaxalign.models.families.family import (
    Family,
    TensorTable,
    hf_activation,
    our_activation,
)
from jaxalign.models.hf_layout import AxisSlice

TRUNK: TensorTable = {
    "embed": ("wte.weight", "v d -> v d"),
    "positions": ("wpe.weight", "c d -> c d"),
    "norm.scale": ("ln_f.weight", "d -> d"),
    "norm.bias": ("ln_f.bias", "d -> d"),
}
LAYER: TensorTable = {
    "attention.out": ("attn.c_proj.weight", "(h e) d -> h e d"),
    "attention.out_bias": ("attn.c_proj.bias", "d -> d"),
    "feed_forward.up": ("mlp.c_fc.weight", "d f -> d f"),
    "feed_forward.up_bias": ("mlp.c_fc.bias", "f -> f"),
    "feed_forward.down": ("mlp.c_proj.weight", "f d -> f d"),
    "feed_forward.down_bias": ("mlp.c_proj.bias", "d -> d"),
    "attention_norm.scale": ("ln_1.weight", "d -> d"),
    "attention_norm.bias": ("ln_1.bias", "d -> d"),
    "feed_forward_norm.scale": ("ln_2.weight", "d -> d"),
    "feed_forward_norm.bias": ("ln_2.bias", "d -> d"),
} | {
    f"attention.{leaf}{bias}": (f"attn.c_attn.{kind}", axes, AxisSlice("q", i, i + 1))
    for i, leaf in enumerate(("query", "key", "value"))
    for bias, kind, axes in (
        ("", "weight", "d (q h e) -> d h e"),
        ("_bias", "bias", "(q h e) -> h e"),
    )
}


def read(hf_config: Any) -> dict[str, Any]:
    """Fields of GPT-2's configuration."""
    return {
        "vocab_size": hf_config.vocab_size,
        "width": hf_config.n_embd,
        "hidden": hf_config.n_inner or 4 * hf_config.n_embd,
        "layers": hf_config.n_layer,
        "heads": hf_config.n_head,
        "kv_heads": hf_config.n_head,
        "head_dim": hf_config.n_embd // hf_config.n_head,
        "context": hf_config.n_positions,
        "tied": hf_config.tie_word_embeddings,
        "norm": "layer",
        "norm_eps": hf_config.layer_norm_epsilon,
        "activation": our_activation(hf_config.activation_function),
        "gated": False,
        "qkv_bias": True,
        "out_bias": True,
        "mlp_bias": True,
        "learned_positions": True,
    }


def write(config: ModelConfig) -> dict[str, Any]:
    """The inverse of `read`: fields of config.json."""
    return {
        "vocab_size": config.vocab_size,
        "n_embd": config.width,
        "n_inner": config.hidden,
        "n_layer": config.layers,
        "n_head": config.heads,
        "n_positions": config.context,
        "layer_norm_epsilon": config.norm_eps,
        "activation_function": hf_activation(config.activation),
        "tie_word_embeddings": config.tied,
    }


GPT2 = Family(
    name="gpt2",
    language="GPT2LMHeadModel",
    reward="GPT2ForSequenceClassification",
    read=read,
    write=write,
    layer=lambda config: LAYER,
    trunk=TRUNK,
    prefix="transformer",
    layers="h",
    required=("vocab_size", "n_embd", "n_layer", "n_head", "n_positions"),
    supported_values={
        "scale_attn_weights": (True,),
        "scale_attn_by_inverse_layer_idx": (False,),
        "add_cross_attention": (False,),
    },
)
