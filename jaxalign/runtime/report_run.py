"""A program that measures, and its folder: settings, numbers, tables and the report."""

import math
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from rich import progress

from jaxalign.evaluation import page as pages
from jaxalign.evaluation import report
from jaxalign.evaluation.intervals import Interval
from jaxalign.runtime import (
    config_file,
    distributed,
    flags,
    folder_cleanup,
    folder_lock,
    run_settings,
)
from jaxalign.runtime.report_config import ReportConfig
from jaxalign.runtime.run_folder import folder_of

Item = TypeVar("Item")


class ReportRun:
    """The folder of a program that measures, as a context manager.

    Of many processes the first writes and prints. A folder that holds an earlier
    report is refused without --resume, and with it if that had other flags::

        with ReportRun(config, "arena") as run:
            ratings = ...
            run.write_json("ratings.json", ratings)
            run.publish(page)
            return run.finish({"models": len(ratings)})
    """

    def __init__(self, config: ReportConfig, experiment: str) -> None:
        self.config = config
        self.experiment = experiment
        self.folder = folder_of(config, experiment)
        self.notes: list[str] = []

    def __enter__(self) -> "ReportRun":
        settings = run_settings.to_json(self.config)
        file = self.folder / "config.json"
        used = file.exists()
        if used and not self.config.resume:
            raise ValueError(
                f"{self.folder} already holds a report: add --resume to continue it, "
                "or choose another --out"
            )
        distributed.barrier("before the folder is created")
        folder_cleanup.create_locked(self.folder)
        try:
            if used:
                free = flags.resumable_fields(type(self.config))
                run_settings.check_settings(self.folder, settings, free=free)
            if distributed.is_first():
                run_settings.write_json(file, settings)
                config_file.write_config(self.folder, self.config)
        except BaseException:
            folder_lock.release(self.folder)
            raise
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if error is not None:
            folder_cleanup.delete_unused(self.folder)
        folder_lock.release(self.folder)

    def say(self, text: str) -> None:
        """Prints a line."""
        distributed.print_line(text)

    def note(self, text: Any) -> None:
        """Prints what was left out or assumed, and keeps it in notes.json."""
        distributed.print_line(f"{self.experiment}: {text}")
        self.notes.append(str(text))
        self.write_json("notes.json", self.notes)

    def write_json(self, name: str, value: Any) -> Path:
        """Writes a JSON file of the folder; see `json_value`."""
        path = self.folder / name
        if distributed.is_first():
            run_settings.write_json(path, json_value(value))
        return path

    def progress(
        self, items: Iterable[Item], text: str, total: int | None = None
    ) -> Iterator[Item]:
        """Iterates with a progress bar, which is shown on a terminal alone.

        Args:
          text: what is being done, beside the bar.
          total: number of items, where they have no length.
        """
        hidden = not distributed.is_first() or not sys.stderr.isatty()
        yield from progress.track(
            items, text, total=total, disable=hidden, transient=True
        )

    def publish(
        self, page: pages.Page, name: str = "report", *, tables: int | None = None
    ) -> None:
        """Prints the tables of a page, and writes it as Markdown and HTML.

        Args:
          name: of the files, NAME.md and NAME.html.
          tables: prints the first of them only; None for all.
        """
        if not distributed.is_first():
            return
        for section in list(page.sections)[:tables]:
            if section.rows:
                report.print_table(section.rows, section.title)
        pages.write(page, self.folder, name)

    def finish(self, numbers: dict[str, Any]) -> dict[str, Any]:
        """Writes the main numbers to numbers.json, prints and returns them.

        Args:
          numbers: by name; `by_model` has those of each model, by its name.
        """
        self.write_json("numbers.json", numbers)
        distributed.print_line(f"{self.experiment}{one_line(numbers)}")
        for name, values in numbers.get("by_model", {}).items():
            distributed.print_line(f"  {name}{one_line(values)}")
        distributed.print_line(
            f"{self.experiment}: report in {self.folder}/report.html"
        )
        distributed.barrier("when the report is written")
        return numbers


def one_line(numbers: Mapping[str, Any]) -> str:
    """Numbers as a line, each with its name; those of groups are in the report.

    >>> one_line({"models": 2, "gain": Interval(0.5, 0.4, 0.6), "more": {}})
    '  models 2  gain 0.500 ± 0.100'
    """
    return "".join(
        f"  {name} {report.format_cell(value)}"
        for name, value in numbers.items()
        if isinstance(value, int | float | str | Interval) and "=" not in name
    )


def json_value(value: Any) -> Any:
    """A value as JSON: NaN is null, an interval its mean and bounds, arrays lists.

    >>> json_value({"accuracy": Interval(0.5, 0.4, 0.6), "gain": math.nan})
    {'accuracy': {'mean': 0.5, 'low': 0.4, 'high': 0.6}, 'gain': None}
    """
    if isinstance(value, Interval):
        return {k: json_value(x) for k, x in value._asdict().items()}
    if isinstance(value, dict):
        return {str(k): json_value(x) for k, x in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(x) for x in value]
    if hasattr(value, "tolist"):  # arrays and scalars of numpy and JAX
        return json_value(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value
