"""The Llama family as Hugging Face writes it: config.json, and the table of tensors."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from jaxalign.models.config import ModelConfig

ARCHITECTURES = ("LlamaForCausalLM",)
# Settings of Llama that change the mathematics, with the only value that is built.
FIXED: dict[str, tuple[Any, ...]] = {
    "hidden_act": ("silu",),
    "attention_bias": (False, None),
    "mlp_bias": (False, None),
    "pretraining_tp": (1, None),
}
NEEDED = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "max_position_embeddings",
)


class Weight(NamedTuple):
    """One tensor there, and the leaf here that it is (a layer of).

    Attributes:
      path: of the leaf in the parameter tree.
      layer: which layer of the stacked leaf; None where it is not stacked.
      name: of the tensor.
      shape: of the tensor.
      inward: from the tensor's layout to ours; `outward` back.
    """

    path: tuple[str, ...]
    layer: int | None
    name: str
    shape: tuple[int, ...]
    inward: Callable[[np.ndarray], np.ndarray]
    outward: Callable[[np.ndarray], np.ndarray]


def weights(config: ModelConfig) -> Iterator[Weight]:
    """The table from the tensors of a Llama to our leaves."""
    v, d, f, e = config.vocab_size, config.width, config.hidden, config.head_dim
    h, k = config.heads * e, config.kv_heads * e
    same = lambda x: x
    turned = lambda x: np.ascontiguousarray(x.T)
    # there [heads * head_dim, width], here [width, heads, head_dim]
    split = (
        lambda x: x.T.reshape(d, -1, e),
        lambda x: turned(x.reshape(d, -1)),
    )
    # there [width, heads * head_dim], here [heads, head_dim, width]
    merge = (
        lambda x: x.T.reshape(-1, e, d),
        lambda x: turned(x.reshape(-1, d)),
    )
    yield Weight(("embed",), None, "model.embed_tokens.weight", (v, d), same, same)
    yield Weight(("norm", "scale"), None, "model.norm.weight", (d,), same, same)
    if not config.tied:
        yield Weight(("unembed",), None, "lm_head.weight", (v, d), turned, turned)
    table = (
        ("attention.query", "self_attn.q_proj", (h, d), *split),
        ("attention.key", "self_attn.k_proj", (k, d), *split),
        ("attention.value", "self_attn.v_proj", (k, d), *split),
        ("attention.out", "self_attn.o_proj", (d, h), *merge),
        ("attention_norm.scale", "input_layernorm", (d,), same, same),
        ("feed_forward.gate", "mlp.gate_proj", (f, d), turned, turned),
        ("feed_forward.up", "mlp.up_proj", (f, d), turned, turned),
        ("feed_forward.down", "mlp.down_proj", (d, f), turned, turned),
        ("feed_forward_norm.scale", "post_attention_layernorm", (d,), same, same),
    )
    for layer in range(config.layers):
        for ours, theirs, shape, inward, outward in table:
            path = ("blocks", *ours.split("."))
            name = f"model.layers.{layer}.{theirs}.weight"
            yield Weight(path, layer, name, shape, inward, outward)


def read_config(
    there: dict[str, Any], where: str, dtype: str, param_dtype: str
) -> ModelConfig:
    """Our configuration, from a Llama's config.json.

    Args:
      there: what config.json says.
      where: its path, for messages.

    Raises:
      ValueError: not a Llama, or one with a setting that is not built.
    """
    names = there.get("architectures") or ["none"]
    if names[0] not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise ValueError(f"{where}: unknown architecture {names[0]}; known: {known}")
    for field, allowed in FIXED.items():
        if there.get(field, allowed[0]) not in allowed:
            raise ValueError(f"{where}: {field} = {there[field]!r} is not supported")
    rope = there.get("rope_parameters") or there.get("rope_scaling") or {}
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind != "default":
        raise ValueError(f"{where}: rope scaling of type {kind!r} is not supported")
    absent = [field for field in NEEDED if field not in there]
    if absent:
        raise ValueError(f"{where} lacks {', '.join(absent)}")
    heads = there["num_attention_heads"]
    return ModelConfig(
        vocab_size=there["vocab_size"],
        width=there["hidden_size"],
        hidden=there["intermediate_size"],
        layers=there["num_hidden_layers"],
        heads=heads,
        kv_heads=there.get("num_key_value_heads") or heads,
        head_dim=there.get("head_dim") or there["hidden_size"] // heads,
        context=there["max_position_embeddings"],
        rope_theta=rope.get("rope_theta") or there.get("rope_theta") or 10_000.0,
        norm_eps=there.get("rms_norm_eps", 1e-6),
        tied=there.get("tie_word_embeddings", False),
        dtype=dtype,
        param_dtype=param_dtype,
    )


def write_config(config: ModelConfig) -> dict[str, Any]:
    """A Llama's config.json, from our configuration."""
    return {
        "architectures": list(ARCHITECTURES[:1]),
        "model_type": "llama",
        "vocab_size": config.vocab_size,
        "hidden_size": config.width,
        "intermediate_size": config.hidden,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_dim,
        "max_position_embeddings": config.context,
        "rms_norm_eps": config.norm_eps,
        "rope_theta": config.rope_theta,
        "hidden_act": "silu",
        "tie_word_embeddings": config.tied,
        "attention_bias": False,
        "mlp_bias": False,
        "torch_dtype": config.param_dtype,
    }
