"""Folders that a run made and then had no use for, since what was asked is refused."""

from pathlib import Path
from typing import NamedTuple

from jaxalign.runtime import distributed, folder_lock

# What is written before anything is computed; with anything else a folder stays.
SETTINGS = {folder_lock.NAME, "config.json", "data.json", "inputs.json", "plan.json"}
SETTINGS |= {"metrics.jsonl", "checkpoints"}  # while they are empty


class CreatedFolder(NamedTuple):
    """A folder that a run writes to, as it was before.

    Attributes:
      names: what was in it.
      parents: the folders that were made with it, the innermost first, itself too.
    """

    folder: Path
    names: frozenset[str]
    parents: tuple[Path, ...]


created_folders: list[CreatedFolder] = []


def create(folder: Path) -> None:
    """Makes a run's folder, and remembers what was there.

    Raises:
      OSError: it cannot be made or written; says which.
    """
    try:
        there = folder.exists()
        new = [path for path in (folder, *folder.parents) if not path.exists()]
        names = frozenset(path.name for path in folder.iterdir()) if there else ()
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(
            f"cannot write the run's folder {folder}: {error.strerror or error}"
        ) from error
    created_folders.append(CreatedFolder(folder, frozenset(names), tuple(new)))


def create_locked(folder: Path) -> None:
    """Makes a run's folder, and locks it; of many processes the first locks it.

    Raises:
      OSError: it cannot be made or written; says which.
      ValueError: another run is writing to it.
    """
    create(folder)
    try:
        if distributed.is_first():
            folder_lock.acquire(folder)
    except BaseException:  # what is in it belongs to the other run
        created_folders.pop()
        raise


def delete_unused(folder: Path | None = None) -> None:
    """Deletes what was written of settings alone; a folder with more stays as it is.

    Args:
      folder: that one alone, or all that this process made.
    """
    for one in reversed([m for m in created_folders if folder in (None, m.folder)]):
        created_folders.remove(one)
        if distributed.is_first() and one.folder.is_dir():
            delete_settings(one)


def delete_settings(one: CreatedFolder) -> None:
    """Deletes a folder's settings and the empty folders that were made with it."""
    new = [path for path in one.folder.iterdir() if path.name not in one.names]
    if not all(is_setting(path) for path in new):
        return
    for path in new:
        path.rmdir() if path.is_dir() else path.unlink()
    for path in one.parents:
        if any(path.iterdir()):
            return
        path.rmdir()


def is_setting(path: Path) -> bool:
    """Whether a file or folder tells nothing that was computed."""
    if path.is_dir():
        return path.name in SETTINGS and not any(path.iterdir())
    empty = path.name == "metrics.jsonl" and path.stat().st_size > 0
    return path.name.startswith("events.") or (path.name in SETTINGS and not empty)
