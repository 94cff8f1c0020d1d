"""The learning curves of a run's folder: its log, and curves.png.

Matplotlib is loaded when the first curves are drawn, at the end of a run.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxalign import evaluation, messages
from jaxalign.atomic_files import atomic_path
from jaxalign.runtime import distributed
from jaxalign.training import metrics

NAME = "curves.png"
TIMES = "timing.jsonl"
FEWEST_STEPS = 5  # of a run whose curves are drawn


def write_curves(folder: Path, title: str) -> None:
    """Writes FOLDER/curves.png; a failure is a line, and ends no run.

    Of many processes the first writes. A run of fewer than five steps has no curves.
    """
    if not distributed.is_first() or not (folder / "metrics.jsonl").is_file():
        return
    try:
        rows = metrics.read_log(folder)
        if sum(map(metrics.is_training, rows)) < FEWEST_STEPS:
            return
        with atomic_path(folder / NAME) as part, part.open("wb") as file:
            evaluation.curves.plot_run(file, rows, title=title)
    except Exception as error:  # a plot is not worth a run, whatever is wrong with it
        reason = messages.first_line(error)
        distributed.print_line(f"{title}: no {NAME}: {reason}")


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """The rows of a run's metrics.jsonl, with the time and tokens of its timing.jsonl.

    `seconds` and `tokens` are those of all steps so far, and so is the `epoch` of a
    held-out evaluation that of the step before.

    Raises:
      ValueError: no log, or a damaged one; names the file and the line.
    """
    rows = read_lines(folder / "metrics.jsonl")
    if not rows:
        raise ValueError(
            f"{folder / 'metrics.jsonl'} is empty: the run has no step yet"
        )
    times = read_lines(folder / TIMES) if (folder / TIMES).is_file() else []
    return add_places(rows, {row["step"]: row for row in times})


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a log, each with a step.

    Raises:
      ValueError: the file is missing, or a line damaged; the last line of a run that is
        under way may be incomplete, and is left out.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    except (OSError, UnicodeDecodeError) as error:
        reason = "is missing" if not path.exists() else messages.first_line(error)
        raise ValueError(
            f"{path} {reason}: expected the folder of a training run"
        ) from error
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            rows.append(row | {"step": int(row["step"])})
        except (ValueError, TypeError, LookupError) as error:
            if number == len(lines) and not line.endswith("\n"):
                break
            raise ValueError(
                f"{path}:{number}: expected a JSON object with a step"
            ) from error
    return rows


def add_places(
    rows: Sequence[dict[str, Any]], times: Mapping[int, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """The rows with their places on other axes than the step's.

    Args:
      times: of each step, `seconds` and `tokens_per_second`.

    >>> steps = [{"step": 0, "loss": 2.0}, {"step": 1, "eval/loss": 1.0}]
    >>> add_places(steps, {0: {"seconds": 2.0, "tokens_per_second": 8.0}})[1]
    {'step': 1, 'eval/loss': 1.0, 'seconds': 2.0, 'tokens': 16.0}
    """
    so_far: dict[str, float] = {}
    placed = []
    for row in rows:
        if metrics.is_training(row):
            time = times.get(row["step"], {})
            seconds, rate = time.get("seconds"), time.get("tokens_per_second")
            if seconds is not None:
                so_far["seconds"] = so_far.get("seconds", 0.0) + seconds
            if seconds is not None and rate is not None:
                so_far["tokens"] = so_far.get("tokens", 0.0) + rate * seconds
            if "epoch" in row:
                so_far["epoch"] = row["epoch"]
        placed.append(row | so_far)
    return placed
