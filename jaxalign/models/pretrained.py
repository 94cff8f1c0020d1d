"""Hugging Face folders in and out: language models and reward models of all families.

Each tensor is read in slices of a few MB, straight to the devices that keep them, so
that the host holds little beside the parameters; and is gathered by itself to be saved.
"""

import dataclasses
import functools
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from jaxalign import sharding
from jaxalign.models import hf_files
from jaxalign.models.config import ModelConfig
from jaxalign.models.families import registry
from jaxalign.models.heads import scalar_model
from jaxalign.models.hf_layout import TensorMapping, read_blocks
from jaxalign.models.transformer import language_model
from jaxalign.types import Array, LanguageModel, Params, ScalarModel

BLOCK = 4 * 2**20  # bytes that are read at a time
MAX_SHARD_BYTES = 5 * 10**9  # bytes of a file of tensors


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
    model = language_model(read_config(folder, dtype, param_dtype, reward=False))
    return model, read_params(folder, model, mesh)


def load_reward(
    path: str | os.PathLike[str],
    *,
    dtype: Any = jnp.bfloat16,
    param_dtype: Any = jnp.float32,
    mesh: Any = None,
) -> tuple[ScalarModel, Params]:
    """A reward model (`...ForSequenceClassification` with one label), likewise.

    Its head has a bias here, which is 0 where the folder has none.
    """
    folder = Path(path)
    model = scalar_model(read_config(folder, dtype, param_dtype, reward=True))
    return model, read_params(folder, model, mesh)


def read_config(
    folder: Path, dtype: Any, param_dtype: Any, *, reward: bool = False
) -> ModelConfig:
    """The configuration of the model in a folder, in which sizes fit the tensors.

    Headers of the files are read, and where config.json says that the unembedding is
    the embedding but the file has both, those two: as in transformers 5 they are tied
    only where they are equal.

    Raises:
      FileNotFoundError, ValueError: as `load`.
    """
    there = hf_files.read_config_json(folder)
    tensors = hf_files.TensorFiles(folder) if hf_files.has_weights(folder) else None
    config = registry.read_config(
        there,
        f"{folder}/config.json",
        reward=reward,
        names=tensors.files if tensors else None,
        dtype=jnp.dtype(dtype).name,
        param_dtype=jnp.dtype(param_dtype).name,
    )
    if tensors:
        table = registry.mapping_table(config)
        tensors.rename(registry.name_aliases(config, table))
        tensors.check_shapes(table)
        if (
            config.tied
            and not reward
            and not tensors.ties(*registry.embed_and_unembed(config))
        ):
            config = dataclasses.replace(config, tied=False)
    return config


def read_params(folder: Path, model: LanguageModel | ScalarModel, mesh: Any) -> Params:
    """The parameters of a model, each where it belongs."""
    config = cast(ModelConfig, model.config)
    specs = flatten(model.specs())
    shapes = flatten(jax.eval_shape(model.init, jax.random.key(0)))
    table = registry.tensor_mappings(config, specs)
    tensors = hf_files.TensorFiles(folder)
    tensors.rename(registry.name_aliases(config, table))
    optional = {("head", "bias")} & set(shapes)
    absent = {w.path for w in table if w.path in optional and w.name not in tensors}
    table = [weight for weight in table if weight.path not in absent]
    tensors.check(table, registry.optional_names(config))
    by_path: dict[tuple[str, ...], list[TensorMapping]] = {}
    for weight in table:
        by_path.setdefault(weight.path, []).append(weight)
    params: Params = {}
    for path, leaf in shapes.items():
        place = None
        if mesh is not None:
            spec = sharding.drop_indivisible_axes(mesh, specs[path], leaf.shape)
            place = jax.sharding.NamedSharding(mesh, spec)
        if path in absent:
            made = jax.device_put(jnp.zeros(leaf.shape, leaf.dtype), place)
        else:
            made = stream_leaf(by_path[path], leaf, place, tensors)
        set_leaf(params, path, made)
    return params


def stream_leaf(
    weights: list[TensorMapping], leaf: Any, place: Any, tensors: Any
) -> Array:
    """A leaf, its parts filled on their devices block by block.

    Args:
      leaf: its shape and dtype.
      place: its sharding; None for the default device.
      tensors: a weight -> its tensor, to be sliced.
    """
    whole = {None: (slice(None),) * len(leaf.shape)}
    indices = (
        whole if place is None else place.addressable_devices_indices_map(leaf.shape)
    )
    owners: dict[tuple[tuple[int, int], ...], list[Any]] = {}
    for device, index in indices.items():
        cuts = zip(index, leaf.shape, strict=True)
        bounds = tuple(cut.indices(size)[:2] for cut, size in cuts)
        owners.setdefault(bounds, []).append(device)
    parts = {}
    for bounds, devices in owners.items():
        region = tuple(slice(*x) for x in bounds)
        shape = tuple(stop - start for start, stop in bounds)
        for at, block in read_blocks(weights, region, BLOCK, leaf.dtype, tensors):
            for device in devices:
                piece = jax.device_put(block, device)
                if block.shape != shape:
                    if device not in parts:
                        parts[device] = jnp.zeros(shape, leaf.dtype, device=device)
                    piece = fill_block(parts[device], piece, at)
                parts[device] = piece
    if place is None:
        return parts[None]
    return jax.make_array_from_single_device_arrays(
        leaf.shape, place, list(parts.values())
    )


@functools.partial(jax.jit, donate_argnums=0)
def fill_block(leaf: Array, block: Array, at: tuple[Any, ...]) -> Array:
    """The leaf with a block in its place, in the same memory."""
    return jax.lax.dynamic_update_slice(leaf, block, at)


def flatten(tree: Any) -> dict[tuple[str, ...], Any]:
    """The leaves of a nested dict by their path."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {tuple(key.key for key in path): leaf for path, leaf in leaves}


def set_leaf(tree: dict[str, Any], path: tuple[str, ...], leaf: Any) -> None:
    """Sets a leaf of a nested dict."""
    for name in path[:-1]:
        tree = tree.setdefault(name, {})
    tree[path[-1]] = leaf


def save(
    path: str | os.PathLike[str],
    model: LanguageModel,
    params: Params,
    *,
    tokens: Mapping[str, Any] | None = None,
    generation: Mapping[str, Any] | None = None,
    dtype: str | None = None,
    card: str | None = None,
    max_shard_bytes: int = MAX_SHARD_BYTES,
) -> None:
    """Writes a Hugging Face folder, which transformers loads and `load` reads back.

    Args:
      tokens: ids of special tokens for config.json and generation_config.json, such as
        eos_token_id (of several tokens, a list) and pad_token_id.
      generation: other settings of generation_config.json.
      dtype: what the tensors are written in; what they are kept in, by default.
      card: README.md, the model card.
      max_shard_bytes: above which the tensors go into several files with an index.

    Raises:
      ValueError: no model of its family is like this one, or other parameters.
      OSError: the folder cannot be written.
    """
    config, ids = cast(ModelConfig, model.config), dict(tokens or {})
    config = dataclasses.replace(config, param_dtype=dtype or config.param_dtype)
    settings = registry.write_config(config, **ids)
    texts: dict[str, Any] = {
        "config.json": settings,
        "generation_config.json": {**(generation or {}), **ids},
    }
    texts |= {"README.md": card} if card else {}
    write_tensors(Path(path), config, params, texts, max_shard_bytes, dtype)


def save_reward(
    path: str | os.PathLike[str],
    model: ScalarModel,
    params: Params,
    *,
    tokens: Mapping[str, Any] | None = None,
    dtype: str | None = None,
    card: str | None = None,
    max_shard_bytes: int = MAX_SHARD_BYTES,
) -> None:
    """Writes a reward model, which `AutoModelForSequenceClassification` loads.

    That reads the score of the last token that is not `pad_token_id` (one row at a
    time where the tokenizer has no padding token), so that this must not be a token
    that texts end with. It knows no bias: where ours is not 0 it is kept beside, and
    scores there differ by it.
    """
    config = cast(ModelConfig, model.config)
    config = dataclasses.replace(config, param_dtype=dtype or config.param_dtype)
    settings = registry.write_config(config, reward=True, **(tokens or {}))
    if not np.any(sharding.to_host(params["head"]["bias"])):
        params = params | {"head": {"weight": params["head"]["weight"]}}
    texts: dict[str, Any] = {"config.json": settings}
    texts |= {"README.md": card} if card else {}
    write_tensors(Path(path), config, params, texts, max_shard_bytes, dtype)


def write_tensors(
    folder: Path,
    config: ModelConfig,
    params: Params,
    texts: Mapping[str, Any],
    most: int,
    dtype: str | None,
) -> None:
    """Writes the tensors of a model, each gathered when its file is written."""
    leaves = flatten(params)
    kept = lambda w: jnp.dtype(dtype or leaves[w.path].dtype)
    by_name: dict[str, list[TensorMapping]] = {}
    for weight in registry.tensor_mappings(config, leaves):
        shape = weight.leaf if weight.layer is None else (config.layers, *weight.leaf)
        if leaves[weight.path].shape != shape:
            raise ValueError(
                f"{'.'.join(weight.path)} has shape {leaves[weight.path].shape}; the "
                f"model's is {shape}"
            )
        by_name.setdefault(weight.name, []).append(weight)
    size = lambda w: math.prod(w.shape) * kept(w).itemsize
    sizes = {name: size(parts[0]) for name, parts in by_name.items()}

    def tensor(name: str) -> np.ndarray:
        parts = by_name[name]
        found = np.empty(parts[0].shape, kept(parts[0]))
        for weight in parts:
            leaf = leaves[weight.path]
            part = leaf if weight.layer is None else leaf[weight.layer]
            weight.outward(sharding.to_host(part), found)
        return found

    hf_files.write(folder, texts, sizes, tensor, max_shard_bytes=most)
