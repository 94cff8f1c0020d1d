"""Plots of numbers along a setting, in panels, with their intervals."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import jax
import numpy as np

from jaxalign import lazy
from jaxalign.evaluation import plots
from jaxalign.evaluation.intervals import Interval

if TYPE_CHECKING:
    from matplotlib import figure as figures
else:
    figures = lazy.module("matplotlib.figure")

Points = Sequence[tuple[float, Interval | float]]  # x and y, in the order of the line
MOST_COLUMNS, MOST_TICKS = 3, 8
NOT_NAMED = "_"  # a name that begins so is drawn, but not in the legend


class Panel(NamedTuple):
    """One plot of several.

    Attributes:
      title: above it.
      x_label, y_label: of the axes.
      lines: points by name; those whose number is NaN are not drawn.
      scale: of the horizontal axis; symlog is linear up to 1, so that it has 0.
      dashed: points of laws and references, drawn dashed without markers.
      limits: of the vertical axis.
    """

    title: str
    x_label: str
    y_label: str
    lines: Mapping[str, Points]
    scale: Literal["linear", "log", "log2", "symlog"] = "linear"
    dashed: Mapping[str, Points] = {}
    limits: tuple[float, float] | None = None


def plot_lines(path: Path, panels: Sequence[Panel]) -> Path:
    """Plots panels side by side, in rows of three; intervals are bars.

    A name has one color and marker in all panels, and all have one legend.
    """
    names = list(dict.fromkeys(name for panel in panels for name in panel.lines))
    columns = min(len(panels), MOST_COLUMNS) if len(panels) != 4 else 2
    rows = -(-len(panels) // columns)
    width = max(3.9 * columns, 5.4)
    entries = [*names, *dict.fromkeys(name for p in panels for name in p.dashed)]
    entries = [name for name in entries if not name.startswith(NOT_NAMED)]
    fit = int(width / (0.55 + 0.068 * max(map(len, entries), default=0)))
    lines = -(-len(entries) // max(fit, 1))  # of the legend
    size = (width, 3.3 * rows + 0.2 * lines)
    figure = figures.Figure(figsize=size, layout="constrained")
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    handles: dict[str, Any] = {}
    for axes, panel in zip(grid, panels, strict=False):
        handles |= draw_panel(axes, panel, names)
    for axes in grid[len(panels) :]:
        axes.remove()
    shown = [name for name in entries if name in handles]
    if len(shown) > 1:
        marks = [handles[name] for name in shown]
        where: dict[str, Any] = {"loc": "outside upper center", "ncols": max(fit, 1)}
        figure.legend(marks, shown, fontsize=9, frameon=False, **where)
    if jax.process_index() == 0:  # the first of several processes writes
        figure.savefig(path, dpi=140)
    return path


def draw_panel(axes: Any, panel: Panel, names: Sequence[str]) -> dict[str, Any]:
    """Draws a panel; returns what the legend shows of each line.

    Args:
      names: of the lines of all panels, which have their colors in this order.
    """
    handles = {}
    for name, points in panel.lines.items():
        i = names.index(name)
        drawn = [point for point in points if not np.isnan(mean_of(point[1]))]
        if not drawn:
            continue
        handles[name] = draw_line(
            axes,
            drawn,
            fmt=f"-{plots.MARKERS[i % len(plots.MARKERS)]}",
            color=plots.COLORS[i % len(plots.COLORS)],
        )
    for name, points in panel.dashed.items():
        x, y = [x for x, _ in points], [mean_of(y) for _, y in points]
        (handles[name],) = axes.plot(x, y, "--", color="0.45", lw=1.2, zorder=1)
    set_scale(axes, panel)
    axes.set_xlabel(panel.x_label)
    axes.set_ylabel(panel.y_label)
    axes.set_title(panel.title, fontsize=10)
    if panel.limits is not None:
        axes.set_ylim(*panel.limits)
    plots.style_axes(axes)
    return handles


def draw_line(axes: Any, points: Points, *, fmt: str, color: str) -> Any:
    """Draws points joined by a line, with a bar where a number has an interval."""
    triples = [y if isinstance(y, Interval) else (y, y, y) for _, y in points]
    mean, low, high = np.array(triples, float).T
    # a bound may be unknown (NaN), or a rounding on the wrong side of the mean
    errors = np.nan_to_num(np.maximum([mean - low, high - mean], 0.0), posinf=0.0)
    return axes.errorbar(
        *([x for x, _ in points], mean),
        yerr=errors if errors.any() else None,
        fmt=fmt,
        color=color,
        markersize=4.5,
        lw=1.3,
        capsize=2,
    )


def set_scale(axes: Any, panel: Panel) -> None:
    """Sets the horizontal scale, with a tick at each place of a log one."""
    if panel.scale == "linear":
        return
    knobs = {"log": {}, "log2": {"base": 2.0}, "symlog": {"linthresh": 1.0}}
    axes.set_xscale(panel.scale.removesuffix("2"), **knobs[panel.scale])
    places = sorted({x for points in panel.lines.values() for x, _ in points})
    if 0 < len(places) <= MOST_TICKS:
        axes.set_xticks(places, [f"{x:g}" for x in places])
        axes.set_xticks([], minor=True)


def mean_of(value: Interval | float) -> float:
    """The number of a point."""
    return value.mean if isinstance(value, Interval) else value
