"""Checkpoints: one orbax manager a run, one item a role, and exact resume.

A checkpoint holds the trained roles (`policy`, `value`, ...), `optimizer` (its
moments, the step, the key), `data` (the iterator's state and whatever else is JSON) and
`config`. Roles that never change are written once, beside them.
"""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from jaxalign.training import matching
from jaxalign.training.finite import first_nonfinite
from jaxalign.training.frozen import Folder, load_frozen, save_frozen, template
from jaxalign.training.integrity import checksum, damage_error, read_item, report_damage
from jaxalign.training.leftovers import (
    put_aside,
    remove_unfinished,
    unfinished_checkpoints,
)
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


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A checkpoint, read: the state, the roles in it, and the data item."""

    state: TrainState
    roles: dict[str, Params]
    data: Any


def open_manager(
    folder: Folder, *, keep: int = 2, best: str = "", background: bool = True
) -> ocp.CheckpointManager:
    """The manager of a run's checkpoints, made if the folder is not there.

    What a killed run left unfinished is deleted, or put aside as `<step>.incomplete`.

    Args:
      keep: how many of the latest checkpoints stay.
      best: a metric of whose best checkpoint stays besides: the highest, or, after a
        minus sign, the lowest.
      background: write while training goes on; see `finish`.

    Raises:
      OSError: nothing can be written in the folder.
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
    policies = ocp.checkpoint_managers
    preserved: list[Any] = [policies.LatestN(n=keep)]
    score = lambda told: told[best.removeprefix("-")]
    if best:
        preserved.append(
            policies.BestN(get_metric_fn=score, reverse=best.startswith("-"), n=1)
        )
    options = ocp.CheckpointManagerOptions(
        preservation_policy=policies.AnyPreservationPolicy(preserved),
        best_fn=score if best else None,  # or else it keeps no metrics
        cleanup_tmp_directories=True,
        enable_async_checkpointing=background,
    )
    manager = ocp.CheckpointManager(path, options=options)
    # a thread deletes what is temporary: let it end before the folder is used, or gone
    cleaning = getattr(manager, "_cleanup_tmp_directory_future", None)
    if cleaning is not None:
        cleaning.result()
    remove_unfinished(Path(manager.directory), manager.latest_step())
    return manager


def params_of(roles: Mapping[str, Params]) -> Params:
    """The parameters of the state: the only role's, or a dict by role."""
    return next(iter(roles.values())) if len(roles) == 1 else dict(roles)


def check_roles(state: TrainState, roles: Mapping[str, Params]) -> None:
    """Refuses roles which the state's parameters could not be put together from."""
    reserved = {"optimizer", "data", "config"} & set(roles)
    whole: Any = jax.tree.structure(params_of(roles))
    same = whole == jax.tree.structure(state.params)
    if reserved or not roles or not same:
        raise ValueError(
            f"roles {sorted(roles)} must be state.params under one name, or its "
            f"entries under theirs"
        )


def optimizer_item(state: TrainState) -> dict[str, Any]:
    """What the optimizer item holds; typed keys are saved as their data."""
    key = jax.random.key_data(state.key)
    return {"opt_state": state.opt_state, "step": state.step, "key": key}


def save(
    manager: ocp.CheckpointManager,
    state: TrainState,
    roles: Mapping[str, Params],
    *,
    data: Any = None,
    config: Mapping[str, Any] | None = None,
    metrics: Mapping[str, float] | None = None,
) -> bool:
    """Saves a checkpoint named after `state.step`; False if that one is there already.

    The state may be donated to the next step as soon as this returns.

    Args:
      roles: the trained parameters: `{"policy": state.params}`, or, where the state's
        parameters are a dict by role, that dict. Frozen roles: see `save_frozen`.
      data: JSON-able: the iterator's state, the KL controller's, ...
      config: JSON-able; what a resumed run must have in common with this one.
      metrics: by which the best checkpoint is known, see `open_manager`.

    Raises:
      OSError: this checkpoint, or the one before it, could not be written.
    """
    check_roles(state, roles)
    step = int(state.step)
    if step in manager.all_steps():
        return False
    items = {name: ocp.args.StandardSave(params) for name, params in roles.items()}
    items["optimizer"] = ocp.args.StandardSave(optimizer_item(state))
    items["data"] = ocp.args.JsonSave({"data": data, "crc32": checksum(data)})
    items["config"] = ocp.args.JsonSave(dict(config or {}))
    try:
        saved = ocp.args.Composite(**items)
        return bool(manager.save(step, args=saved, metrics=metrics, force=True))
    except (OSError, ValueError, RuntimeError) as error:
        raise write_error(manager, error) from error


def finish(manager: ocp.CheckpointManager, *, close: bool = True) -> None:
    """Waits until everything is written; then deletes what is half-written and older.

    Raises:
      OSError: it could not be.
    """
    try:
        manager.wait_until_finished()
        manager.check_for_errors()
        remove_unfinished(Path(manager.directory), manager.latest_step())
        if close:
            manager.close()
    except (OSError, ValueError, RuntimeError) as error:
        raise write_error(manager, error) from error


def write_error(manager: ocp.CheckpointManager, error: Exception) -> OSError:
    """One sentence out of what the writing stack says."""
    first = next(iter(str(error).splitlines()), type(error).__name__)
    steps = sorted(manager.all_steps())
    kept = (
        f"the last whole one is of step {steps[-1]}" if steps else "there is no other"
    )
    return OSError(
        f"a checkpoint in {manager.directory} was not written ({first}); {kept}"
    )


def check_config(manager: ocp.CheckpointManager, config: Mapping[str, Any]) -> None:
    """Refuses the latest checkpoint where it is of another config.

    Raises:
      FileNotFoundError: there is no checkpoint.
      ValueError: the config differs, or is damaged.
    """
    step = latest_step(manager)
    saved = read_item(manager, step, "config")
    matching.check_same_config(saved, config, Path(manager.directory) / str(step))


def latest_step(manager: ocp.CheckpointManager) -> int:
    """The step of the latest checkpoint.

    Raises:
      FileNotFoundError: there is none.
    """
    step = manager.latest_step()
    if step is None:
        raise FileNotFoundError(f"no checkpoint to resume from in {manager.directory}")
    return int(step)


def restore(
    manager: ocp.CheckpointManager,
    state: TrainState,
    roles: Mapping[str, Params],
    *,
    config: Mapping[str, Any] | None = None,
) -> Checkpoint:
    """Reads the latest checkpoint, onto the devices where the templates lie.

    Args:
      state: a template, such as a new state; its mesh may differ from the saved one's.
      roles: as in `save`, of the template.
      config: this run's; None compares nothing.

    Raises:
      FileNotFoundError: there is no checkpoint.
      ValueError: it is of another config or shape (what differs is named), or damaged:
        an item is gone, cut short, edited, or holds numbers that are not finite.
    """
    check_roles(state, roles)
    step = latest_step(manager)
    if config is not None:
        check_config(manager, config)
    item = read_item(manager, step, "data")
    if item.get("crc32") != checksum(item.get("data")):
        raise damage_error(manager, step, "its data item is not what was saved")
    folder = Path(manager.directory) / str(step)
    items = {name: restore_args(params) for name, params in roles.items()}
    items["optimizer"] = restore_args(optimizer_item(state))
    with report_damage(manager, step):
        saved = {name: matching.saved_shapes(folder / name) for name in roles}
    for name, params in roles.items():
        matching.check_same_shapes(folder / name, saved[name], params)
    with report_damage(manager, step):
        read = manager.restore(step, args=ocp.args.Composite(**items))
    nonfinite = first_nonfinite({name: read[name] for name in items})
    if nonfinite:
        raise damage_error(manager, step, f"{nonfinite} is not finite")
    return Checkpoint(
        assemble_state(read, state, roles), {n: read[n] for n in roles}, item["data"]
    )


def assemble_state(
    read: Mapping[str, Any], state: TrainState, roles: Mapping[str, Params]
) -> TrainState:
    """The state that the items of a checkpoint hold, its key of the template's kind."""
    rest = read["optimizer"]
    key = jax.random.wrap_key_data(rest["key"], impl=jax.random.key_impl(state.key))
    return TrainState(
        step=rest["step"],
        params=params_of({name: read[name] for name in roles}),
        opt_state=rest["opt_state"],
        key=key,
    )


def restore_args(tree: Any) -> ocp.args.StandardRestore:
    """How to read one item: as the template lies."""
    return ocp.args.StandardRestore(template(tree))
