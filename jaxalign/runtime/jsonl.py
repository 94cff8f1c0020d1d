"""JSON lines: folders of train.jsonl and test.jsonl, of one round or of several."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from jaxalign.runtime import distributed

RoundSelection = Literal["all", "newest"]  # the rounds whose rows a round trains on


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """Writes rows as JSON lines; of many processes the first writes."""
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
    """Joins the training rows of several folders; test rows are the newest folder's.

    Args:
      folders: each with train.jsonl and test.jsonl, the newest last.
      once: a field that identifies rows; of rows with the same value only the newest is
        kept.

    Returns:
      `out`.
    """
    rows = [row for folder in folders for row in read(folder / "train.jsonl")]
    if once:
        rows = list({json.dumps(row[once]): row for row in rows}.values())
    write(out / "train.jsonl", rows)
    write(out / "test.jsonl", read(folders[-1] / "test.jsonl"))
    return out


def round_folders(
    out: Path, i: int, name: str, selection: RoundSelection
) -> list[Path]:
    """The folders of one name in rounds 0 to i, or in round i alone ("newest")."""
    first = 0 if selection == "all" else i
    return [round_folder(out, j) / name for j in range(first, i + 1)]


def round_folder(out: Path, i: int) -> Path:
    """The folder of round i, counted from 0; its name counts from 1."""
    return out / f"round-{i + 1}"
