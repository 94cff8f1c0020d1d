"""Hugging Face folders in and out: config.json and safetensors, of the Llama family.

Never pickle, never remote code. Each tensor is read by itself and put straight onto the
mesh, so that the host holds one at a time beside the parameters.
"""

import json
import os
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from jaxalign import sharding
from jaxalign.models.llama import Weight, read_config, weights, write_config
from jaxalign.models.transformer import language_model
from jaxalign.types import Array, LanguageModel, Params

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
FLOATS = ("F64", "F32", "F16", "BF16")


def config_file(folder: Path) -> dict[str, Any]:
    """What config.json says.

    Raises:
      FileNotFoundError: there is none.
      ValueError: it is not a JSON object.
    """
    path = folder / "config.json"
    if not path.exists():
        raise FileNotFoundError(f"{folder} holds no model (no config.json)")
    try:
        there = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(there, dict):
        raise ValueError(f"{path} is not a JSON object")
    return there


def tensor_files(folder: Path) -> dict[str, Path]:
    """Which file each tensor is in, of a single or a sharded set of files.

    Raises:
      FileNotFoundError: no safetensors, or a shard that the index names is missing.
      ValueError: a file that is cut short.
    """
    found: dict[str, Path] = {}
    for shard in shards(folder):
        path = folder / shard
        if not path.exists():
            raise FileNotFoundError(f"{folder} lacks {shard}")
        try:
            with safe_open(path, framework="numpy") as file:
                found |= {name: path for name in file.keys()}
        except SafetensorError as error:
            raise ValueError(f"{path} is damaged or cut short: {error}") from error
    return found


def shards(folder: Path) -> list[str]:
    """The files of a model: one, which goes before an older index, or the index's."""
    index = folder / INDEX
    if (folder / SINGLE).exists() or not index.exists():
        return [SINGLE]
    try:
        return sorted(set(json.loads(index.read_text())["weight_map"].values()))
    except (ValueError, KeyError, AttributeError) as error:
        raise ValueError(f"{index} is not an index of tensors: {error!r}") from error


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
    config = read_config(config_file(folder), f"{folder}/config.json", *names)
    model = language_model(config)
    table = list(weights(config))
    files = tensor_files(folder)
    check(folder, files, table)
    specs = flat(model.specs())
    by_path: dict[tuple[str, ...], list[Weight]] = {}
    for weight in table:
        by_path.setdefault(weight.path, []).append(weight)
    params: Params = {}
    for leaf, parts in by_path.items():
        tensors = [tensor(files[w.name], w).astype(names[1]) for w in parts]
        whole = tensors[0] if parts[0].layer is None else np.stack(tensors)
        put(params, leaf, placed(whole, specs[leaf], mesh))
    return model, params


def check(folder: Path, files: dict[str, Path], table: list[Weight]) -> None:
    """Refuses tensors that do not fit the table, before any is read.

    Raises:
      ValueError: names the tensors.
    """
    missing = [w.name for w in table if w.name not in files]
    # a tied model's file may still name its head; it is the embedding
    spare = set(files) - {w.name for w in table} - {"lm_head.weight"}
    spare = {name for name in spare if not name.endswith("rotary_emb.inv_freq")}
    if missing or spare:
        raise ValueError(
            f"{folder}: {len(missing)} tensors are missing ({missing[:3]}) and "
            f"{len(spare)} are not of this architecture ({sorted(spare)[:3]})"
        )
    for weight in table:
        with safe_open(files[weight.name], framework="numpy") as file:
            part = file.get_slice(weight.name)
            shape, kind = tuple(part.get_shape()), part.get_dtype()
        where = f"{files[weight.name]}: {weight.name}"
        if shape != weight.shape:
            raise ValueError(
                f"{where} has shape {shape}; config.json asks for {weight.shape}"
            )
        if kind not in FLOATS:
            raise ValueError(f"{where} is {kind}, not one of {', '.join(FLOATS)}")


def tensor(path: Path, weight: Weight) -> np.ndarray:
    """One tensor, in our layout."""
    with safe_open(path, framework="numpy") as file:
        return weight.inward(file.get_tensor(weight.name))


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
      ValueError: a Llama cannot have the model's soft-capping.
      OSError: the folder cannot be written.
    """
    folder = Path(path)
    config: Any = model.config
    if config.logit_cap is not None:
        raise ValueError(
            f"a Llama has no logit_cap; this model's is {config.logit_cap}"
        )
    leaves = flat(params)
    tensors = {}
    for weight in weights(config):
        leaf = leaves[weight.path]
        part = leaf if weight.layer is None else leaf[weight.layer]
        tensors[weight.name] = weight.outward(np.asarray(jax.device_get(part)))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # whole or not at all: the old file stays until the new one is there
        part_written = folder / f"{SINGLE}.new"
        save_file(tensors, part_written, metadata={"format": "pt"})
        part_written.replace(folder / SINGLE)
        text = json.dumps(write_config(config), indent=2) + "\n"
        (folder / "config.json").write_text(text)
    except (OSError, SafetensorError) as error:
        raise OSError(f"cannot write the model to {folder}: {error}") from error
