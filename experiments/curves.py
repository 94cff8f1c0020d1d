"""Learning curves of several runs, laid over each other.

    python -m experiments.curves runs/dpo/a runs/dpo/b
    python -m experiments.curves beta-0.1=runs/a beta-1=runs/b --metrics accuracy loss
    python -m experiments.curves --x seconds --smoothing 0.9 --group \\
        "dpo=runs/dpo-0,runs/dpo-1" --group "ipo=runs/ipo-0,runs/ipo-1"

Reads metrics.jsonl of each run, one under way too: every run writes curves.png of its
own metrics at its end, and this shows them before. A metric's panel has training as a
smoothed line, and held-out values (`eval/...`) as markers on a dashed line. The runs of
a --group, such as seeds, are averaged; their band is from the lowest to the highest.

Writes OUT/curves.png, report.md, report.html, and numbers.json (the last held-out value
of each metric, or the mean of the last tenth of the training steps).
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import jax
import tyro

from jaxalign import messages
from jaxalign.evaluation import curve_values, curves
from jaxalign.evaluation.page import Page, Section
from jaxalign.runtime import cli, flags, run_curves
from jaxalign.runtime.report_config import ReportConfig
from jaxalign.runtime.report_run import ReportRun

Rows = list[dict[str, Any]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(ReportConfig):
    """Learning curves of several runs, laid over each other."""

    RANGES: ClassVar = {"smoothing": flags.Range(0, 1, below=True)}
    runs: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Folders of training runs, as FOLDER or NAME=FOLDER."""
    group: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Runs that are averaged, as NAME=FOLDER,FOLDER,...; may be repeated."""
    metrics: tuple[str, ...] = ()
    """Names of metrics.jsonl without eval/; by default those of each run's own
    curves.png."""
    x: Literal["step", "epoch", "tokens", "seconds"] = "step"
    """The horizontal axis."""
    smoothing: float | None = None
    """Weight of the past in the moving average of training metrics: 0 for none; by
    default it averages about a twentieth of the steps."""


def main(config: Config) -> dict[str, Any]:
    """Plots the runs, and returns the last number of each metric by run.

    Raises:
      ValueError: no run, two of one name, a folder without a log, an unknown metric, or
        an axis that a run does not have; names it.
    """
    runs = {
        name: [run_curves.read_rows(folder) for folder in folders]
        for name, folders in named_folders(config).items()
    }
    check_axis(runs, config.x)
    metrics = select_metrics(runs, config.metrics)
    with ReportRun(config, "curves") as run:
        image = curves.plot_runs(
            run.folder / "curves.png",
            runs,
            metrics,
            x=config.x,
            smoothing=config.smoothing,
        )
        last = {name: last_numbers(group, metrics) for name, group in runs.items()}
        rows = [{"run": name} | numbers for name, numbers in last.items()]
        text = (
            "Training: smoothed lines; held-out: markers on dashed lines. A name of "
            "several runs has their mean, with a band from the lowest to the highest."
        )
        table = (
            "The last held-out value (eval/...), and the mean of the last tenth of the "
            "training steps; means over the runs of a name."
        )
        sections = [
            Section("Curves", text, image=image),
            Section("At the end", table, rows),
        ]
        run.publish(Page("Learning curves", sections, cli.command_line()))
        return run.finish({"runs": sum(map(len, runs.values())), "by_model": last})


def named_folders(config: Config) -> dict[str, list[Path]]:
    """The folders of the runs, by the name in the legend.

    Raises:
      ValueError: no run, or two of one name.
    """
    named = []
    for run in config.runs:
        name, equals, folder = run.partition("=")
        equals = "" if Path(run).is_dir() else equals  # such as a sweep's beta=0.1
        named.append((name, [Path(folder)]) if equals else ("", [Path(run)]))
    folders = [paths[0] for name, paths in named if not name]
    short = iter(short_names(folders))
    named = [(name or next(short), paths) for name, paths in named]
    for group in config.group:
        name, equals, paths = group.partition("=")
        members = split_folders(paths)
        if not equals or not name or not members:
            raise ValueError(
                f"--group {group!r}: expected NAME=FOLDER,FOLDER,..., such as "
                "dpo=runs/a,runs/b"
            )
        named.append((name, members))
    if not named:
        raise ValueError("no run is named; expected folders, such as runs/dpo/a")
    for name, _ in named:
        if [other for other, _ in named].count(name) > 1:
            raise ValueError(
                f"two runs are called {name}; give them names, as in one=FOLDER"
            )
    return dict(named)


def split_folders(text: str) -> list[Path]:
    """The folders in FOLDER,FOLDER,...; one that exists may have commas in its name."""
    folders: list[Path] = []
    parts = [part for part in text.split(",") if part]
    while parts:
        lengths = range(len(parts), 1, -1)
        joined = (n for n in lengths if Path(",".join(parts[:n])).is_dir())
        count = next(joined, 1)
        folders.append(Path(",".join(parts[:count])))
        parts = parts[count:]
    return folders


def short_names(folders: Sequence[Path]) -> list[str]:
    """The last parts of paths, as many as tell them apart.

    >>> short_names([Path("runs/a/dpo"), Path("runs/b/dpo")])
    ['a/dpo', 'b/dpo']
    """
    longest = max((len(folder.parts) for folder in folders), default=0)
    for count in range(1, longest + 1):
        names = ["/".join(folder.parts[-count:]) for folder in folders]
        if len(set(names)) == len(names):
            return names
    return [str(folder) for folder in folders]


def check_axis(runs: Mapping[str, Sequence[Rows]], x: str) -> None:
    """Refuses an axis that a run does not have.

    Raises:
      ValueError: names the run and --x.
    """
    for name, group in runs.items():
        if not all(any(x in row for row in rows) for rows in group):
            raise ValueError(
                f"--x {x}: the log of {name} has no {x}; --x step is in every log"
            )


def select_metrics(
    runs: Mapping[str, Sequence[Rows]], metrics: Sequence[str]
) -> list[str]:
    """The metrics to plot: those given, or the ones of the runs' own grids.

    Raises:
      ValueError: a metric that no run has.
    """
    rows = [row for group in runs.values() for one in group for row in one]
    known = curve_values.metric_names(rows)
    names = [name.removeprefix(curve_values.HELD_OUT) for name in metrics]
    for name in names:
        if name not in known:
            raise messages.unknown_name("metric", name, known)
    if not names:
        names = [name for panel in curves.select_panels(rows) for name in panel.names]
    if not names:
        raise messages.unknown_name("metric", "loss", known)
    return list(dict.fromkeys(names))[: curves.MOST_PANELS]


def last_numbers(group: Sequence[Rows], metrics: Sequence[str]) -> dict[str, float]:
    """The last numbers of the metrics, means over the runs of a group."""
    numbers = {}
    for name in metrics:
        for label in (curve_values.HELD_OUT + name, name):
            found = [curve_values.curve(rows, label)[1] for rows in group]
            found = [values for values in found if len(values)]
            if not found:
                continue
            held_out = label.startswith(curve_values.HELD_OUT)
            last = [y[-1] if held_out else y[-max(1, len(y) // 10) :] for y in found]
            numbers[label] = float(sum(float(y.mean()) for y in last) / len(last))
    return numbers


def command(config: Config) -> None:
    """Plots without the accelerator, which a run may be using."""
    jax.config.update("jax_platforms", "cpu")
    main(config)


if __name__ == "__main__":
    cli.run_command(command, Config)
