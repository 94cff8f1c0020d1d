"""A lock on a run's folder: two runs cannot write to one `--out` at once.

The operating system holds it for the process, and releases it however that ends. On
file systems without locks nothing is locked.
"""

import atexit
import fcntl
import os
import socket
from pathlib import Path
from typing import TextIO

NAME = ".lock"
locks: dict[Path, TextIO] = {}  # by folder; a closed file is a released lock


def acquire(folder: Path) -> None:
    """Locks a folder for this process, until `release` or the process's end.

    Raises:
      ValueError: another process has locked it; names the folder and that process.
    """
    folder = folder.resolve()
    while folder not in locks:
        file = (folder / NAME).open("a+")
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            file.seek(0)
            owner = file.read().strip() or "an unknown process"
            file.close()
            raise ValueError(
                f"{folder} is in use by another run, {owner}: wait for its end, or "
                "choose another --out"
            ) from error
        except OSError:  # the file system has no locks
            file.close()
            return
        if is_current(file, folder / NAME):
            locks[folder] = file
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            file.flush()
        else:  # another run deleted it meanwhile
            file.close()


def owner(folder: Path) -> str:
    """The process that has locked a folder, such as "process 7 on HOST"; "" if none.

    This process itself is not found.
    """
    try:
        with (folder / NAME).open("r+") as file:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):
                return file.read().strip() or "an unknown process"
    except OSError:  # no such file, or no locks
        return ""
    return ""


def is_current(file: TextIO, path: Path) -> bool:
    """Whether an open file is the one that the path names now."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def release(folder: Path) -> None:
    """Unlocks a folder, if this process has locked it."""
    file = locks.pop(folder.resolve(), None)
    if file is not None:
        file.close()


@atexit.register
def release_all() -> None:
    """Unlocks every folder that this process has locked."""
    for folder in list(locks):
        release(folder)
