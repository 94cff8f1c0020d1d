"""Parameters <-> tensors of a Hugging Face folder, read and written in small pieces.

Each tensor is read in blocks of a few MB, straight to the devices that hold it, so that
the host holds little beside the parameters; and is gathered alone to be written.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding

from jaxalign import sharding
from jaxalign.models import hf_files
from jaxalign.models.config import ModelConfig
from jaxalign.models.families.tensor_table import (
    name_aliases,
    optional_names,
    tensor_mappings,
)
from jaxalign.models.hf_layout import TensorMapping, read_blocks
from jaxalign.types import Array, LanguageModel, Params, ScalarModel

BLOCK_BYTES = 4 * 2**20  # bytes that are read at a time


def read_params(
    tensors: hf_files.TensorFiles,
    model: LanguageModel | ScalarModel,
    mesh: Mesh | None,
) -> Params:
    """Read the parameters of a model, each to the devices that hold it.

    Args:
      tensors: of the folder.
      model: whose parameters these are.
      mesh: None for the default device.

    Raises:
      ValueError: a missing or unknown tensor, or one of another shape.
    """
    config = cast(ModelConfig, model.config)
    specs = flatten(model.specs())
    shapes = flatten(jax.eval_shape(model.init, jax.random.key(0)))
    mappings = tensor_mappings(config, specs)
    tensors.rename(name_aliases(config, mappings))
    optional = {("head", "bias")} & set(shapes)
    absent = {x.path for x in mappings if x.path in optional and x.name not in tensors}
    mappings = [mapping for mapping in mappings if mapping.path not in absent]
    tensors.check(mappings, optional_names(config))
    by_path: dict[tuple[str, ...], list[TensorMapping]] = {}
    for mapping in mappings:
        by_path.setdefault(mapping.path, []).append(mapping)
    params: Params = {}
    for path, leaf in shapes.items():
        place = None
        if mesh is not None:
            spec = sharding.drop_indivisible_axes(mesh, specs[path], leaf.shape)
            place = NamedSharding(mesh, spec)
        if path in absent:
            array = jax.device_put(jnp.zeros(leaf.shape, leaf.dtype), place)
        else:
            array = stream_param(by_path[path], leaf, place, tensors)
        set_leaf(params, path, array)
    return params


def stream_param(
    mappings: Sequence[TensorMapping],
    leaf: jax.ShapeDtypeStruct,
    place: NamedSharding | None,
    open_tensor: Callable[[TensorMapping], Any],
) -> Array:
    """Read a parameter block by block into its shards on devices.

    Args:
      mappings: of the parameter, in the order of its layers.
      leaf: its shape and dtype.
      place: None for the default device.
      open_tensor: mapping -> its tensor, to be sliced.
    """
    everywhere = {None: (slice(None),) * len(leaf.shape)}
    indices = (
        everywhere
        if place is None
        else place.addressable_devices_indices_map(leaf.shape)
    )
    owners: dict[tuple[tuple[int, int], ...], list[Any]] = {}
    for device, index in indices.items():
        cuts = zip(index or (), leaf.shape, strict=True)
        bounds = tuple(cut.indices(size)[:2] for cut, size in cuts)
        owners.setdefault(bounds, []).append(device)
    shards = {}
    for bounds, devices in owners.items():
        region = tuple(slice(*x) for x in bounds)
        shape = tuple(stop - start for start, stop in bounds)
        for at, block in read_blocks(
            mappings, region, BLOCK_BYTES, leaf.dtype, open_tensor
        ):
            for device in devices:
                piece = jax.device_put(block, device)
                if block.shape != shape:
                    if device not in shards:
                        shards[device] = jnp.zeros(shape, leaf.dtype, device=device)
                    piece = fill_block(shards[device], piece, at)
                shards[device] = piece
    if place is None:
        return shards[None]
    return jax.make_array_from_single_device_arrays(
        leaf.shape, place, list(shards.values())
    )


@functools.partial(jax.jit, donate_argnums=0)
def fill_block(param: Array, block: Array, at: tuple[Any, ...]) -> Array:
    """Write a block into a parameter, in the same memory."""
    return jax.lax.dynamic_update_slice(param, block, at)


def flatten(tree: Any) -> dict[tuple[str, ...], Any]:
    """The leaves of a nested dict by path.

    >>> flatten({"norm": {"scale": 1}, "embed": 2})
    {('embed',): 2, ('norm', 'scale'): 1}
    """
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {tuple(key.key for key in path): leaf for path, leaf in leaves}


def set_leaf(tree: dict[str, Any], path: tuple[str, ...], leaf: Any) -> None:
    """Set a leaf of a nested dict, with the dicts on its path."""
    for name in path[:-1]:
        tree = tree.setdefault(name, {})
    tree[path[-1]] = leaf


def write_model(
    folder: Path,
    config: ModelConfig,
    params: Params,
    texts: Mapping[str, Any],
    *,
    max_shard_bytes: int,
    dtype: str | None,
) -> None:
    """Write a model's files; each tensor is gathered when its file is written.

    Args:
      texts: content of the JSON and text files, by name.
      max_shard_bytes: of a file of tensors.
      dtype: of the written tensors; None for that of each parameter.

    Raises:
      ValueError: a parameter of another shape than the configuration's.
      OSError: the folder cannot be written.
    """
    leaves = flatten(params)
    out_dtype = lambda mapping: jnp.dtype(dtype or leaves[mapping.path].dtype)
    by_name: dict[str, list[TensorMapping]] = {}
    for mapping in tensor_mappings(config, leaves):
        shape = mapping.param_shape
        shape = shape if mapping.layer is None else (config.layers, *shape)
        if leaves[mapping.path].shape != shape:
            raise ValueError(
                f"{'.'.join(mapping.path)} has shape {leaves[mapping.path].shape}; the "
                f"model's is {shape}"
            )
        by_name.setdefault(mapping.name, []).append(mapping)
    size = lambda mapping: math.prod(mapping.shape) * out_dtype(mapping).itemsize
    sizes = {name: size(parts[0]) for name, parts in by_name.items()}

    def make_tensor(name: str) -> np.ndarray:
        parts = by_name[name]
        tensor = np.empty(parts[0].shape, out_dtype(parts[0]))
        for mapping in parts:
            leaf = leaves[mapping.path]
            layer = leaf if mapping.layer is None else leaf[mapping.layer]
            mapping.to_file(sharding.to_host(layer), tensor)
        return tensor

    hf_files.write(folder, texts, sizes, make_tensor, max_shard_bytes=max_shard_bytes)
