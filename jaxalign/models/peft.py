"""Adapters as Hugging Face's PEFT keeps them: adapter_config.json and safetensors.

There lora_A is [rank, inputs] and lora_B [outputs, rank], for each module of a layer;
`linear_modules` says how leaves share one.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from jaxalign import messages, sharding
from jaxalign.models import lazy_weights, lora, peft_settings
from jaxalign.models.param_filter import Path as LeafPath
from jaxalign.models.peft_modules import LinearModule, linear_modules, output_axes
from jaxalign.models.peft_settings import CONFIG, AdapterSettings
from jaxalign.types import LanguageModel, Params

TENSORS = "adapter_model.safetensors"


def factor_names(module: LinearModule) -> tuple[str, str]:
    """The names of a module's two factors."""
    stem = f"base_model.model.{module.name}"
    return f"{stem}.lora_A.weight", f"{stem}.lora_B.weight"


def target_modules(
    table: list[LinearModule], everything: list[LinearModule]
) -> list[str]:
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
    rank_stabilized: bool = False,
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
    everything = list(linear_modules(model))
    table = [m for m in everything if not factors.keys().isdisjoint(m.paths)]
    strange = set(factors) - {path for module in table for path in module.paths}
    if strange:
        raise ValueError(
            f"PEFT's format has no place for {'.'.join(min(strange))} of an adapter"
        )
    ranks = {pair["a"].shape[-1] for pair in factors.values()}
    if len(ranks) != 1:
        raise ValueError(f"an adapter here has one rank; this one has {sorted(ranks)}")
    tensors = factor_tensors(table, factors)
    settings = adapter_config(
        table, tensors, AdapterSettings(ranks.pop(), alpha, rank_stabilized)
    ) | {
        "base_model_name_or_path": base,
        "target_modules": target_modules(table, everything),
        "fan_in_fan_out": is_input_first(table[0]),
    }
    if jax.process_index():
        return  # the first of many processes writes
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
        (path / CONFIG).write_text(json.dumps(settings, indent=2) + "\n")
        save_file(tensors, path / TENSORS, metadata={"format": "pt"})
        (path / TENSORS).chmod((path / CONFIG).stat().st_mode)  # it is 0600
    except (OSError, SafetensorError) as error:
        raise OSError(f"cannot write the adapter to {path}: {error}") from error


def factor_tensors(
    table: list[LinearModule], factors: Mapping[LeafPath, Any]
) -> dict[str, np.ndarray]:
    """An adapter's factors by their names there."""
    whole = {
        path: {part: sharding.to_host(x) for part, x in pair.items()}
        for path, pair in factors.items()
    }
    tensors: dict[str, np.ndarray] = {}
    for module in table:
        layer = {
            path: {part: x[module.layer] for part, x in whole[path].items()}
            for path in module.paths
            if path in whole
        }
        for key, tensor in zip(
            factor_names(module), module.outward(layer), strict=True
        ):
            tensors[key] = np.ascontiguousarray(tensor)
    return tensors


def adapter_config(
    table: list[LinearModule],
    tensors: Mapping[str, np.ndarray],
    settings: AdapterSettings,
) -> dict[str, Any]:
    """The settings of adapter_config.json that say ranks and scales.

    A fused module has a rank of its own, at the scale of all.
    """
    ranks = {m.name.rpartition(".")[2]: len(tensors[factor_names(m)[0]]) for m in table}
    fused = {name: rank for name, rank in ranks.items() if rank != settings.rank}
    alpha, stabilised = settings.alpha, settings.rank_stabilized
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


def is_input_first(module: LinearModule) -> bool:
    """Whether the weights there are [inputs, outputs], as GPT-2's are."""
    first = module.weights[0]
    return first.there[1] == output_axes(first)


def load(
    folder: str | os.PathLike[str], model: LanguageModel, params: Params
) -> tuple[Params, float]:
    """An adapter that PEFT wrote, and its scale, for `lora.attach`.

    Merged, it is what PEFT's own is. Layers that it leaves out have factors of zeros,
    and so have ranks below the highest of a leaf's layers. Where its start was taken
    from the base (PiSSA, OLoRA), what was taken is taken again, by as many ranks more:

        W - s B0 A0 + s B A  =  W + s [B | -B0] [A ; A0]

    Args:
      params: of the model that it is for, on whose devices it is put.

    Raises:
      FileNotFoundError: a missing file.
      ValueError: a kind of adapter that is not built, one for another model, or a
        damaged file.
    """
    path = Path(folder)
    settings = peft_settings.read(path)
    leaves, adapter = flatten_dict(params), {}
    for leaf, layers in factors_by_layer(path, model, leaves, settings).items():
        rank = max(len(b) for _, b in layers.values())
        shapes = lora.factor_shapes(leaf, leaves[leaf], rank)
        whole = {part: np.zeros(shape, np.float32) for part, shape in shapes.items()}
        for layer, (a, b) in layers.items():
            whole["a"][layer, :, : len(b)] = a
            whole["b"][layer, : len(b)] = b
        factors = {part: jnp.asarray(x) for part, x in whole.items()}
        adapter[leaf] = lora.place_factors(leaf, leaves[leaf], factors)
    return unflatten_dict(adapter), settings.scale


LayerFactors = dict[int, tuple[np.ndarray, np.ndarray]]


def factors_by_layer(
    folder: Path,
    model: LanguageModel,
    leaves: Mapping[LeafPath, Any],
    settings: AdapterSettings,
) -> dict[LeafPath, LayerFactors]:
    """The factors a and b of each adapted leaf, by layer, in our layout.

    Raises:
      ValueError: a tensor that is missing, of another shape, or of no module that the
        settings mean.
    """
    tensors = read_tensors(folder / TENSORS)
    table: dict[LeafPath, LayerFactors] = {}
    for module in linear_modules(model):
        if not settings.means(module.name):
            continue
        rank, scale = settings.of(module.name)
        factors = []
        for key, shape in zip(factor_names(module), module.shapes(rank), strict=True):
            tensor = tensors.pop(key, None)
            if tensor is None or tensor.shape != shape:
                what = "missing" if tensor is None else f"of shape {tensor.shape}"
                raise ValueError(
                    f"{folder}: {key} is {what}; the model asks for {shape}"
                )
            factors.append(tensor.astype(np.float32))
        if settings.start is not None:
            factors = subtract_initial_factors(
                factors, module, leaves, settings.start, scale
            )
        factors[1] = factors[1] * np.float32(scale / settings.scale)
        for path, pair in module.from_file(*factors).items():
            table.setdefault(path, {})[module.layer] = (pair["a"], pair["b"])
    if tensors or not table:
        raise ValueError(
            f"{folder / CONFIG} is not for this model, or adapts more of it than is "
            "supported: field 'target_modules' means "
            + (f"none of {sorted(tensors)[:3]}" if tensors else "no module here")
        )
    return table


def subtract_initial_factors(
    factors: list[np.ndarray],
    module: LinearModule,
    leaves: Mapping[LeafPath, Any],
    start: str,
    scale: float,
) -> list[np.ndarray]:
    """Factors A and B, with those that the adapter started at taken away.

    They are of the base's weight W [outputs, inputs]: its first singular vectors and
    values (Meng et al. 2024, arXiv:2404.02948), or its first columns of Q and rows of R
    (Buyukakyuz 2024, arXiv:2406.01775), as PEFT takes them.

    Raises:
      ValueError: OLoRA of weights that are stored input first, which PEFT turns wrong.
    """
    a, b = factors
    rank, first = len(a), module.weights[0]
    stored = np.zeros(first.shape, np.float32)
    for weight in module.weights:
        leaf = lazy_weights.materialize(
            jax.tree.map(lambda x: x[module.layer], leaves[weight.path])
        )
        weight.outward(sharding.to_host(leaf).astype(np.float32), stored)
    turned = is_input_first(module)
    weights = np.asarray(stored.T if turned else stored, np.float64)
    if start == "pissa":
        left, values, right = np.linalg.svd(weights, full_matrices=False)
        root = np.sqrt(values[:rank] / scale)
        a0, b0 = root[:, None] * right[:rank], left[:, :rank] * root
    elif turned:
        raise ValueError(
            f"init_lora_weights = 'olora' is not supported for {module.name}, whose "
            "weight is stored input first"
        )
    else:
        columns, upper = np.linalg.qr(weights)
        a0, b0 = upper[:rank], columns[:, :rank]
    joined = np.concatenate([a, a0]), np.concatenate([b, -b0], axis=1)
    return [x.astype(np.float32) for x in joined]


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
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        why = messages.one_line(error)
        raise ValueError(f"{path} is damaged or cut short: {why}") from error
    for name, tensor in tensors.items():
        if not jnp.issubdtype(tensor.dtype, jnp.floating):
            raise ValueError(f"{path}: {name} is of {tensor.dtype}, not of floats")
    return tensors
