"""The factors of a PEFT adapter, by parameter and layer.

Factors whose initial product PEFT subtracted from the base (PiSSA, OLoRA) are completed
with those that subtract it again.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxalign import sharding
from jaxalign.models import lazy_weights
from jaxalign.models.param_filter import Path as ParamPath
from jaxalign.models.peft_modules import LinearModule, linear_modules
from jaxalign.models.peft_settings import CONFIG, AdapterSettings
from jaxalign.models.peft_tensors import (
    TENSORS,
    factor_names,
    is_input_first,
    read_tensors,
)
from jaxalign.types import LanguageModel

# layer -> a [inputs, rank] and b [rank, outputs]
LayerFactors = dict[int, tuple[np.ndarray, np.ndarray]]


def factors_by_layer(
    folder: Path,
    model: LanguageModel,
    leaves: Mapping[ParamPath, Any],
    settings: AdapterSettings,
) -> dict[ParamPath, LayerFactors]:
    """Read the factors a and b of each adapted parameter, by layer.

    The factors of modules with another scale are multiplied, so that all have the scale
    of the settings.

    Args:
      folder: of the adapter.
      model, leaves: the base model, and its parameters by path.

    Raises:
      ValueError: a tensor that is missing or of another shape, or one of a module that
        the settings do not name.
    """
    tensors = read_tensors(folder / TENSORS)
    by_path: dict[ParamPath, LayerFactors] = {}
    for module in linear_modules(model):
        if not settings.adapts(module.name):
            continue
        rank, scale = settings.rank_and_scale(module.name)
        pair = []
        for name, shape in zip(factor_names(module), module.shapes(rank), strict=True):
            tensor = tensors.pop(name, None)
            if tensor is None or tensor.shape != shape:
                what = "missing" if tensor is None else f"of shape {tensor.shape}"
                raise ValueError(f"{folder}: {name} is {what}; the model needs {shape}")
            pair.append(tensor.astype(np.float32))
        a, b = pair
        if settings.subtracted_init is not None:
            weight = base_weight(module, leaves)
            a, b = subtract_initial_factors(
                a, b, weight, module, settings.subtracted_init, scale
            )
        b = b * np.float32(scale / settings.scale)
        for path, factors in module.from_peft(a, b).items():
            layers = by_path.setdefault(path, {})
            layers[module.layer] = (factors["a"], factors["b"])
    if tensors or not by_path:
        raise ValueError(
            f"{folder / CONFIG} is not for this model, or adapts modules that are not "
            "supported: field 'target_modules' matches "
            + (f"none of {sorted(tensors)[:3]}" if tensors else "no module of it")
        )
    return by_path


def base_weight(module: LinearModule, leaves: Mapping[ParamPath, Any]) -> np.ndarray:
    """The weight of a module of the base [outputs, inputs], in float64."""
    stored = np.zeros(module.mappings[0].shape, np.float32)
    for mapping in module.mappings:
        layer = jax.tree.map(lambda x: x[module.layer], leaves[mapping.path])
        dense = lazy_weights.materialize(layer)
        mapping.to_file(sharding.to_host(dense).astype(np.float32), stored)
    return np.asarray(stored.T if is_input_first(module) else stored, np.float64)


def subtract_initial_factors(
    a: np.ndarray,
    b: np.ndarray,
    weight: np.ndarray,
    module: LinearModule,
    init: str,
    scale: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Append the negative initial factors to A and B.

    The initial factors come from the base's weight W: its first singular vectors and
    values (PiSSA, Meng et al. 2024, arXiv:2404.02948), or the first columns of Q and
    rows of R in W = Q R (OLoRA, Buyukakyuz 2024, arXiv:2406.01775), as PEFT has them.

    Args:
      a: A [rank, inputs].
      b: B [outputs, rank].
      weight: W [outputs, inputs].
      init: of `BASE_SUBTRACTING_INITS`.
      scale: of the product.

    Returns:
      [A ; A0] and [B | -B0], in float32.

    Raises:
      ValueError: OLoRA of weights that are stored input first, which PEFT transposes
        wrongly.
    """
    rank = len(a)
    if init == "pissa":
        left, values, right = np.linalg.svd(weight, full_matrices=False)
        root = np.sqrt(values[:rank] / scale)
        a0, b0 = root[:, None] * right[:rank], left[:, :rank] * root
    elif is_input_first(module):
        raise ValueError(
            f"init_lora_weights = 'olora' is not supported for {module.name}, whose "
            "weight is stored input first"
        )
    else:
        columns, upper = np.linalg.qr(weight)
        a0, b0 = upper[:rank], columns[:, :rank]
    joined = np.concatenate([a, a0]), np.concatenate([b, -b0], axis=1)
    return joined[0].astype(np.float32), joined[1].astype(np.float32)
