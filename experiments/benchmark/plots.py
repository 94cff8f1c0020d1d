"""The benchmark's plot of training pairs: their log-ratios over training."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxalign import lazy
from jaxalign.evaluation.plots import COLORS, signed_sqrt, signed_square, style_axes

if TYPE_CHECKING:
    from matplotlib import figure as figures
else:
    figures = lazy.module("matplotlib.figure")


Row = dict[str, Any]
NATS = (10, 3, 1, 0, -1, -3, -10, -30, -100, -300, -1000)
RATIOS = ("chosen_ratio", "rejected_ratio")


def group_rows(rows: Sequence[Row], *names: str) -> dict[Any, list[Row]]:
    """Rows grouped by the values of some columns, in order of appearance."""
    groups: dict[Any, list[Row]] = {}
    for row in rows:
        value = tuple(row[name] for name in names)
        groups.setdefault(value[0] if len(names) == 1 else value, []).append(row)
    return groups


def mean_of(rows: Sequence[Row], name: str) -> float:
    """The mean of a column."""
    return float(np.mean([row[name] for row in rows]))


def plot_displacement(path: Path, rows: Sequence[Row], title: str) -> Path:
    """Log-ratios of chosen and rejected answers over training, one panel per loss.

    The mean over seeds, and each seed in pale; below 0 an answer became less likely.
    """
    groups = group_rows(rows, "loss")
    across = min(4, len(groups))
    down = math.ceil(len(groups) / across)
    size = (max(8.4, 1.2 + 2.3 * across), 1.6 + 2.0 * down)  # room for the title
    figure = figures.Figure(figsize=size, layout="constrained")
    panels = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    for axes, (name, group) in zip(panels.flat, groups.items(), strict=False):
        axes.axhline(0, color="0.3", lw=0.8)
        for side, color, style in (
            ("chosen", COLORS[0], "-"),
            ("rejected", COLORS[1], "--"),
        ):
            field = f"{side}_ratio"
            for run in group_rows(group, "seed").values():
                steps, values = [r["step"] for r in run], [r[field] for r in run]
                axes.plot(steps, values, style, color=color, lw=0.7, alpha=0.3)
            by_step = group_rows(group, "step")
            values = [mean_of(rows_, field) for rows_ in by_step.values()]
            label = side if axes is panels[0, 0] else None
            axes.plot(list(by_step), values, style, color=color, lw=2, label=label)
        axes.set_title(name, fontsize=10)
        style_axes(axes)
    for axes in panels.flat[len(groups) :]:
        axes.set_visible(False)
    set_scales(panels[0, 0], rows)
    figure.suptitle(title, fontsize=10, x=0.01, ha="left")
    figure.supxlabel("training step (on a square-root scale)", fontsize=10)
    figure.supylabel("log-prob minus the reference's (nats)", fontsize=10)
    figure.legend(loc="outside upper right", frameon=False, ncols=2)
    figure.savefig(path, dpi=140)
    return path


def set_scales(axes: Any, rows: Sequence[Row]) -> None:
    """Sets scales that show small and large values, early and late steps."""
    ratios = [row[field] for row in rows for field in RATIOS]
    low, high = 1.3 * min(-1.0, *ratios), 1.3 * max(0.3, *ratios)
    # linear near 0, logarithmic beyond: losses differ a hundredfold
    axes.set_yscale("symlog", linthresh=1.0, linscale=0.8)
    axes.set_ylim(low, high)
    ticks = [y for y in NATS if low <= y <= high]
    axes.set_yticks(ticks, [f"{y:g}" for y in ticks])
    axes.set_yticks([], minor=True)
    steps = max(row["step"] for row in rows)
    axes.set_xscale("function", functions=(signed_sqrt, signed_square))
    axes.set_xticks(sorted({0, steps // 10, 4 * steps // 10, steps}))
