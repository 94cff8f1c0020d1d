"""Adapters as Hugging Face's PEFT keeps them: adapter_config.json and safetensors.

There lora_A is [rank, inputs] and lora_B [outputs, rank], for each module of a layer;
`modules` says how leaves share one.
"""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from jaxalign import sharding
from jaxalign.models import lora
from jaxalign.models.modules import Module, modules, outputs_of
from jaxalign.models.partition import Path as LeafPath
from jaxalign.types import LanguageModel, Params

CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"
# Settings that change the mathematics, with the only values that are built.
FIXED: dict[str, tuple[Any, ...]] = {
    "peft_type": ("LORA",),
    "bias": ("none",),
    "use_dora": (False,),
    "use_qalora": (False,),
    "alora_invocation_tokens": (None,),
    "lora_bias": (False,),
    "modules_to_save": (None, []),
    "layers_to_transform": (None, []),
    "trainable_token_indices": (None,),
    "target_parameters": (None, []),
}


class Settings(NamedTuple):
    """What an adapter_config.json says of ranks and scales.

    Attributes:
      ranks, alphas: of modules that have others, by a pattern of the name.
    """

    rank: int
    alpha: float
    stabilised: bool = False
    ranks: Mapping[str, int] = {}
    alphas: Mapping[str, float] = {}

    @property
    def scale(self) -> float:
        """By how much the product of most modules' factors counts."""
        return lora.scale(self.rank, self.alpha, stabilised=self.stabilised)

    def of(self, module: str) -> tuple[int, float]:
        """The rank and the scale of a module; the first pattern that fits decides."""
        fits = lambda pattern: re.match(rf"(.*\.)?({pattern})$", module)
        rank = next((x for p, x in self.ranks.items() if fits(p)), self.rank)
        alpha = next((x for p, x in self.alphas.items() if fits(p)), self.alpha)
        return rank, lora.scale(rank, alpha, stabilised=self.stabilised)


def keys(module: Module) -> tuple[str, str]:
    """The names of a module's two factors."""
    stem = f"base_model.model.{module.name}"
    return f"{stem}.lora_A.weight", f"{stem}.lora_B.weight"


def targets(table: list[Module], everything: list[Module]) -> list[str]:
    """The endings of names that mean the modules of a table, and no others."""
    adapted = {module.name for module in table}
    others = {module.name for module in everything} - adapted

    def ending(name: str) -> str:
        words = name.split(".")
        ends = (".".join(words[-k:]) for k in range(1, len(words)))
        clear = lambda end: not any(other.endswith(f".{end}") for other in others)
        return next(filter(clear, ends), name)

    return sorted(set(map(ending, adapted)))


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
    factors = flatten_dict(adapter, is_leaf=lora.is_factors)
    everything = list(modules(model))
    table = [m for m in everything if not factors.keys().isdisjoint(m.paths)]
    strange = set(factors) - {path for module in table for path in module.paths}
    if strange:
        raise ValueError(
            f"PEFT's format has no place for {'.'.join(min(strange))} of an adapter"
        )
    ranks = {pair["a"].shape[-1] for pair in factors.values()}
    if len(ranks) != 1:
        raise ValueError(f"an adapter here has one rank; this one has {sorted(ranks)}")
    tensors = tensors_of(table, factors)
    settings = written(table, tensors, Settings(ranks.pop(), alpha, stabilised)) | {
        "base_model_name_or_path": base,
        "target_modules": targets(table, everything),
        "fan_in_fan_out": stored_input_first(table[0]),
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
    table: list[Module], factors: Mapping[LeafPath, Any]
) -> dict[str, np.ndarray]:
    """An adapter's factors by their names there."""
    whole = {
        path: {part: sharding.on_host(x) for part, x in pair.items()}
        for path, pair in factors.items()
    }
    tensors: dict[str, np.ndarray] = {}
    for module in table:
        layer = {
            path: {part: x[module.layer] for part, x in whole[path].items()}
            for path in module.paths
            if path in whole
        }
        for key, tensor in zip(keys(module), module.outward(layer), strict=True):
            tensors[key] = np.ascontiguousarray(tensor)
    return tensors


def written(
    table: list[Module], tensors: Mapping[str, np.ndarray], settings: Settings
) -> dict[str, Any]:
    """The settings of adapter_config.json that say ranks and scales.

    A fused module has a rank of its own, at the scale of all.
    """
    ranks = {m.name.rpartition(".")[2]: len(tensors[keys(m)[0]]) for m in table}
    fused = {name: rank for name, rank in ranks.items() if rank != settings.rank}
    alpha, stabilised = settings.alpha, settings.stabilised
    if fused:  # PEFT advises against patterns where scales are stabilised
        alpha, stabilised = settings.scale * settings.rank, False
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": settings.rank,
        "lora_alpha": alpha,
        "use_rslora": stabilised,
        "rank_pattern": fused,
        "alpha_pattern": {n: settings.scale * rank for n, rank in fused.items()},
        "lora_dropout": 0.0,
        "bias": "none",
        "inference_mode": True,
    }


def stored_input_first(module: Module) -> bool:
    """Whether the weights there are [inputs, outputs], as GPT-2's are."""
    first = module.weights[0]
    return first.there[1] == outputs_of(first)


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
    settings = read_config(path / CONFIG)
    leaves, adapter = flatten_dict(params), {}
    for leaf, stack in stacked(path, model, settings).items():
        layers, found = leaves[leaf].shape[0], len(stack["a"])
        ranks = sorted({a.shape[1] for a in stack["a"]})
        if found != layers or len(ranks) > 1:
            raise ValueError(
                f"{path} adapts {'.'.join(leaf)} in {found} of {layers} layers, with "
                f"ranks {ranks}: all layers are adapted here, with one rank"
            )
        factors = {part: jnp.asarray(np.stack(rows)) for part, rows in stack.items()}
        adapter[leaf] = lora.placed(leaf, leaves[leaf], factors)
    return unflatten_dict(adapter), settings.scale


def stacked(
    folder: Path, model: LanguageModel, settings: Settings
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
        rank, scale = settings.of(module.name)
        found = []
        for key, shape in zip(keys(module), module.shapes(rank), strict=True):
            tensor = tensors.pop(key, None)
            if tensor is None or tensor.shape != shape:
                what = "missing" if tensor is None else f"of shape {tensor.shape}"
                raise ValueError(
                    f"{folder}: {key} is {what}; the model asks for {shape}"
                )
            found.append(tensor.astype(np.float32))
        found[1] *= np.float32(scale / settings.scale)
        for path, factors in module.inward(*found).items():
            stack = stacks.setdefault(path, {"a": [], "b": []})
            for part, factor in factors.items():
                stack[part].append(factor)
    if tensors or not stacks:
        raise ValueError(
            f"{folder} is not for this model: it has {sorted(tensors)[:3]}"
        )
    return stacks


def read_config(path: Path) -> Settings:
    """The ranks and scales that adapter_config.json says.

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
    return Settings(
        rank,
        alpha,
        settings.get("use_rslora", False),
        settings.get("rank_pattern") or {},
        settings.get("alpha_pattern") or {},
    )


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
