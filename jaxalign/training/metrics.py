"""The log of a run: one JSON line per step in metrics.jsonl, and its times beside it.

Times are in a file of their own, timing.jsonl, so that metrics.jsonl of a run that is
repeated, or killed and resumed, has the same bytes.
"""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxalign.atomic_files import atomic_path

METRICS, TIMING = "metrics.jsonl", "timing.jsonl"


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, float | int | bool]:
    """Flattens nested metrics into Python numbers, their names joined by `/`.

    >>> flatten({"loss": np.float32(0.5), "eval": {"accuracy": 1}})
    {'loss': 0.5, 'eval/accuracy': 1}
    """
    flat: dict[str, float | int | bool] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}/")
        else:
            flat[prefix + name] = np.asarray(value).item()
    return flat


def check_finite(metrics: Mapping[str, Any], step: int, rows: Any = None) -> None:
    """Stops a run whose loss or gradient is not finite.

    The step has not applied the update, so that the run can save the state and end.

    Args:
      step: number of the step in the log.
      rows: row numbers of its batch in the data set, if known.

    Raises:
      FloatingPointError: naming the step and what is not finite.
    """
    flat = flatten(metrics)
    if flat.get("finite", True) and math.isfinite(flat.get("loss", 0.0)):
        return
    bad = [f"{n} = {flat[n]}" for n in ("loss", "grad_norm") if n in flat]
    where = "" if rows is None else f" on rows {np.asarray(rows).tolist()}"
    raise FloatingPointError(
        f"step {step}{where}: {', '.join(bad)} is not finite; the update was not "
        f"applied and the parameters are those of step {step - 1}"
    )


class Writer:
    """Appends lines of steps to a file of a run's folder, `metrics.jsonl` or another.

    A NaN or an infinity becomes null. Use as a context manager, or call `close`.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        resume_step: int | None = None,
        *,
        name: str = METRICS,
    ) -> None:
        """Opens the file.

        Args:
          resume_step: last step whose line is kept; later and damaged lines are
            dropped, so that a resumed run has the log of an uninterrupted one. None
            starts an empty log.
          name: of the file.

        Raises:
          OSError: the folder cannot be written.
        """
        path = Path(folder) / name
        try:
            lines = [] if resume_step is None else lines_until(path, resume_step)
            with atomic_path(path) as part:
                part.write_bytes(b"".join(lines))
            self._lines = path.open("a", buffering=1)
        except OSError as error:
            reason = error.strerror or str(error)
            what = Path(name).stem
            raise OSError(f"cannot write {what} in {folder}: {reason}") from error

    def log(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Writes the metrics of a step, flattened."""
        flat = flatten(metrics)
        finite = finite_metrics(flat)
        self.write({"step": int(step)} | {n: finite.get(n) for n in flat})

    def write(self, row: Mapping[str, Any]) -> None:
        """Writes a row of JSON values, among them `step`, as a line."""
        self._lines.write(json.dumps(row) + "\n")

    def close(self) -> None:
        """Flushes and closes the file."""
        self._lines.close()

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def finite_metrics(flat: Mapping[str, float]) -> dict[str, float]:
    """The metrics that are finite numbers.

    >>> finite_metrics({"loss": 0.5, "kl": float("nan")})
    {'loss': 0.5}
    """
    return {name: x for name, x in flat.items() if math.isfinite(x)}


def lines_until(path: Path, step: int) -> list[bytes]:
    """The undamaged lines of a log up to a step."""
    if not path.is_file():
        return []
    lines = []
    for line in path.read_bytes().splitlines(keepends=True):
        try:
            if line.endswith(b"\n") and json.loads(line)["step"] <= step:
                lines.append(line)
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
    return lines


def read_log(folder: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The lines of a run's log, parsed, in order."""
    text = (Path(folder) / METRICS).read_text()
    return [json.loads(line) for line in text.splitlines()]


def read_steps(folder: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The lines of a run's training steps, without those of held-out evaluations."""
    return [line for line in read_log(folder) if is_training(line)]


def is_training(line: Mapping[str, Any]) -> bool:
    """Whether a parsed line is of a training step, not of a held-out evaluation.

    >>> is_training({"step": 0, "loss": 0.5}), is_training({"step": 0, "eval/loss": 1})
    (True, False)
    """
    return not any(name.startswith("eval/") for name in line)
