"""Hugging Face folders in and out: config.json and safetensors, of the Llama family.

Never pickle, never remote code. Each tensor is read by itself and put straight onto the
mesh, so that the host holds one at a time beside the parameters.
"""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from jaxalign import sharding
from jaxalign.models.config import ModelConfig
from jaxalign.models.transformer import language_model
from jaxalign.types import Array, LanguageModel, Params

ARCHITECTURES = ("LlamaForCausalLM",)
# Settings of Llama that change the mathematics, with the only value that is built.
FIXED: dict[str, tuple[Any, ...]] = {
    "hidden_act": ("silu",),
    "attention_bias": (False, None),
    "mlp_bias": (False, None),
    "pretraining_tp": (1, None),
}


class Weight(NamedTuple):
    """One tensor there, and the leaf here that it is (a layer of).

    Attributes:
      path: of the leaf in the parameter tree.
      layer: which layer of the stacked leaf; None where it is not stacked.
      name: of the tensor.
      inward: from the tensor's layout to ours; `outward` back.
    """

    path: tuple[str, ...]
    layer: int | None
    name: str
    inward: Callable[[np.ndarray], np.ndarray]
    outward: Callable[[np.ndarray], np.ndarray]


def weights(config: ModelConfig) -> Iterator[Weight]:
    """The table from the tensors of a Llama to our leaves."""
    d, e = config.width, config.head_dim
    same = lambda x: x
    turned = lambda x: np.ascontiguousarray(x.T)
    # there [heads * head_dim, width], here [width, heads, head_dim]
    heads_in = lambda x: x.T.reshape(d, -1, e)
    heads_out = lambda x: turned(x.reshape(d, -1))
    # there [width, heads * head_dim], here [heads, head_dim, width]
    merge_in = lambda x: x.T.reshape(-1, e, d)
    merge_out = lambda x: turned(x.reshape(-1, d))
    yield Weight(("embed",), None, "model.embed_tokens.weight", same, same)
    yield Weight(("norm", "scale"), None, "model.norm.weight", same, same)
    if not config.tied:
        yield Weight(("unembed",), None, "lm_head.weight", turned, turned)
    table = (
        ("attention.query", "self_attn.q_proj", heads_in, heads_out),
        ("attention.key", "self_attn.k_proj", heads_in, heads_out),
        ("attention.value", "self_attn.v_proj", heads_in, heads_out),
        ("attention.out", "self_attn.o_proj", merge_in, merge_out),
        ("attention_norm.scale", "input_layernorm", same, same),
        ("feed_forward.gate", "mlp.gate_proj", turned, turned),
        ("feed_forward.up", "mlp.up_proj", turned, turned),
        ("feed_forward.down", "mlp.down_proj", turned, turned),
        ("feed_forward_norm.scale", "post_attention_layernorm", same, same),
    )
    for layer in range(config.layers):
        for ours, theirs, inward, outward in table:
            path = ("blocks", *ours.split("."))
            name = f"model.layers.{layer}.{theirs}.weight"
            yield Weight(path, layer, name, inward, outward)


def read_config(folder: Path, dtype: str, param_dtype: str) -> ModelConfig:
    """Our configuration, from a Llama's config.json.

    Raises:
      FileNotFoundError: no config.json.
      ValueError: not a Llama, or one with a setting that is not built.
    """
    path = folder / "config.json"
    if not path.exists():
        raise FileNotFoundError(f"{folder} holds no model (no config.json)")
    try:
        there = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    names = there.get("architectures") or ["none"]
    if names[0] not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise ValueError(f"{path}: unknown architecture {names[0]}; known: {known}")
    for field, allowed in FIXED.items():
        if there.get(field, allowed[0]) not in allowed:
            raise ValueError(f"{path}: {field} = {there[field]!r} is not supported")
    rope = there.get("rope_parameters") or there.get("rope_scaling") or {}
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind != "default":
        raise ValueError(f"{path}: rope scaling of type {kind!r} is not supported")
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


def tensor_files(folder: Path) -> dict[str, Path]:
    """Which file each tensor is in, of a single or a sharded set of files.

    Raises:
      FileNotFoundError: no safetensors, or a shard that the index names is missing.
      ValueError: a file that is cut short.
    """
    index = folder / "model.safetensors.index.json"
    if index.exists():
        shards = set(json.loads(index.read_text())["weight_map"].values())
    else:
        shards = {"model.safetensors"}
    found: dict[str, Path] = {}
    for shard in sorted(shards):
        path = folder / shard
        if not path.exists():
            raise FileNotFoundError(f"{folder} lacks {shard}")
        try:
            with safe_open(path, framework="numpy") as file:
                found |= {name: path for name in file.keys()}
        except SafetensorError as error:
            raise ValueError(f"{path} is damaged or cut short: {error}") from error
    return found


def load(
    path: str | os.PathLike[str],
    *,
    dtype: Any = jnp.bfloat16,
    param_dtype: Any = jnp.float32,
    mesh: Any = None,
) -> tuple[LanguageModel, Params]:
    """A model from a Hugging Face folder, onto the mesh if there is one.

    Args:
      dtype: what it computes in.
      param_dtype: what its parameters are kept in.

    Raises:
      FileNotFoundError: a missing file.
      ValueError: an unknown architecture or setting, a missing or superfluous tensor, a
        wrong shape, a damaged file.
    """
    folder = Path(path)
    names = (jnp.dtype(dtype).name, jnp.dtype(param_dtype).name)
    config = read_config(folder, *names)
    model = language_model(config)
    table = list(weights(config))
    files = tensor_files(folder)
    missing = [w.name for w in table if w.name not in files]
    # a tied model's file may still name its head; it is the embedding
    spare = set(files) - {w.name for w in table} - {"lm_head.weight"}
    spare = {name for name in spare if not name.endswith("rotary_emb.inv_freq")}
    if missing or spare:
        raise ValueError(
            f"{folder}: {len(missing)} tensors are missing ({missing[:3]}) and "
            f"{len(spare)} are not of this architecture ({sorted(spare)[:3]})"
        )
    shapes = flat(jax.eval_shape(model.init, jax.random.key(0)))
    specs = flat(model.specs())
    by_path: dict[tuple[str, ...], list[Weight]] = {}
    for weight in table:
        by_path.setdefault(weight.path, []).append(weight)
    params: Params = {}
    for leaf, parts in by_path.items():
        wanted = shapes[leaf]
        shape = wanted.shape if parts[0].layer is None else wanted.shape[1:]
        tensors = [tensor(files[w.name], w, shape).astype(names[1]) for w in parts]
        whole = tensors[0] if parts[0].layer is None else np.stack(tensors)
        put(params, leaf, placed(whole, specs[leaf], mesh))
    return model, params


def tensor(path: Path, weight: Weight, shape: tuple[int, ...]) -> np.ndarray:
    """One tensor, in our layout.

    Raises:
      ValueError: its shape is not what the configuration says.
    """
    with safe_open(path, framework="numpy") as file:
        read = file.get_tensor(weight.name)
    try:
        ours = weight.inward(read)
        same = ours.shape == shape
    except ValueError:
        same = False
    if not same:
        raise ValueError(
            f"{path}: {weight.name} has shape {read.shape}, which does not fit the "
            f"{shape} that config.json asks for"
        )
    return ours


def placed(array: np.ndarray, spec: Any, mesh: Any) -> Array:
    """The array on the mesh, each device getting its own part; or on the one device."""
    if mesh is None:
        return jnp.asarray(array)
    place = jax.sharding.NamedSharding(mesh, sharding.fitted(mesh, spec, array.shape))
    return jax.make_array_from_callback(array.shape, place, lambda part: array[part])


def flat(tree: Any) -> dict[tuple[str, ...], Any]:
    """The leaves of a nested dict by their path."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {tuple(key.key for key in path): leaf for path, leaf in leaves}


def put(tree: dict[str, Any], path: tuple[str, ...], leaf: Any) -> None:
    """Sets a leaf of a nested dict."""
    for name in path[:-1]:
        tree = tree.setdefault(name, {})
    tree[path[-1]] = leaf


def save(path: str | os.PathLike[str], model: LanguageModel, params: Params) -> None:
    """Writes a Hugging Face folder, which transformers loads and `load` reads back.

    Raises:
      OSError: the folder cannot be written.
    """
    folder = Path(path)
    config: Any = model.config
    leaves = flat(params)
    tensors = {}
    for weight in weights(config):
        leaf = leaves[weight.path]
        part = leaf if weight.layer is None else leaf[weight.layer]
        tensors[weight.name] = weight.outward(np.asarray(jax.device_get(part)))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        text = json.dumps(write_config(config), indent=2)
        (folder / "config.json").write_text(text)
    except OSError as error:
        raise OSError(f"cannot write the model to {folder}: {error}") from error
