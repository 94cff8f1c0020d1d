"""The record of a model family, and the tables that most families share."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from jaxalign.models.config import ModelConfig
from jaxalign.models.families import rope_config
from jaxalign.models.hf_layout import AxisSlice

# name of the tensor, its axes, and the slice of a fused tensor
TensorRow = tuple[str, str] | tuple[str, str, AxisSlice]
TensorTable = dict[str, TensorRow]  # by path of the parameter

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
    """The mapping of a family's config.json and tensors to `ModelConfig` and params.

    Attributes:
      name: model_type of its config.json.
      language, reward: its architectures with a language model's and a scalar head.
      read: (transformers configuration) -> fields of `ModelConfig`.
      write: (`ModelConfig`) -> fields of config.json.
      layer: (`ModelConfig`) -> tensors of a layer.
      trunk: tensors outside the layers.
      prefix: of the trunk's tensor names.
      layers: prefix of the layers' tensor names, after that of the trunk.
      unembed: name of the unembedding.
      required: fields that a config.json must have.
      supported_values: of fields that change the mathematics.
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
    required: tuple[str, ...] = REQUIRED
    supported_values: Mapping[str, tuple[Any, ...]] = {}


def read_shape(hf_config: Any) -> dict[str, Any]:
    """Fields of the sizes, which have one name in all families but GPT-2."""
    heads, width = hf_config.num_attention_heads, hf_config.hidden_size
    return {
        "vocab_size": hf_config.vocab_size,
        "width": width,
        "hidden": hf_config.intermediate_size,
        "layers": hf_config.num_hidden_layers,
        "heads": heads,
        "kv_heads": getattr(hf_config, "num_key_value_heads", None) or heads,
        "head_dim": getattr(hf_config, "head_dim", None)
        or hf_config.hidden_size // heads,
        "context": hf_config.max_position_embeddings,
        "tied": hf_config.tie_word_embeddings,
    }


def read_llama(hf_config: Any) -> dict[str, Any]:
    """Fields of a family that has the names of Llama's."""
    attention_bias = bool(getattr(hf_config, "attention_bias", False))
    return read_shape(hf_config) | {
        "norm_eps": hf_config.rms_norm_eps,
        "activation": our_activation(hf_config.hidden_act),
        "qkv_bias": attention_bias,
        "out_bias": attention_bias,
        "mlp_bias": bool(getattr(hf_config, "mlp_bias", False)),
        **rope_config.read(
            hf_config.rope_parameters, hf_config.max_position_embeddings
        ),
    }


def write_llama(config: ModelConfig) -> dict[str, Any]:
    """The inverse of `read_llama`: fields of config.json."""
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
    """The name of an activation in `ModelConfig`.

    Raises:
      ValueError: an activation that is not supported.
    """
    if name not in ACTIVATIONS:
        raise ValueError(f"activation {name!r} is not supported")
    return ACTIVATIONS[name]


def hf_activation(name: str) -> str:
    """The name of an activation in config.json."""
    return "gelu_pytorch_tanh" if name == "gelu_tanh" else name


def read_sliding(window: int | None, layer_types: list[str] | None) -> dict[str, Any]:
    """Fields of sliding windows: of no layer, of all layers, or of some.

    Args:
      window: tokens; None for no window.
      layer_types: of config.json, one per layer.

    Raises:
      ValueError: a type of layer that is not supported.
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
    """The type of each layer, as in config.json."""
    return [
        "sliding_attention" if is_sliding else "full_attention"
        for is_sliding in config.is_sliding
    ]
