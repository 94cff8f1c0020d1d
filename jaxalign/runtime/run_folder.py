"""The files that a run writes beside its metrics and checkpoints."""

import datetime
from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import Any

from jaxalign.runtime import (
    config_file,
    distributed,
    folder_cleanup,
    folder_lock,
    run_settings,
)
from jaxalign.runtime.config import RunConfig
from jaxalign.runtime.data_report import summary
from jaxalign.runtime.report_config import ReportConfig


class RunFolder:
    """A run's folder: config.yaml, data.json, warnings.json and numbers.json.

    config.json has the same flags as config.yaml, for programs.

    Of many processes the first writes.
    """

    def __init__(self, path: Path, experiment: str, config: RunConfig) -> None:
        self.path = path
        self.experiment = experiment
        self.config = config
        self.settings = settings = run_settings.to_json(config)
        self.data: dict[str, Any] = {
            "data": settings["data"],
            "splits": [],
            "notes": [],
        }

    def refuse_used(self) -> None:
        """Refuses a folder that holds checkpoints.

        Raises:
          ValueError: names the folder and --resume.
        """
        checkpoints = self.path / "checkpoints"
        if checkpoints.exists() and any(checkpoints.iterdir()):
            raise ValueError(
                f"{self.path} already holds a run: add --resume to continue it, "
                "or choose another --out"
            )

    def make(self) -> None:
        """Makes and locks the folder; `remove_unused` deletes it again.

        Raises:
          ValueError: another run is writing to it.
        """
        folder_cleanup.create_locked(self.path)

    def unlock(self) -> None:
        """Lets other runs write to the folder."""
        folder_lock.release(self.path)

    def remove_unused(self) -> None:
        """Deletes the settings of a run that has computed nothing."""
        folder_cleanup.delete_unused(self.path)

    def write_settings(self) -> None:
        """Writes config.yaml and config.json; deletes an earlier run's numbers.json."""
        if distributed.is_first():
            (self.path / "numbers.json").unlink(missing_ok=True)
            run_settings.write_json(self.path / "config.json", self.settings)
            config_file.write_config(self.path, self.config)

    def note(self, report: Any) -> None:
        """Prints a report of cut or skipped rows, and adds it to data.json."""
        distributed.print_line(f"{self.experiment}: {report}")
        self.data["notes"].append(str(report))
        self.write_data()

    def describe_data(self, accounts: Sequence[tuple[str, dict[str, Any]]]) -> None:
        """Prints how each kind of record was split, and adds it to data.json."""
        for kind, account in accounts:
            distributed.print_line(f"{self.experiment}: {summary(kind, account)}")
        self.data["splits"] = [{"kind": kind} | account for kind, account in accounts]
        self.write_data()

    def write_data(self) -> None:
        """Writes data.json."""
        if distributed.is_first():
            run_settings.write_json(self.path / "data.json", self.data)

    def write_warnings(self, warnings: Sequence[Any]) -> None:
        """Writes warnings.json, or deletes it where there is none."""
        path = self.path / "warnings.json"
        if distributed.is_first() and warnings:
            run_settings.write_json(path, [each._asdict() for each in warnings])
        elif distributed.is_first():
            path.unlink(missing_ok=True)

    def write_numbers(self, numbers: dict[str, Any]) -> None:
        """Writes and prints the run's numbers; numbers.json has null for NaN."""
        nulls = {
            name: None
            for name, value in numbers.items()
            if isinstance(value, float) and not isfinite(value)
        }
        if distributed.is_first():
            run_settings.write_json(self.path / "numbers.json", numbers | nulls)
        shown = "  ".join(
            f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
            for name, value in numbers.items()
            if isinstance(value, int | float | str) and "=" not in name  # of a group
        )
        distributed.print_line(f"{self.experiment}  {shown}  -> {self.path}")


def folder_of(config: RunConfig | ReportConfig, experiment: str) -> Path:
    """The run's folder: --out, or a name from the time of the start.

    Raises:
      ValueError: --resume without --out.
    """
    if config.out is not None:
        return config.out
    if config.resume:
        raise ValueError("--resume needs --out, the folder of the run to resume")
    stamp = distributed.broadcast_text(
        datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    )
    return Path("runs") / experiment / stamp
