"""Folders that a refused command has created: they are deleted again."""

import json
from pathlib import Path
from typing import NamedTuple

from jaxalign.runtime import distributed, folder_lock
from jaxalign.training import metrics

# Files from before the first computation; a folder with any other file stays.
SETTINGS = {folder_lock.NAME, "config.json", "data.json", "inputs.json", "plan.json"}
SETTINGS |= {"config.yaml"}
SETTINGS |= {"timing.jsonl", "samples.jsonl"}  # which go with metrics.jsonl
SETTINGS |= {"checkpoints"}  # while it is empty


class CreatedFolder(NamedTuple):
    """A run's folder, and its contents before the run.

    Attributes:
      names: files and folders in it before.
      parents: the folders that were created with it, itself included, the innermost
        first.
    """

    folder: Path
    names: frozenset[str]
    parents: tuple[Path, ...]


created_folders: list[CreatedFolder] = []


def create(folder: Path) -> None:
    """Creates a run's folder, and records its contents.

    Raises:
      OSError: it cannot be created or written; names it.
    """
    try:
        exists = folder.exists()
        new = [path for path in (folder, *folder.parents) if not path.exists()]
        names = frozenset(path.name for path in folder.iterdir()) if exists else ()
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(
            f"cannot write the run's folder {folder}: {error.strerror or error}"
        ) from error
    created_folders.append(CreatedFolder(folder, frozenset(names), tuple(new)))


def create_locked(folder: Path) -> None:
    """Creates a run's folder and locks it; of many processes the first locks it.

    Raises:
      OSError: it cannot be created or written; names it.
      ValueError: another run has locked it.
    """
    create(folder)
    try:
        if distributed.is_first():
            folder_lock.acquire(folder)
    except BaseException:  # the files in it are the other run's
        created_folders.pop()
        raise


def delete_unused(folder: Path | None = None) -> None:
    """Deletes created folders that hold settings alone; others stay as they are.

    Args:
      folder: one folder; None for all that this process has created.
    """
    for one in reversed([c for c in created_folders if folder in (None, c.folder)]):
        created_folders.remove(one)
        if distributed.is_first() and one.folder.is_dir():
            delete_settings(one)


def delete_settings(created: CreatedFolder) -> None:
    """Deletes a folder's settings, and the empty folders that were created with it."""
    folder = created.folder
    new = [path for path in folder.iterdir() if path.name not in created.names]
    if not all(is_setting(path) for path in new):
        return
    for path in new:
        path.rmdir() if path.is_dir() else path.unlink()
    for path in created.parents:
        if any(path.iterdir()):
            return
        path.rmdir()


def is_setting(path: Path) -> bool:
    """Whether a file or folder holds nothing that was trained."""
    if path.is_dir():
        return path.name in SETTINGS and not any(path.iterdir())
    if path.name == "metrics.jsonl":
        return not has_training_lines(path)
    return path.name.startswith("events.") or path.name in SETTINGS


def has_training_lines(path: Path) -> bool:
    """Whether a metrics.jsonl has more than the evaluation before the first step."""
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                values = json.loads(line)
            except ValueError:
                return True
            if not isinstance(values, dict) or metrics.is_training(values):
                return True
    return False
