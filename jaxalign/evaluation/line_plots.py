"""Plots of numbers along a setting, in panels, with their intervals."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
import numpy as np

from jaxalign.evaluation.curves import make_grid
from jaxalign.evaluation.intervals import Interval
from jaxalign.evaluation.plots import COLORS, MARKERS, style_axes

# by panel and series, the points (x, number) along the setting
Panels = Mapping[str, Mapping[str, Sequence[tuple[float, Interval | float]]]]


def plot_lines(
    path: Path, panels: Panels, *, label: str, scale: str = "linear"
) -> Path:
    """Plots each panel's series as lines with markers; intervals as bands.

    Args:
      panels: numbers that are NaN are not drawn.
      label: of the horizontal axis.
      scale: of that axis: linear, log, or symlog (linear to 1, so that it has 0).
    """
    figure, grid = make_grid(len(panels), width=4.2)
    figure.subplots_adjust(hspace=0.5)  # room for the axes' labels
    for axes, (title, series) in zip(grid, panels.items(), strict=True):
        styles = zip(itertools.cycle(COLORS), itertools.cycle(MARKERS), strict=False)
        for (name, points), (color, marker) in zip(
            series.items(), styles, strict=False
        ):
            x = np.array([x for x, _ in points])
            triples = [y if isinstance(y, Interval) else (y, y, y) for _, y in points]
            mean, low, high = np.array(triples, float).T
            axes.plot(x, mean, color=color, marker=marker, ms=4.5, lw=1.3, label=name)
            axes.fill_between(x, low, high, color=color, alpha=0.15, lw=0)
        axes.set_title(title, fontsize=9, loc="left")
        axes.set_xscale(scale, **({"linthresh": 1.0} if scale == "symlog" else {}))
        places = sorted({x for points in series.values() for x, _ in points})
        axes.set_xticks(places, [f"{x:g}" for x in places])
        axes.set_xticks([], minor=True)
        axes.set_xlabel(label, fontsize=9)
        style_axes(axes)
    if any(len(series) > 1 for series in panels.values()):
        figure.legend(
            *grid[0].get_legend_handles_labels(),
            fontsize=8,
            loc="upper left",
            bbox_to_anchor=(1.0, 1.0),
            frameon=False,
        )
    if jax.process_index() == 0:  # the first of several processes writes
        figure.savefig(path, dpi=130, bbox_inches="tight")
    return path
