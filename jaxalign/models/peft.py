"""Adapters as Hugging Face's PEFT keeps them: adapter_config.json and safetensors.

There lora_A is [rank, inputs] and lora_B [outputs, rank], for each module of a layer.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from jaxalign import sharding
from jaxalign.models import lora
from jaxalign.models.config import ModelConfig
from jaxalign.models.families.known import weights
from jaxalign.models.partition import Path as LeafPath
from jaxalign.types import LanguageModel, Params

CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"
# Settings that change the mathematics, with the only values that are built.
FIXED: dict[str, tuple[Any, ...]] = {
    "peft_type": ("LORA",),
    "bias": ("none",),
    "fan_in_fan_out": (False,),
    "use_dora": (False,),
    "use_qalora": (False,),
    "alora_invocation_tokens": (None,),
    "lora_bias": (False,),
    "modules_to_save": (None, []),
    "layers_to_transform": (None, []),
    "rank_pattern": ({}, None),
    "alpha_pattern": ({}, None),
    "trainable_token_indices": (None,),
    "target_parameters": (None, []),
}


class Module(NamedTuple):
    """A linear module there, and the layer of a leaf here that is its weight."""

    path: LeafPath
    layer: int
    name: str
    shape: tuple[int, ...]


def modules(model: LanguageModel) -> Iterator[Module]:
    """The modules that adapters are for: those whose weight is a matrix of a layer.

    Only of weights that are here what they are there, turned round and with their axes
    split; a family whose table does more to them cannot be adapted factor by factor.
    """
    shapes = flatten_dict(jax.eval_shape(model.init, jax.random.key(0)))
    for weight in weights(cast(ModelConfig, model.config), shapes):
        if weight.layer is None or len(weight.there) != 2:
            continue
        rows, columns = weight.there
        if weight.part or weight.here != columns + rows:
            raise ValueError(f"{weight.name} has no adapters in PEFT's format here")
        name = weight.name.removesuffix(".weight")
        yield Module(weight.path, weight.layer, name, weight.shape)


def keys(module: Module) -> tuple[str, str]:
    """The names of a module's two factors."""
    stem = f"base_model.model.{module.name}"
    return f"{stem}.lora_A.weight", f"{stem}.lora_B.weight"


def save(
    folder: str | os.PathLike[str],
    model: LanguageModel,
    adapter: Params,
    *,
    alpha: float,
    base: str = "",
    stabilised: bool = False,
) -> None:
    """Writes an adapter that PEFT loads onto the model, and `load` reads back.

    Args:
      alpha, stabilised: as of `lora.scale`.
      base: the name or folder of the base model.

    Raises:
      ValueError: the adapter has other factors than those of the layers' matrices.
      OSError: the folder cannot be written.
    """
    tensors, table = tensors_of(model, adapter)
    ranks = {min(tensor.shape) for tensor in tensors.values()}
    if len(ranks) != 1:
        raise ValueError(f"PEFT's format has one rank; the adapter has {sorted(ranks)}")
    settings = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": ranks.pop(),
        "lora_alpha": alpha,
        "use_rslora": stabilised,
        "target_modules": sorted({m.name.rsplit(".", 1)[-1] for m in table}),
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
    }
    if jax.process_index():
        return  # the first of many processes writes
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
        save_file(tensors, path / TENSORS, metadata={"format": "pt"})
        (path / CONFIG).write_text(json.dumps(settings, indent=2) + "\n")
    except (OSError, SafetensorError) as error:
        raise OSError(f"cannot write the adapter to {path}: {error}") from error


def tensors_of(
    model: LanguageModel, adapter: Params
) -> tuple[dict[str, np.ndarray], list[Module]]:
    """An adapter's factors by their names there, and the modules that they are of.

    Raises:
      ValueError: there are factors which no module has.
    """
    factors = flatten_dict(adapter, is_leaf=lora.is_factors)
    table = [module for module in modules(model) if module.path in factors]
    strange = set(factors) - {module.path for module in table}
    if strange:
        raise ValueError(
            f"PEFT's format has no place for {'.'.join(min(strange))} of an adapter"
        )
    tensors: dict[str, np.ndarray] = {}
    for module in table:
        for key, part in zip(keys(module), "ab", strict=True):
            factor = sharding.on_host(factors[module.path][part][module.layer])
            tensors[key] = np.ascontiguousarray(factor.T)
    return tensors, table


def load(
    folder: str | os.PathLike[str], model: LanguageModel, params: Params
) -> tuple[Params, float]:
    """An adapter that PEFT wrote, and its scale, for `lora.attach`.

    Args:
      params: of the model that it is for, on whose devices it is put.

    Raises:
      FileNotFoundError: a missing file.
      ValueError: a kind of adapter that is not built, one for another model, or a
        damaged file.
    """
    path = Path(folder)
    rank, scale = read_config(path / CONFIG)
    leaves, adapter = flatten_dict(params), {}
    for leaf, stack in stacked(path, model, rank).items():
        layers, found = leaves[leaf].shape[0], len(stack["a"])
        if found != layers:
            raise ValueError(
                f"{path} adapts {'.'.join(leaf)} in {found} of {layers} layers"
            )
        factors = {part: jnp.asarray(np.stack(rows)) for part, rows in stack.items()}
        adapter[leaf] = lora.placed(leaf, leaves[leaf], factors)
    return unflatten_dict(adapter), scale


def stacked(
    folder: Path, model: LanguageModel, rank: int
) -> dict[LeafPath, dict[str, list[np.ndarray]]]:
    """The factors of each adapted leaf, layer by layer, in our layout.

    Raises:
      ValueError: a tensor that is missing, of another shape, or of no module.
    """
    tensors = read_tensors(folder / TENSORS)
    stacks: dict[LeafPath, dict[str, list[np.ndarray]]] = {}
    for module in modules(model):
        if not any(key in tensors for key in keys(module)):
            continue
        stack = stacks.setdefault(module.path, {"a": [], "b": []})
        outputs, inputs = module.shape
        expected = {"a": (rank, inputs), "b": (outputs, rank)}
        for key, part in zip(keys(module), "ab", strict=True):
            tensor = tensors.pop(key, None)
            if tensor is None or tensor.shape != expected[part]:
                found = "missing" if tensor is None else f"of shape {tensor.shape}"
                raise ValueError(
                    f"{folder}: {key} is {found}; the model asks for {expected[part]}"
                )
            stack[part].append(np.asarray(tensor.T, np.float32))
    if tensors or not stacks:
        raise ValueError(
            f"{folder} is not for this model: it has {sorted(tensors)[:3]}"
        )
    return stacks


def read_config(path: Path) -> tuple[int, float]:
    """The rank and the scale that adapter_config.json says.

    Raises:
      FileNotFoundError: there is none.
      ValueError: a setting that is not built.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path.parent} holds no adapter (no {path.name})")
    try:
        settings = json.loads(path.read_text())
        rank, alpha = settings["r"], settings["lora_alpha"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no configuration of LoRA: {error}") from error
    for field, allowed in FIXED.items():
        if settings.get(field, allowed[0]) not in allowed:
            raise ValueError(f"{path}: {field} = {settings[field]!r} is not supported")
    stabilised = settings.get("use_rslora", False)
    return rank, lora.scale(rank, alpha, stabilised=stabilised)


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """Every tensor of the file, by name.

    Raises:
      FileNotFoundError: it is not there.
      ValueError: it is damaged.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path.parent} holds no adapter (no {path.name})")
    try:
        tensors: dict[str, np.ndarray] = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged or cut short: {error}") from error
    return tensors
