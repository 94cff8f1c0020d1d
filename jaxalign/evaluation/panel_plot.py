"""Panels of lines with their intervals, side by side."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import jax
import numpy as np

from jaxalign import lazy
from jaxalign.evaluation import plots
from jaxalign.evaluation.intervals import Interval

if TYPE_CHECKING:
    from matplotlib import figure as figures
else:
    figures = lazy.module("matplotlib.figure")


class Panel(NamedTuple):
    """One plot of several.

    Attributes:
      title: above it.
      x_label, y_label: of the axes.
      lines: by name, points of x and the interval of y, in order.
      log2: whether x has a logarithmic scale.
    """

    title: str
    x_label: str
    y_label: str
    lines: Mapping[str, Sequence[tuple[float, Interval]]]
    log2: bool = False


def plot_panels(path: Path, panels: Sequence[Panel]) -> Path:
    """Plots panels side by side, with one legend; a name has one color in all."""
    names = list(dict.fromkeys(name for panel in panels for name in panel.lines))
    size = (3.9 * len(panels), 3.6)
    figure = figures.Figure(figsize=size, layout="constrained")
    handles = {}
    for axes, panel in zip(
        np.atleast_1d(figure.subplots(1, len(panels))), panels, strict=True
    ):
        for name, points in panel.lines.items():
            i = names.index(name)
            x = [x for x, _ in points]
            mean, low, high = np.array([tuple(y) for _, y in points]).T
            errors = np.nan_to_num(np.maximum([mean - low, high - mean], 0.0))
            handles[name] = axes.errorbar(
                *(x, mean),
                yerr=errors,
                fmt=f"-{plots.MARKERS[i % len(plots.MARKERS)]}",
                color=plots.COLORS[i % len(plots.COLORS)],
                markersize=4,
                lw=1.3,
                capsize=2,
            )
        if panel.log2:
            axes.set_xscale("log", base=2)
        axes.set_xlabel(panel.x_label)
        axes.set_ylabel(panel.y_label)
        axes.set_title(panel.title, fontsize=10)
        plots.style_axes(axes)
    figure.legend(
        list(handles.values()), list(handles), loc="outside upper center", ncols=4
    )
    if jax.process_index() == 0:  # the first of several processes writes
        figure.savefig(path, dpi=140)
    return path
