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


def read(there: Any) -> dict[str, Any]:
    """The fields that GPT-2's configuration sets."""
    return {
        "vocab_size": there.vocab_size,
        "width": there.n_embd,
        "hidden": there.n_inner or 4 * there.n_embd,
        "layers": there.n_layer,
        "heads": there.n_head,
        "kv_heads": there.n_head,
        "head_dim": there.n_embd // there.n_head,
        "context": there.n_positions,
        "tied": there.tie_word_embeddings,
        "norm": "layer",
        "norm_eps": there.layer_norm_epsilon,
        "activation": our_activation(there.activation_function),
        "gated": False,
        "qkv_bias": True,
        "out_bias": True,
        "mlp_bias": True,
        "learned_positions": True,
    }


def write(config: ModelConfig) -> dict[str, Any]:
    """The same."""
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
    needed=("vocab_size", "n_embd", "n_layer", "n_head", "n_positions"),
    fixed={
        "scale_attn_weights": (True,),
        "scale_attn_by_inverse_layer_idx": (False,),
        "add_cross_attention": (False,),
    },
)
