"""Save and load LoRA adapters in PEFT's format: adapter_config.json and safetensors.

In the files lora_A is [rank, inputs] and lora_B [outputs, rank], per module of a layer;
`peft_modules` maps modules to parameters.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file

from jaxalign import lazy, sharding
from jaxalign.models import lora, peft_settings
from jaxalign.models.param_filter import Path as ParamPath
from jaxalign.models.peft_factors import factors_by_layer
from jaxalign.models.peft_modules import LinearModule, linear_modules
from jaxalign.models.peft_settings import CONFIG, AdapterSettings
from jaxalign.models.peft_tensors import TENSORS, factor_names, is_input_first
from jaxalign.types import LanguageModel, Params

if TYPE_CHECKING:
    from flax import traverse_util
else:
    traverse_util = lazy.module("flax.traverse_util")


def save(
    folder: str | os.PathLike[str],
    model: LanguageModel,
    adapter: Params,
    *,
    alpha: float,
    base: str = "",
    rank_stabilized: bool = False,
) -> None:
    """Save an adapter, for PEFT and `load`.

    Args:
      folder: created or overwritten.
      adapter: factors of `lora.init`.
      alpha, rank_stabilized: as of `lora.scale`.
      base: name or folder of the base model.

    Raises:
      ValueError: factors of other parameters than the layers' matrices, or of several
        ranks.
      OSError: the folder cannot be written.
    """
    factors = traverse_util.flatten_dict(adapter, is_leaf=lora.is_factors)
    modules = list(linear_modules(model))
    adapted = [m for m in modules if not factors.keys().isdisjoint(m.paths)]
    unknown = set(factors) - {path for module in adapted for path in module.paths}
    if unknown:
        raise ValueError(
            f"PEFT's format has no place for {'.'.join(min(unknown))} of an adapter"
        )
    ranks = {pair["a"].shape[-1] for pair in factors.values()}
    if len(ranks) != 1:
        raise ValueError(f"the adapter has ranks {sorted(ranks)}; expected one rank")
    tensors = factor_tensors(adapted, factors)
    settings = AdapterSettings(ranks.pop(), alpha, rank_stabilized)
    config = adapter_config(adapted, tensors, settings) | {
        "base_model_name_or_path": base,
        "target_modules": target_modules(adapted, modules),
        "fan_in_fan_out": is_input_first(adapted[0]),
    }
    if jax.process_index():
        return  # process 0 writes
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
        (path / CONFIG).write_text(json.dumps(config, indent=2) + "\n")
        save_file(tensors, path / TENSORS, metadata={"format": "pt"})
        (path / TENSORS).chmod((path / CONFIG).stat().st_mode)  # save_file's is 0600
    except (OSError, SafetensorError) as error:
        raise OSError(f"cannot write the adapter to {path}: {error}") from error


def target_modules(
    adapted: list[LinearModule], modules: list[LinearModule]
) -> list[str]:
    """The shortest endings of names that match the adapted modules and no others."""
    names = {module.name for module in adapted}
    others = {module.name for module in modules} - names

    def ending(name: str) -> str:
        words = name.split(".")
        ends = (".".join(words[-k:]) for k in range(1, len(words)))
        is_unique = lambda end: not any(other.endswith(f".{end}") for other in others)
        return next(filter(is_unique, ends), name)

    return sorted(set(map(ending, names)))


def factor_tensors(
    adapted: list[LinearModule], factors: Mapping[ParamPath, Any]
) -> dict[str, np.ndarray]:
    """The tensors of an adapter by their names in the file.

    Args:
      factors: path -> a and b, of all layers.
    """
    stacked = {
        path: {part: sharding.to_host(x) for part, x in pair.items()}
        for path, pair in factors.items()
    }
    tensors: dict[str, np.ndarray] = {}
    for module in adapted:
        layer = {
            path: {part: x[module.layer] for part, x in stacked[path].items()}
            for path in module.paths
            if path in stacked
        }
        pair = module.to_peft(layer)
        for name, tensor in zip(factor_names(module), pair, strict=True):
            tensors[name] = np.ascontiguousarray(tensor)
    return tensors


def adapter_config(
    adapted: list[LinearModule],
    tensors: Mapping[str, np.ndarray],
    settings: AdapterSettings,
) -> dict[str, Any]:
    """The fields of adapter_config.json for ranks and scales.

    A fused module has a rank of its own, and the scale of all modules.
    """
    rank_of = lambda module: len(tensors[factor_names(module)[0]])
    ranks = {module.name.rpartition(".")[2]: rank_of(module) for module in adapted}
    fused = {name: rank for name, rank in ranks.items() if rank != settings.rank}
    alpha, rank_stabilized = settings.alpha, settings.rank_stabilized
    if fused:  # PEFT advises against patterns of rank-stabilized adapters
        alpha, rank_stabilized = settings.scale * settings.rank, False
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": settings.rank,
        "lora_alpha": alpha,
        "use_rslora": rank_stabilized,
        "rank_pattern": fused,
        "alpha_pattern": {n: settings.scale * rank for n, rank in fused.items()},
        "lora_dropout": 0.0,
        "bias": "none",
        "inference_mode": True,
    }


def load(
    folder: str | os.PathLike[str], model: LanguageModel, params: Params
) -> tuple[Params, float]:
    """Load an adapter that PEFT wrote, for `lora.attach`.

    Merged, it gives the weights that PEFT's own gives. Layers without factors get
    zeros, and so do the missing ranks of layers below the highest rank of a parameter.
    Where the initial product was subtracted from the base (PiSSA, OLoRA), the adapter
    has as many ranks more, which subtract it:

        W - s B0 A0 + s B A  =  W + s [B | -B0] [A ; A0]

    Args:
      model: the base model.
      params: of the base model; factors are put on their devices.

    Returns:
      The adapter, and its scale.

    Raises:
      FileNotFoundError: a missing file.
      ValueError: an unsupported setting, an adapter of another model, or a damaged
        file.
    """
    path = Path(folder)
    settings = peft_settings.read(path)
    leaves, adapter = traverse_util.flatten_dict(params), {}
    by_path = factors_by_layer(path, model, leaves, settings)
    for param_path, layers in by_path.items():
        leaf = leaves[param_path]
        rank = max(len(b) for _, b in layers.values())
        shapes = lora.factor_shapes(param_path, leaf, rank)
        stacked = {part: np.zeros(shape, np.float32) for part, shape in shapes.items()}
        for layer, (a, b) in layers.items():
            stacked["a"][layer, :, : len(b)] = a
            stacked["b"][layer, : len(b)] = b
        factors = {part: jnp.asarray(x) for part, x in stacked.items()}
        adapter[param_path] = lora.place_factors(param_path, leaf, factors)
    return traverse_util.unflatten_dict(adapter), settings.scale
