"""What killed runs leave half-written: known, put aside, and at last deleted."""

import json
import shutil
from pathlib import Path

import jax
from jax.experimental import multihost_utils

from jaxalign.training.frozen import Folder

TEMPORARY = ".orbax-checkpoint-tmp"  # in the name of what is being written


def unfinished_checkpoints(folder: Folder) -> list[Path]:
    """The checkpoints that a killed run left half-written.

    Orbax writes in a folder of another name, and renames it at the end; one without its
    metadata it would take for whole, and of other metadata it would raise.
    """
    found = [path for path in sorted(Path(folder).glob("[0-9]*")) if path.is_dir()]
    begun = lambda path: TEMPORARY in path.name
    bare = lambda path: not is_json_object(path / "_CHECKPOINT_METADATA")
    return [p for p in found if begun(p) or (p.name.isdigit() and bare(p))]


def is_json_object(path: Path) -> bool:
    """Whether a file holds a JSON object."""
    try:
        return isinstance(json.loads(path.read_bytes()), dict)
    except (OSError, ValueError):
        return False


def put_aside(folder: Path) -> None:
    """Renames those which orbax would take for whole; it deletes its own remains."""
    if jax.process_index() == 0:
        for step in [p for p in unfinished_checkpoints(folder) if p.name.isdigit()]:
            others = len(list(folder.glob(f"{step.name}.incomplete*")))
            step.rename(f"{step}.incomplete{others or ''}")
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices("jaxalign put_aside")


def remove_unfinished(folder: Path, step: int | None) -> None:
    """Deletes what is half-written of the steps up to one whose checkpoint is whole."""
    if jax.process_index() or step is None:
        return
    for path in folder.glob("[0-9]*.*"):
        number = path.name.partition(".")[0]
        half = ".incomplete" in path.name or TEMPORARY in path.name
        if half and number.isdigit() and int(number) <= step:
            shutil.rmtree(path, ignore_errors=True)
