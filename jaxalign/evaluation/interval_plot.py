"""Dot plots of numbers with their intervals, one line each."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import numpy as np

from jaxalign import lazy
from jaxalign.evaluation import plots
from jaxalign.evaluation.intervals import Interval

if TYPE_CHECKING:
    from matplotlib import figure as figures
else:
    figures = lazy.module("matplotlib.figure")

LONGEST_NAME = 44  # characters of a line's name
SPREAD = 0.5  # of a line's height, over which its series are spread


def plot_intervals(
    path: Path,
    lines: Mapping[str, Mapping[str, Interval]],
    *,
    label: str,
    title: str = "",
    limits: tuple[float, float] | None = None,
) -> Path:
    """Plots numbers with their intervals, from top to bottom; NaN is not drawn.

    Args:
      lines: by the name of a line, the number of each series.
      label: of the axis of numbers.
      limits: of that axis.
    """
    series = list(dict.fromkeys(name for line in lines.values() for name in line))
    height = max(2.2, 0.9 + (0.12 + 0.08 * len(series)) * len(lines))
    figure = figures.Figure(figsize=(8.2, min(height, 40.0)), layout="constrained")
    axes = figure.subplots()
    offsets = np.linspace(-SPREAD / 2, SPREAD / 2, len(series) + 2)[1:-1]
    for i, name in enumerate(series):
        chosen = [
            (y, line[name]) for y, line in enumerate(lines.values()) if name in line
        ]
        shown = [(y + offsets[i], x) for y, x in chosen if not np.isnan(x.mean)]
        if not shown:
            continue
        y, values = zip(*shown, strict=True)
        mean, low, high = np.array(values).T
        errors = np.nan_to_num(np.maximum([mean - low, high - mean], 0.0))
        axes.errorbar(
            *(mean, y),
            xerr=errors,
            fmt=plots.MARKERS[i % len(plots.MARKERS)],
            color=plots.COLORS[i % len(plots.COLORS)],
            markersize=4.5,
            lw=1.2,
            capsize=2,
            label=name.replace("_", " "),
        )
    axes.set_yticks(
        range(len(lines)), [shorten_name(name.replace("_", " ")) for name in lines]
    )
    axes.set_ylim(len(lines) - 0.5, -0.5)
    axes.set_xlabel(label)
    if limits is not None:
        axes.set_xlim(*limits)
    axes.set_title(title, fontsize=10)
    if len(axes.containers) > 1:
        figure.legend(loc="outside upper right", ncols=len(series), fontsize=8)
    plots.style_axes(axes)
    if jax.process_index() == 0:  # the first of several processes writes
        figure.savefig(path, dpi=140)
    return path


def shorten_name(name: str) -> str:
    """A name that fits beside the plot."""
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"
