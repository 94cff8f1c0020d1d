"""Validates a checkpoint against the resuming run's config and shapes; finds damage.

Each fault is one sentence that names the checkpoint and what to do.
"""

import contextlib
import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax

from jaxalign import lazy, messages
from jaxalign.training.state import TrainState
from jaxalign.types import Params

if TYPE_CHECKING:
    import chex
    import orbax.checkpoint as ocp
else:
    chex = lazy.module("chex")
    ocp = lazy.module("orbax.checkpoint")

ABSENT = "(absent)"


def params_of(roles: Mapping[str, Params]) -> Params:
    """The parameters of the state: the only role's, or a dict by role."""
    return next(iter(roles.values())) if len(roles) == 1 else dict(roles)


def check_roles(state: TrainState, roles: Mapping[str, Params]) -> None:
    """Refuses roles from which the state's parameters could not be assembled."""
    reserved = {"optimizer", "data", "config"} & set(roles)
    params: Any = jax.tree.structure(params_of(roles))
    if reserved or not roles or params != jax.tree.structure(state.params):
        raise ValueError(
            f"roles {sorted(roles)} must be state.params under one name, or its "
            f"entries under theirs"
        )


def check_same_config(
    saved: Mapping[str, Any], config: Mapping[str, Any], checkpoint: Path
) -> None:
    """Refuses a checkpoint of another config.

    Raises:
      ValueError: with the fields that differ.
    """
    as_json = lambda x: list(x) if isinstance(x, tuple) else x
    fields = {
        name: (saved.get(name, ABSENT), config.get(name, ABSENT))
        for name in sorted({*saved, *config})
    }
    differences = ", ".join(
        f"{name}: {then!r} then, {now!r} now"
        for name, (then, now) in fields.items()
        if then != as_json(now)
    )
    if differences:
        raise ValueError(
            f"the checkpoint {checkpoint} is of another config ({differences}); resume "
            "with the same one or choose another folder"
        )


def saved_arrays(item: Path) -> dict[str, jax.ShapeDtypeStruct]:
    """The shape and dtype of each array of an item, by its path.

    Raises:
      FileNotFoundError: there is no such item.
    """
    if not item.is_dir():
        raise FileNotFoundError(f"no role {item.name} in the checkpoint {item.parent}")
    handler = ocp.StandardCheckpointHandler()
    try:
        return arrays_by_path(handler.metadata(item))
    finally:
        handler.close()


def arrays_by_path(tree: Any) -> dict[str, jax.ShapeDtypeStruct]:
    """The shape and dtype of each array of a tree, by its path."""
    return {
        jax.tree_util.keystr(path): jax.ShapeDtypeStruct(tuple(x.shape), x.dtype)
        for path, x in jax.tree_util.tree_leaves_with_path(tree)
    }


def check_same_arrays(
    item: Path, saved: Mapping[str, jax.ShapeDtypeStruct], template: Params
) -> None:
    """Refuses an item whose arrays have other names, shapes or dtypes than a template.

    Raises:
      ValueError: naming the first array that differs. Orbax would say so at length,
        and would convert dtypes silently.
    """
    expected = arrays_by_path(template)
    try:
        chex.assert_trees_all_equal_shapes_and_dtypes(dict(saved), expected)
    except AssertionError as error:
        names = sorted({*saved, *expected})
        name = next(x for x in names if saved.get(x) != expected.get(x))
        raise ValueError(
            f"{item} is of another model: {name} is {describe(saved.get(name))} in the "
            f"checkpoint and {describe(expected.get(name))} in this run"
        ) from error


def describe(array: jax.ShapeDtypeStruct | None) -> str:
    """The dtype and shape of an array, such as "float32 (11, 6)"."""
    return ABSENT if array is None else f"{array.dtype} {array.shape}"


def checksum(data: Any) -> int:
    """The CRC-32 of JSON data, by which an edited or damaged item is recognized."""
    return zlib.crc32(json.dumps(data, sort_keys=True).encode())


def read_item(manager: "ocp.CheckpointManager", step: int, name: str) -> dict[str, Any]:
    """Reads a JSON item of a checkpoint.

    Raises:
      ValueError: it is damaged.
    """
    path = Path(manager.directory) / str(step) / name / "metadata"
    try:
        item = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise damage_error(manager, step, f"{name}: {error}") from error
    if not isinstance(item, dict):
        raise damage_error(manager, step, f"{name} is not a JSON object")
    return item


def damage_error(
    manager: "ocp.CheckpointManager", step: int, reason: str
) -> ValueError:
    """The error for a checkpoint that cannot be used: why, and what to do."""
    path = Path(manager.directory) / str(step)
    earlier = [other for other in manager.all_steps() if other < step]
    then = f"continue from step {max(earlier)}" if earlier else "start again"
    return ValueError(
        f"the checkpoint {path} is damaged ({messages.first_line(reason)}); delete "
        f"that folder to {then}"
    )


@contextlib.contextmanager
def report_damage(manager: "ocp.CheckpointManager", step: int) -> Iterator[None]:
    """Turns any exception of the block into a `damage_error`."""
    try:
        yield
    except Exception as error:
        raise damage_error(manager, step, str(error) or type(error).__name__) from error


def write_error(manager: "ocp.CheckpointManager", error: Exception) -> OSError:
    """The error for a failed write, with the last complete checkpoint."""
    steps = sorted(manager.all_steps())
    last = f"the last complete one is of step {steps[-1]}" if steps else "there is none"
    return OSError(
        f"a checkpoint in {manager.directory} was not written "
        f"({messages.first_line(error)}); {last}"
    )
