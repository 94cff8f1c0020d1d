"""Learning curves: the metrics of one run as a grid, or of several runs together.

Rows are the lines of runs' logs; see `curve_values`.
"""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from jaxalign import lazy
from jaxalign.evaluation.curve_values import (
    HELD_OUT,
    Row,
    common_places,
    curve,
    metric_names,
    smooth,
)
from jaxalign.evaluation.plots import COLORS, MARKERS, style_axes

if TYPE_CHECKING:
    from matplotlib import figure as figures
    from matplotlib import ticker
else:
    figures = lazy.module("matplotlib.figure")
    ticker = lazy.module("matplotlib.ticker")


Runs = Mapping[str, Sequence[Sequence[Row]]]
MOST_PANELS = 12
MOST_POINTS = 4000  # that are drawn of a curve; more are thinned out
BOUNDS = ("_low", "_high", "_std", "_sq")  # endings of what belongs to another metric


class Panel(NamedTuple):
    """A plot of a run's grid.

    Attributes:
      title: with the unit.
      names: of the metrics in it; the panel is drawn where the run has one of them.
    """

    title: str
    names: tuple[str, ...]


# In order of importance: a grid has the first that the run has.
PANELS = (
    Panel("loss", ("loss",)),
    Panel("perplexity", ("perplexity",)),
    Panel("accuracy", ("accuracy",)),
    Panel("reward", ("reward",)),
    Panel("KL from the reference (nats per answer)", ("kl",)),
    Panel("length (tokens)", ("length", "answer_length")),
    Panel("entropy (nats per token)", ("entropy",)),
    Panel("share of answers that ended", ("eos",)),
    Panel("log-ratio (nats)", ("logratio/chosen", "logratio/rejected")),
    Panel("log-ratio (nats)", ("logratio/desirable", "logratio/undesirable")),
    Panel("rewards of the loss", ("rewards/margins",)),
    Panel("score", ("score/chosen", "score/rejected")),
    Panel("margin", ("margin",)),
    Panel("share of clipped ratios", ("clipfrac",)),
    Panel("explained variance of returns", ("explained_variance",)),
    Panel("gradient norm", ("grad_norm",)),
    Panel("learning rate", ("learning_rate",)),
    Panel("value loss", ("value_loss",)),
)


def select_panels(rows: Sequence[Row]) -> list[Panel]:
    """The panels of a run: those of `PANELS` that it has, and rewards by name."""
    names = metric_names(rows)
    panels = [
        Panel(panel.title, tuple(name for name in panel.names if name in names))
        for panel in PANELS
    ]
    parts = [n for n in names if n.startswith("reward/") and not n.endswith(BOUNDS)]
    after = next(i for i, panel in enumerate(PANELS) if "reward" in panel.names) + 1
    panels.insert(after, Panel("rewards by name", tuple(parts)))
    return [panel for panel in panels if panel.names][:MOST_PANELS]


def plot_run(file: Path | BinaryIO, rows: Sequence[Row], *, title: str = "") -> None:
    """Plots the metrics of a run as a grid, and writes a PNG file.

    Training is a smoothed line over faint points, one for each step; held-out values
    are diamonds, with their interval where the rows have `_low` and `_high`; `_std` of
    a metric is a band around it.

    Raises:
      ValueError: the rows have none of the metrics of `PANELS`.
    """
    panels = select_panels(rows)
    if not panels:
        raise ValueError("the log has no metric that is plotted")
    figure, grid = make_grid(len(panels))
    for axes, panel in zip(grid, panels, strict=True):
        for color, name in zip(itertools.cycle(COLORS), panel.names, strict=False):
            draw_training(axes, rows, name, color)
            draw_held_out(axes, rows, name, color)
        axes.set_title(panel.title, fontsize=9, loc="left")
        if len(panel.names) > 1:
            marks = [axes.plot([], [], color=c)[0] for c in COLORS[: len(panel.names)]]
            labels = [name.rpartition("/")[2] for name in panel.names]
            axes.legend(marks, labels, fontsize=7, frameon=False)
    explained = "line: smoothed, points: single steps, diamonds: held-out"
    figure.suptitle(f"{title}    {explained}" if title else explained, fontsize=9)
    figure.savefig(file, dpi=110)


def make_grid(count: int, width: float = 3.1) -> "tuple[figures.Figure, list[Any]]":
    """A figure of so many panels, in up to four columns.

    Margins are fixed: laying them out by content takes seconds.
    """
    columns = min(count, 4 if count > 6 else 3)
    lines = -(-count // columns)
    size = (width * columns + 0.5, 2.3 * lines + 0.7)
    figure = figures.Figure(figsize=size)
    grid = list(figure.subplots(lines, columns, squeeze=False).flat)
    figure.subplots_adjust(
        left=0.75 / size[0],
        right=1 - 0.15 / size[0],
        bottom=0.5 / size[1],
        top=1 - 0.65 / size[1],
        wspace=0.75 / width,
        hspace=0.3,
    )
    for axes in grid[count:]:
        axes.remove()
    for axes in grid[:count]:
        style_axes(axes)
        axes.tick_params(labelsize=7)
        axes.xaxis.set_major_locator(ticker.MaxNLocator(6, integer=True))
        axes.yaxis.get_offset_text().set_fontsize(7)
    for axes in grid[max(0, count - columns) : count]:
        axes.set_xlabel("step", fontsize=8)
    return figure, grid[:count]


def draw_training(
    axes: Any,
    rows: Sequence[Row],
    name: str,
    color: str,
    *,
    x: str = "step",
    weight: float | None = None,
) -> None:
    """Draws a metric of training: points, and the smoothed line with its spread.

    Args:
      weight: of the smoothing; by default it depends on the number of points.
    """
    places, values = curve(rows, name, x)
    if not len(values):
        return
    line = smooth(values, weight)
    thin = slice(None, None, -(-len(values) // MOST_POINTS))
    axes.plot(places[thin], values[thin], ".", color=color, ms=3.5, alpha=0.3, mew=0)
    single = "o" if len(values) == 1 else ""
    axes.plot(places[thin], line[thin], color=color, lw=1.3, marker=single, ms=3)
    spread = curve(rows, f"{name}_std", x)[1]
    if len(spread) == len(line):
        half = smooth(spread, weight)[thin]
        band = {"color": color, "alpha": 0.12, "lw": 0}
        axes.fill_between(places[thin], line[thin] - half, line[thin] + half, **band)


def draw_held_out(
    axes: Any, rows: Sequence[Row], name: str, color: str, *, x: str = "step"
) -> None:
    """Draws a held-out metric: diamonds, with bounds where there are some."""
    name = HELD_OUT + name
    places, values = curve(rows, name, x)
    marks = {"mec": "black", "mew": 0.7, "zorder": 4}
    axes.plot(places, values, "D", color=color, ms=4.5, **marks)
    low, high = (curve(rows, name + bound, x)[1] for bound in ("_low", "_high"))
    if len(low) == len(high) == len(values):
        axes.vlines(places, low, high, color="black", lw=0.8, alpha=0.6, zorder=3)


def plot_runs(
    path: Path,
    runs: Runs,
    metrics: Sequence[str],
    *,
    x: str = "step",
    smoothing: float | None = None,
) -> Path:
    """Plots metrics of several runs together, one panel for each metric.

    Training is a smoothed line and held-out values are markers, joined by a dashed
    line. A name that has several runs, such as seeds, has their mean, and the range
    from the lowest to the highest as a band.

    Args:
      runs: the rows of each run, by the name that the legend has.
      metrics: names, without `eval/`.
      x: the place of each row: step, or another that all rows have.
      smoothing: the weight, from 0 to below 1; by default it depends on the number of
        points.
    """
    figure, grid = make_grid(len(metrics), width=4.0 if len(metrics) < 4 else 3.1)
    for axes, name in zip(grid, metrics, strict=True):
        styles = zip(itertools.cycle(COLORS), itertools.cycle(MARKERS), strict=False)
        for group, style in zip(runs.values(), styles, strict=False):
            draw_group(axes, group, name, style, x=x, smoothing=smoothing)
        axes.set_title(name, fontsize=9, loc="left")
        if axes.get_xlabel():
            axes.set_xlabel(x, fontsize=8)
    styles = zip(itertools.cycle(COLORS), itertools.cycle(MARKERS), strict=False)
    lines = [
        grid[0].plot([], [], color=color, marker=marker, ms=5, mec="white")[0]
        for _, (color, marker) in zip(runs, styles, strict=False)
    ]
    place: dict[str, Any] = {
        "loc": "upper left",
        "bbox_to_anchor": (1.0, 1.0),
        "frameon": False,
    }
    figure.legend(lines, list(runs), fontsize=8, **place)
    figure.savefig(path, dpi=130, bbox_inches="tight")
    return path


def draw_group(
    axes: Any,
    group: Sequence[Sequence[Row]],
    name: str,
    style: tuple[str, str],
    *,
    x: str,
    smoothing: float | None,
) -> None:
    """Draws a metric of one run, or the mean and range of several."""
    color, marker = style
    for label, line in ((name, "-"), (HELD_OUT + name, "--")):
        curves = [curve(rows, label, x) for rows in group]
        curves = [(places, values) for places, values in curves if len(values)]
        if not curves:
            continue
        if line == "-":
            curves = [(places, smooth(y, smoothing)) for places, y in curves]
        places, values = common_places(curves)
        marks = {"marker": marker, "ms": 4.5, "mec": "white", "mew": 0.5}
        shown = marks if line == "--" or len(places) == 1 else {}
        axes.plot(places, values.mean(axis=0), line, color=color, lw=1.3, **shown)
        if len(values) > 1:
            band = {"color": color, "alpha": 0.15, "lw": 0}
            axes.fill_between(places, values.min(axis=0), values.max(axis=0), **band)
