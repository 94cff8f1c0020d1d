"""Rows as JSON lines, in folders of train and test files, and those of many rounds."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from jaxalign.runtime import distributed

RoundSelection = Literal[
    "all", "newest"
]  # whose rows a round learns from: all rounds', or its own


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """Writes rows as JSON lines; of many processes the first does."""
    if not distributed.is_first():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of a file of JSON lines."""
    with path.open() as file:
        return [json.loads(line) for line in file]


def gather(folders: Sequence[Path], out: Path, *, once: str = "") -> Path:
    """The training rows of several folders as one; held-out ones are the last folder's.

    Args:
      folders: each with train.jsonl and test.jsonl, the newest last.
      once: the field by which rows are the same; of these the newest alone is kept.
    """
    rows = [row for folder in folders for row in read(folder / "train.jsonl")]
    if once:
        rows = list({json.dumps(row[once]): row for row in rows}.values())
    write(out / "train.jsonl", rows)
    write(out / "test.jsonl", read(folders[-1] / "test.jsonl"))
    return out


def round_folders(
    out: Path, i: int, what: str, selection: RoundSelection
) -> list[Path]:
    """The folders of that name that rounds 0 to i left, or that round i did."""
    first = 0 if selection == "all" else i
    return [round_folder(out, j) / what for j in range(first, i + 1)]


def round_folder(out: Path, i: int) -> Path:
    """The folder of a round; people count from 1."""
    return out / f"round-{i + 1}"
