"""Rows that take long to make: written as they come, and continued where they ended."""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from jaxalign.atomic_files import atomic_path
from jaxalign.runtime import distributed

Row = dict[str, Any]


def resumable_rows(
    path: Path,
    total: int,
    make: Callable[[range], Sequence[Row]],
    *,
    chunk: int,
    resume: bool,
    progress: Callable[[Sequence[range]], Iterable[range]] = iter,
) -> list[Row]:
    """The rows of a number of items, made in chunks of them and kept in a file.

    After each chunk its rows are appended to PATH.partial, with the number of items
    done; at the end PATH holds all rows. With `resume` the chunks in that file are not
    made again, and a PATH that is complete is only read.

    Args:
      path: a file of JSON lines.
      total: number of items.
      make: the rows of these items; each item may have any number of rows.
      chunk: items at one time.
      resume: whether earlier rows may be used.
      progress: iterates over the chunks that are left, and shows how many are done.

    Raises:
      ValueError: a row of the file is damaged.
    """
    partial = path.with_name(path.name + ".partial")
    if resume and path.exists() and not partial.exists():
        return [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    if distributed.is_first():
        path.parent.mkdir(parents=True, exist_ok=True)
        if not resume:
            partial.unlink(missing_ok=True)
    distributed.barrier(f"before {path.name}")
    done, rows = read_partial(partial)
    if distributed.is_first() and done:
        write_partial(partial, done, rows)  # without a chunk that was cut off
    distributed.barrier(f"before the chunks of {path.name}")
    starts = range(done, total, chunk)
    for items in progress([range(i, min(i + chunk, total)) for i in starts]):
        new = list(make(items))
        rows += new
        if distributed.is_first():
            append_chunk(partial, items.stop, new)
    if distributed.is_first():
        with atomic_path(path) as part:
            part.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        partial.unlink(missing_ok=True)
    distributed.barrier(f"when {path.name} is written")
    return rows


def read_partial(path: Path) -> tuple[int, list[Row]]:
    """The items done and their rows in a file of chunks; a chunk cut off is left out.

    The file has the rows of a chunk, one a line, and then the line `{"done": items}`.
    """
    done = 0
    rows: list[Row] = []
    pending: list[Row] = []
    for line in path.read_text("utf-8").splitlines() if path.exists() else ():
        try:
            value = json.loads(line)
        except ValueError:
            break
        if set(value) == {"done"}:
            done, rows, pending = value["done"], [*rows, *pending], []
        else:
            pending.append(value)
    return done, rows


def write_partial(path: Path, done: int, rows: Sequence[Row]) -> None:
    """Writes the file of chunks anew."""
    with atomic_path(path) as part:
        append_chunk(part, done, rows)


def append_chunk(path: Path, done: int, rows: Sequence[Row]) -> None:
    """Appends the rows of a chunk, and the number of items that are done with it."""
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
        file.write(json.dumps({"done": done}) + "\n")
