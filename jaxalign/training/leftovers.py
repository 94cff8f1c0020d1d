"""Unfinished checkpoints of killed runs: detected, put aside, and finally deleted."""

import json
import os
import shutil
from pathlib import Path

import jax
from jax.experimental import multihost_utils

Folder = str | os.PathLike[str]
TEMPORARY = ".orbax-checkpoint-tmp"  # in the name of a folder that is being written


def unfinished_checkpoints(folder: Folder) -> list[Path]:
    """The folders of checkpoints that a killed run left unfinished.

    Orbax writes to a temporary folder and renames it at the end. It would accept a
    renamed one without metadata, and raise on one whose metadata are damaged.
    """
    folders = [path for path in sorted(Path(folder).glob("[0-9]*")) if path.is_dir()]
    is_temporary = lambda path: TEMPORARY in path.name
    has_metadata = lambda path: is_json_object(path / "_CHECKPOINT_METADATA")
    return [
        path
        for path in folders
        if is_temporary(path) or (path.name.isdigit() and not has_metadata(path))
    ]


def is_json_object(path: Path) -> bool:
    """Whether a file holds a JSON object."""
    try:
        return isinstance(json.loads(path.read_bytes()), dict)
    except (OSError, ValueError):
        return False


def put_aside(folder: Path) -> None:
    """Renames unfinished checkpoints that orbax would accept as complete.

    Orbax deletes its own temporary folders.
    """
    if jax.process_index() == 0:
        for step in [p for p in unfinished_checkpoints(folder) if p.name.isdigit()]:
            others = len(list(folder.glob(f"{step.name}.incomplete*")))
            step.rename(f"{step}.incomplete{others or ''}")
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices("jaxalign put_aside")


def remove_unfinished(folder: Path, step: int | None) -> None:
    """Deletes unfinished checkpoints of steps up to `step`, whose own is complete."""
    if jax.process_index() or step is None:
        return
    for path in folder.glob("[0-9]*.*"):
        number = path.name.partition(".")[0]
        unfinished = ".incomplete" in path.name or TEMPORARY in path.name
        if unfinished and number.isdigit() and int(number) <= step:
            shutil.rmtree(path, ignore_errors=True)
