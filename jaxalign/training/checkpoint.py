"""Checkpoints: one orbax manager per run, one item per role, bit-exact resume.

A checkpoint holds the trained roles (`policy`, `value`, ...), `optimizer` (its
moments, the step, the key), `data` (the iterators' state and other JSON) and `config`.
Frozen roles, such as the reference, are written once, beside the checkpoints.
"""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from jaxalign import messages
from jaxalign.training import checkpoint_validation as validation
from jaxalign.training.checkpoint_options import manager_options
from jaxalign.training.finite import first_nonfinite
from jaxalign.training.leftovers import (
    Folder,
    put_aside,
    remove_unfinished,
    unfinished_checkpoints,
)
from jaxalign.training.reference_cache import fingerprint
from jaxalign.training.state import TrainState
from jaxalign.types import Params

__all__ = [
    "Checkpoint",
    "check_config",
    "finish",
    "load_frozen",
    "open_manager",
    "restore",
    "save",
    "save_frozen",
    "unfinished_checkpoints",
]

WRITE_ERRORS = (OSError, ValueError, RuntimeError)  # what orbax and tensorstore raise


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A restored checkpoint: the state, its parameters by role, and the data item."""

    state: TrainState
    roles: dict[str, Params]
    data: Any


def open_manager(
    folder: Folder, *, keep: int = 2, best: str = "", background: bool = True
) -> ocp.CheckpointManager:
    """Opens the manager of a run's checkpoints; creates the folder if it is missing.

    The unfinished checkpoints of a killed run are deleted, or renamed to
    `<step>.incomplete`.

    Args:
      keep: number of latest checkpoints to keep.
      best: name of a metric whose best checkpoint is kept as well: the highest or,
        after a minus sign, the lowest.
      background: write while training continues; see `finish`.

    Raises:
      OSError: the folder cannot be written.
    """
    path = Path(folder).absolute()
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        reason = error.strerror or str(error)
        raise OSError(f"cannot write checkpoints in {path}: {reason}") from error
    put_aside(path)
    options = manager_options(keep=keep, best=best, background=background)
    manager = ocp.CheckpointManager(path, options=options)
    # a thread deletes temporary files: wait, since the folder is used or deleted next
    cleanup = getattr(manager, "_cleanup_tmp_directory_future", None)
    if cleanup is not None:
        cleanup.result()
    remove_unfinished(Path(manager.directory), manager.latest_step())
    return manager


def save(
    manager: ocp.CheckpointManager,
    state: TrainState,
    roles: Mapping[str, Params],
    *,
    data: Any = None,
    config: Mapping[str, Any] | None = None,
    metrics: Mapping[str, float] | None = None,
) -> bool:
    """Saves a checkpoint named after `state.step`.

    The state may be donated to the next step as soon as this returns.

    Args:
      roles: the trained parameters: `{"policy": state.params}` or, where the state's
        parameters are a dict by role, that dict. For frozen roles, see `save_frozen`.
      data: JSON values: the states of iterators, of the KL controller, ...
      config: JSON values that a resumed run must have in common with this one.
      metrics: among them the one named by `best` of `open_manager`.

    Returns:
      Whether it was saved; False where a checkpoint of this step exists.

    Raises:
      OSError: this checkpoint, or the one before it, could not be written.
    """
    validation.check_roles(state, roles)
    step = int(state.step)
    if step in manager.all_steps():
        return False
    items = {name: ocp.args.StandardSave(params) for name, params in roles.items()}
    items["optimizer"] = ocp.args.StandardSave(optimizer_item(state))
    crc32 = validation.checksum(data)
    items["data"] = ocp.args.JsonSave({"data": data, "crc32": crc32})
    items["config"] = ocp.args.JsonSave(dict(config or {}))
    try:
        args = ocp.args.Composite(**items)
        return bool(manager.save(step, args=args, metrics=metrics, force=True))
    except WRITE_ERRORS as error:
        raise validation.write_error(manager, error) from error


def finish(manager: ocp.CheckpointManager, *, close: bool = True) -> None:
    """Waits until everything is written; then deletes older unfinished checkpoints.

    Raises:
      OSError: a checkpoint could not be written.
    """
    try:
        manager.wait_until_finished()
        manager.check_for_errors()
        remove_unfinished(Path(manager.directory), manager.latest_step())
        if close:
            manager.close()
    except WRITE_ERRORS as error:
        raise validation.write_error(manager, error) from error


def restore(
    manager: ocp.CheckpointManager,
    state: TrainState,
    roles: Mapping[str, Params],
    *,
    config: Mapping[str, Any] | None = None,
    step: int | None = None,
) -> Checkpoint:
    """Restores a checkpoint onto the devices of the templates.

    Args:
      state: a template, such as a new state; its mesh may differ from the saved one's.
      roles: the template's parameters, as in `save`.
      config: of this run, compared with the saved one; None compares nothing.
      step: of the checkpoint; None for the latest.

    Raises:
      FileNotFoundError: there is no checkpoint.
      ValueError: it has another config, shape or dtype (the message names it), or is
        damaged: an item is missing, truncated or edited, or holds a NaN or infinity.
    """
    validation.check_roles(state, roles)
    step = latest_step(manager) if step is None else step
    if config is not None:
        check_config(manager, config)
    item = validation.read_item(manager, step, "data")
    if item.get("crc32") != validation.checksum(item.get("data")):
        raise validation.damage_error(manager, step, "its data item was changed")
    folder = Path(manager.directory) / str(step)
    with validation.report_damage(manager, step):
        saved = {name: validation.saved_arrays(folder / name) for name in roles}
    for name, params in roles.items():
        validation.check_same_arrays(folder / name, saved[name], params)
    templates = {**roles, "optimizer": optimizer_item(state)}
    args = {
        name: ocp.args.StandardRestore(template(tree))
        for name, tree in templates.items()
    }
    with validation.report_damage(manager, step):
        read = manager.restore(step, args=ocp.args.Composite(**args))
    nonfinite = first_nonfinite({name: read[name] for name in templates})
    if nonfinite:
        raise validation.damage_error(manager, step, f"{nonfinite} is not finite")
    params = {name: read[name] for name in roles}
    return Checkpoint(
        assemble_state(params, read["optimizer"], state), params, item["data"]
    )


def check_config(manager: ocp.CheckpointManager, config: Mapping[str, Any]) -> None:
    """Refuses to resume from the latest checkpoint under another config.

    Raises:
      FileNotFoundError: there is no checkpoint.
      ValueError: the config differs, or is damaged.
    """
    step = latest_step(manager)
    saved = validation.read_item(manager, step, "config")
    validation.check_same_config(saved, config, Path(manager.directory) / str(step))


def latest_step(manager: ocp.CheckpointManager) -> int:
    """The step of the latest checkpoint.

    Raises:
      FileNotFoundError: there is none.
    """
    step = manager.latest_step()
    if step is None:
        raise FileNotFoundError(f"no checkpoint to resume from in {manager.directory}")
    return int(step)


def optimizer_item(state: TrainState) -> dict[str, Any]:
    """The content of the optimizer item; typed keys are saved as their data."""
    key = jax.random.key_data(state.key)
    return {"opt_state": state.opt_state, "step": state.step, "key": key}


def assemble_state(
    roles: Mapping[str, Params], item: Mapping[str, Any], like: TrainState
) -> TrainState:
    """The state of restored roles and optimizer item, its key typed like `like`'s."""
    key = jax.random.wrap_key_data(item["key"], impl=jax.random.key_impl(like.key))
    return TrainState(item["step"], validation.params_of(roles), item["opt_state"], key)


def template(tree: Any) -> Any:
    """Shapes, dtypes and shardings of a tree of arrays."""

    def abstract(x: Any) -> jax.ShapeDtypeStruct:
        place = getattr(x, "sharding", None)
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place)

    return jax.tree.map(abstract, tree)


def frozen_path(folder: Folder, role: str) -> Path:
    """The folder of a frozen role."""
    return Path(folder).absolute() / "frozen" / role


def save_frozen(folder: Folder, role: str, params: Params) -> bool:
    """Writes the parameters of a frozen role, unless the same ones are there already.

    Other parameters, of an earlier run in the same folder, are replaced.

    Returns:
      Whether they were written.

    Raises:
      OSError: they could not be written.
    """
    path = frozen_path(folder, role)
    mark, hashed = path.with_suffix(".fingerprint"), fingerprint(params)
    if path.is_dir() and mark.is_file() and mark.read_text() == hashed:
        return False
    try:
        mark.unlink(missing_ok=True)
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(path, params, force=True)
        if jax.process_index() == 0:
            mark.write_text(hashed)
    except (OSError, ValueError) as error:
        reason = messages.first_line(error)
        raise OSError(f"the {role} could not be written to {path}: {reason}") from error
    return True


def load_frozen(folder: Folder, role: str, like: Params) -> Params:
    """Reads a frozen role onto the devices of the template `like`.

    Raises:
      FileNotFoundError: it was never written.
    """
    path = frozen_path(folder, role)
    if not path.is_dir():
        raise FileNotFoundError(f"no frozen {role} in {path.parent}")
    with ocp.StandardCheckpointer() as checkpointer:
        return checkpointer.restore(path, template(like))
