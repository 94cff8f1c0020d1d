"""Files that appear whole or not at all: written beside their place, then renamed."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def atomic_path(path: Path, *, exclusive: bool = False) -> Iterator[Path]:
    """Gives a path to write to, a file or a folder, which replaces `path` at the end.

    Where the block raises, what it wrote is deleted and `path` stays as it was. The
    parent folder is created.

    Args:
      exclusive: no other process writes this path meanwhile, so that what a killed
        writer has left is deleted first. Without, each process has a name of its own.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "notes.txt"
    >>> with atomic_path(path) as part:
    ...     _ = part.write_text("all of it")
    >>> path.read_text(), part.exists()
    ('all of it', False)
    """
    owner = "" if exclusive else f".{os.getpid()}"
    part = path.with_name(f".{path.name}{owner}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        delete(part)
        yield part
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(OSError):
            delete(part)
        raise


def delete(path: Path) -> None:
    """Deletes a file or a folder, if it exists."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
