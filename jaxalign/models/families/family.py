"""What a family is made of, and what most families have in common."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from jaxalign.models.config import ModelConfig
from jaxalign.models.families import rope_config
from jaxalign.models.hf_layout import AxisSlice

# A leaf's path -> the tensor's name, its axes, and its part where it is fused.
TensorRow = tuple[str, str] | tuple[str, str, AxisSlice]
TensorTable = dict[str, TensorRow]

ACTIVATIONS = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
}
REQUIRED = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "max_position_embeddings",
)
EMBED: TensorTable = {
    "embed": ("embed_tokens.weight", "v d -> v d"),
    "norm.scale": ("norm.weight", "d -> d"),
}
ATTENTION: TensorTable = {
    "attention.query": ("self_attn.q_proj.weight", "(h e) d -> d h e"),
    "attention.key": ("self_attn.k_proj.weight", "(k e) d -> d k e"),
    "attention.value": ("self_attn.v_proj.weight", "(k e) d -> d k e"),
    "attention.out": ("self_attn.o_proj.weight", "d (h e) -> h e d"),
    "attention.query_bias": ("self_attn.q_proj.bias", "(h e) -> h e"),
    "attention.key_bias": ("self_attn.k_proj.bias", "(k e) -> k e"),
    "attention.value_bias": ("self_attn.v_proj.bias", "(k e) -> k e"),
    "attention.out_bias": ("self_attn.o_proj.bias", "d -> d"),
}
FEED_FORWARD: TensorTable = {
    "feed_forward.gate": ("mlp.gate_proj.weight", "f d -> d f"),
    "feed_forward.up": ("mlp.up_proj.weight", "f d -> d f"),
    "feed_forward.down": ("mlp.down_proj.weight", "d f -> f d"),
    "feed_forward.gate_bias": ("mlp.gate_proj.bias", "f -> f"),
    "feed_forward.up_bias": ("mlp.up_proj.bias", "f -> f"),
    "feed_forward.down_bias": ("mlp.down_proj.bias", "d -> d"),
}
NORMS: TensorTable = {
    "attention_norm.scale": ("input_layernorm.weight", "d -> d"),
    "feed_forward_norm.scale": ("post_attention_layernorm.weight", "d -> d"),
}
HEAD_NORMS: TensorTable = {
    "attention.query_norm.scale": ("self_attn.q_norm.weight", "e -> e"),
    "attention.key_norm.scale": ("self_attn.k_norm.weight", "e -> e"),
}


class Family(NamedTuple):
    """A table from a family's config.json and tensors to ours.

    Attributes:
      name: its model_type.
      language, reward: its architectures with a language model's and a scalar head.
      read: a transformers configuration -> fields of `ModelConfig`.
      write: a `ModelConfig` -> the settings of config.json.
      layer: the leaves of a layer.
      trunk: the leaves outside the layers.
      prefix: of the trunk's names, and `layers` of the layers' within.
      unembed: name of the unembedding.
      needed: settings that a config.json must have.
      fixed: settings that change the mathematics, with the values that are built.
    """

    name: str
    language: str
    reward: str
    read: Callable[[Any], dict[str, Any]]
    write: Callable[[ModelConfig], dict[str, Any]]
    layer: Callable[[ModelConfig], TensorTable]
    trunk: TensorTable = EMBED
    prefix: str = "model"
    layers: str = "layers"
    unembed: str = "lm_head.weight"
    needed: tuple[str, ...] = REQUIRED
    fixed: Mapping[str, tuple[Any, ...]] = {}


def read_shape(there: Any) -> dict[str, Any]:
    """The sizes and rotary frequencies, which all families but GPT-2 name alike."""
    heads = there.num_attention_heads
    return {
        "vocab_size": there.vocab_size,
        "width": there.hidden_size,
        "hidden": there.intermediate_size,
        "layers": there.num_hidden_layers,
        "heads": heads,
        "kv_heads": getattr(there, "num_key_value_heads", None) or heads,
        "head_dim": getattr(there, "head_dim", None) or there.hidden_size // heads,
        "context": there.max_position_embeddings,
        "tied": there.tie_word_embeddings,
    }


def read_llama(there: Any) -> dict[str, Any]:
    """The fields of a family that names them as Llama does."""
    attention_bias = bool(getattr(there, "attention_bias", False))
    return read_shape(there) | {
        "norm_eps": there.rms_norm_eps,
        "activation": our_activation(there.hidden_act),
        "qkv_bias": attention_bias,
        "out_bias": attention_bias,
        "mlp_bias": bool(getattr(there, "mlp_bias", False)),
        **rope_config.read(there.rope_parameters, there.max_position_embeddings),
    }


def write_llama(config: ModelConfig) -> dict[str, Any]:
    """The settings of such a family."""
    return {
        "vocab_size": config.vocab_size,
        "hidden_size": config.width,
        "intermediate_size": config.hidden,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_dim,
        "max_position_embeddings": config.context,
        "rms_norm_eps": config.norm_eps,
        "hidden_act": hf_activation(config.activation),
        "tie_word_embeddings": config.tied,
        **rope_config.write(config),
    }


def our_activation(name: str) -> str:
    """Our name of an activation.

    Raises:
      ValueError: it is not built.
    """
    if name not in ACTIVATIONS:
        raise ValueError(f"activation {name!r} is not supported")
    return ACTIVATIONS[name]


def hf_activation(name: str) -> str:
    """The name of our activation there."""
    return "gelu_pytorch_tanh" if name == "gelu_tanh" else name


def read_sliding(window: int | None, layer_types: list[str] | None) -> dict[str, Any]:
    """Which layers have a window; none of them, all of them, or a pattern.

    Raises:
      ValueError: a kind of layer that is not built.
    """
    types = layer_types or []
    unknown = sorted(set(types) - {"sliding_attention", "full_attention"})
    if unknown:
        raise ValueError(f"layer_types {unknown} are not supported")
    sliding = tuple(kind == "sliding_attention" for kind in types)
    if window is None or (sliding and not any(sliding)):
        return {}
    return {"window": window, "sliding": () if all(sliding) else sliding}


def layer_types(config: ModelConfig) -> list[str]:
    """The kinds of the layers, as config.json names them."""
    return [
        "sliding_attention" if slides else "full_attention"
        for slides in config.is_sliding
    ]
