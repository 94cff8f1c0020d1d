"""Sharding: one table from logical axes to mesh axes, and placement by it.

Models and losses name logical axes only. The mesh has the axes `data` (rows), `fsdp`
(rows, and parameters sharded along their width) and `tensor` (heads, hidden units,
vocabulary), all of type Auto: XLA places the collectives. On the host the mesh is an
argument; `constrain` and its like, inside compiled functions, read it from the context.
"""

import contextlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec

from jaxalign.types import Array

MESH_AXES = ("data", "fsdp", "tensor")

AXES: dict[str | None, str | tuple[str, ...] | None] = {
    "batch": ("data", "fsdp"),
    "vocab": "tensor",
    "heads": "tensor",
    "kv_heads": "tensor",
    "hidden": "tensor",
    "width": "fsdp",
    "layers": None,
    None: None,
}


def make_mesh(
    shape: Mapping[str, int] | None = None, devices: Sequence[Any] | None = None
) -> Mesh:
    """A mesh over all devices; by default all of them on the `data` axis.

    Args:
      shape: devices on each axis, such as `{"data": 2, "fsdp": 4}`; a missing
        axis has 1.
      devices: devices to use, or only to compile for; by default all of this machine.

    Raises:
      ValueError: an unknown axis, more devices than there are, or, with many processes,
        fewer, which would leave some of them out.
    """
    devices = jax.devices() if devices is None else devices
    shape = {"data": len(devices)} if shape is None else shape
    unknown = set(shape) - set(MESH_AXES)
    if unknown:
        raise ValueError(f"unknown mesh axes {sorted(unknown)}; known: {MESH_AXES}")
    sizes = tuple(shape.get(axis, 1) for axis in MESH_AXES)
    if math.prod(sizes) > len(devices) or min(sizes) < 1:
        raise ValueError(
            f"mesh {dict(zip(MESH_AXES, sizes, strict=True))} needs {math.prod(sizes)} "
            f"devices; this machine has {len(devices)}{cpu_device_hint(devices, sizes)}"
        )
    if math.prod(sizes) < len(devices) and jax.process_count() > 1:
        raise ValueError(
            f"mesh {dict(zip(MESH_AXES, sizes, strict=True))} uses {math.prod(sizes)} "
            f"of the {len(devices)} devices of {jax.process_count()} processes; all of "
            f"them take part in a run"
        )
    return jax.make_mesh(
        sizes,
        MESH_AXES,
        axis_types=(AxisType.Auto,) * len(MESH_AXES),
        devices=devices[: math.prod(sizes)],
    )


def cpu_device_hint(devices: Sequence[Any], sizes: Sequence[int]) -> str:
    """A hint for the error of a mesh with too few CPU devices; else empty."""
    if devices[0].platform != "cpu" or min(sizes) < 1:
        return ""
    return f": JAX_NUM_CPU_DEVICES={math.prod(sizes)} makes as many of a CPU"


def spec(*names: str | None) -> PartitionSpec:
    """The partition of an array, given the logical name of each dimension.

    >>> spec("batch", None) == PartitionSpec(("data", "fsdp"), None)
    True
    """
    return PartitionSpec(*(AXES[name] for name in names))


def drop_indivisible_axes(
    mesh: Mesh | AbstractMesh, partition: PartitionSpec, shape: tuple[int, ...]
) -> PartitionSpec:
    """The partition without the axes that do not divide their dimension."""

    def divides(axes: str | tuple[str, ...] | None, size: int) -> bool:
        axes = (axes,) if isinstance(axes, str) else axes or ()
        return size % math.prod(mesh.shape[axis] for axis in axes) == 0

    pairs = zip(partition, shape, strict=False)
    return PartitionSpec(*(a if divides(a, size) else None for a, size in pairs))


def shardings(mesh: Mesh, specs: Any, shapes: Any) -> Any:
    """A tree of shardings, from trees of partitions and of arrays (or their shapes)."""
    return jax.tree.map(
        lambda s, x: NamedSharding(mesh, drop_indivisible_axes(mesh, s, x.shape)),
        specs,
        shapes,
    )


def place(tree: Any, specs: Any, mesh: Mesh) -> Any:
    """Puts a parameter tree on the mesh, sharded by its specs."""
    return jax.device_put(tree, shardings(mesh, specs, tree))


def mesh_of(tree: Any) -> Mesh | None:
    """The mesh on which the arrays of a tree lie; None if they lie on none."""
    for leaf in jax.tree.leaves(tree):
        place = getattr(leaf, "sharding", None)
        if isinstance(place, NamedSharding) and isinstance(place.mesh, Mesh):
            return place.mesh
    return None


def use_mesh(mesh: Mesh | None) -> contextlib.AbstractContextManager[Any]:
    """A context in which `constrain` sees the mesh; None changes nothing."""
    return contextlib.nullcontext() if mesh is None else jax.set_mesh(mesh)


def row_shards(mesh: Mesh | None) -> int:
    """Into how many parts the rows of a batch are cut; 1 without a mesh."""
    return 1 if mesh is None else mesh.shape["data"] * mesh.shape["fsdp"]


def local_rows(rows: int, mesh: Mesh | None) -> slice | np.ndarray:
    """Indices of the rows of a batch that this process loads.

    They are the rows on its devices or, without a mesh, equal parts in the order of
    the processes. Where an axis such as `tensor` spans processes, several load the
    same rows. Row r of the placed batch is row r of the global one, whoever loads it.

    Args:
      rows: of the global batch, over all processes.

    Raises:
      ValueError: the rows do not divide.
    """
    processes = jax.process_count()
    if processes == 1:
        return slice(None)
    if mesh is not None:
        return rows_on_local_devices(rows, mesh)
    if rows % processes:
        raise ValueError(f"batch {rows} does not divide by {processes} processes")
    part, first = rows // processes, jax.process_index()
    return slice(first * part, (first + 1) * part)


def rows_on_local_devices(rows: int, mesh: Mesh) -> np.ndarray:
    """Indices of the rows of a batch that lie on this process's devices, rising.

    Raises:
      ValueError: the rows do not divide among the devices.
    """
    if rows % row_shards(mesh):
        raise ValueError(
            f"batch of {rows} rows is not divisible by {row_shards(mesh)} devices"
        )
    by_rows = NamedSharding(mesh, spec("batch"))
    owned = by_rows.addressable_devices_indices_map((rows,)).values()
    return np.unique(np.concatenate([np.arange(rows)[index] for index in owned]))


def place_batch(tree: Any, mesh: Mesh | None) -> Any:
    """Puts a batch on the mesh, its rows cut over `data` and `fsdp`.

    Each process passes its own rows, those of `local_rows`. Without a mesh the batch
    stays as it is.

    Raises:
      ValueError: the rows do not divide among the devices.
    """
    if mesh is None:
        return tree
    shards, rows = row_shards(mesh), jax.tree.leaves(tree)[0].shape[0]
    local_shards = len(rows_on_local_devices(shards, mesh))
    if rows % local_shards:
        raise ValueError(
            f"batch of {rows * shards // local_shards} rows is not divisible by "
            f"{shards} devices"
        )
    by_rows = NamedSharding(mesh, spec("batch"))

    def put(x: Any) -> jax.Array:
        shape = (x.shape[0] * shards // local_shards, *x.shape[1:])
        return jax.make_array_from_process_local_data(by_rows, np.asarray(x), shape)

    return jax.tree.map(put, tree)


def shard_from_replicated(tree: Any, mesh: Mesh | None) -> Any:
    """Cuts a batch that every process holds in full over the mesh, by rows.

    Rows that do not divide are replicated. Without a mesh the batch stays as it is.
    """
    if mesh is None:
        return tree

    def put(x: Any) -> jax.Array:
        axes = drop_indivisible_axes(mesh, spec("batch"), x.shape)
        by_rows = NamedSharding(mesh, axes)
        return jax.make_array_from_callback(x.shape, by_rows, lambda index: x[index])

    return jax.tree.map(put, tree)


def to_host(x: Any) -> np.ndarray:
    """The global array as numpy, gathered from all processes where it is sharded.

    A collective: all processes must call it.
    """
    if isinstance(x, jax.Array) and not x.is_fully_addressable:
        if x.is_fully_replicated:
            return np.asarray(x.addressable_data(0))
        return np.asarray(multihost_utils.process_allgather(x, tiled=True))
    return np.asarray(x)


def constrain(x: Array, *names: str | None) -> Array:
    """Constrains the sharding of an activation; the identity without a mesh in context.

    Args:
      names: the logical name of each dimension of `x`.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return x
    return jax.lax.with_sharding_constraint(
        x, drop_indivisible_axes(mesh, spec(*names), x.shape)
    )


def gather_along(name: str, tree: Any, specs: Any) -> Any:
    """Constrains arrays to be gathered along a logical axis, else sharded by specs."""
    mesh, gathered = jax.sharding.get_abstract_mesh(), AXES[name]
    if mesh.empty:
        return tree

    def gather(partition: PartitionSpec, x: Array) -> Array:
        rest = PartitionSpec(*(None if a == gathered else a for a in partition))
        return jax.lax.with_sharding_constraint(
            x, drop_indivisible_axes(mesh, rest, x.shape)
        )

    return jax.tree.map(gather, specs, tree)


def shard_count(name: str) -> int:
    """Parts into which XLA may cut a dimension; 1 without a mesh in context."""
    mesh, axes = jax.sharding.get_abstract_mesh(), AXES[name]
    axes = (axes,) if isinstance(axes, str) else axes or ()
    kinds = zip(mesh.axis_names, mesh.axis_types, strict=True)
    auto = {axis for axis, kind in kinds if kind == AxisType.Auto}
    return math.prod(mesh.shape[axis] for axis in axes if axis in auto)
