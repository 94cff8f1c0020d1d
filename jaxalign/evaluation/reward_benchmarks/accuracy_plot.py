"""A plot of accuracies by group with intervals, beside a baseline."""

from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np
from matplotlib.figure import Figure  # not pyplot, whose state a notebook uses

from jaxalign.evaluation.intervals import Interval
from jaxalign.evaluation.plots import COLORS, style_axes

LONGEST_NAME = 34  # characters beside the axis


def plot_accuracy(
    path: Path,
    accuracy: Mapping[str, Interval],
    *,
    baseline: Mapping[str, Interval] | None = None,
    chance: Mapping[str, float] | None = None,
    baseline_name: str = "longer wins",
    chance_name: str = "chance",
    title: str = "",
    label: str = "accuracy",
    span: tuple[float, float] = (0.0, 1.0),
) -> Path:
    """Plots a number with its interval for each group, one below the other.

    Args:
      accuracy: by group, from top to bottom.
      baseline: of the same groups, drawn as open diamonds without intervals.
      chance: the number of a random answer, drawn as a gray tick.
      baseline_name, chance_name: in the legend.
      label: of the axis.
      span: bounds of the axis.
    """
    names = list(accuracy)
    figure = Figure(figsize=(7.6, 1.4 + 0.3 * len(names)), layout="constrained")
    axes = figure.subplots()
    rows = np.arange(len(names))
    low, high = np.array([[accuracy[n].low, accuracy[n].high] for n in names]).T
    axes.hlines(rows, low, high, color=COLORS[0], lw=2.0, alpha=0.45)
    means = [accuracy[name].mean for name in names]
    axes.plot(means, rows, "o", color=COLORS[0], ms=6, label=label)
    if baseline:
        shown = [baseline[n].mean if n in baseline else np.nan for n in names]
        axes.plot(shown, rows, "D", mfc="none", color=COLORS[1], label=baseline_name)
    if chance:
        ticks = [chance.get(name, np.nan) for name in names]
        axes.plot(ticks, rows, "|", color="0.45", ms=14, mew=1.4, label=chance_name)
    axes.set_yticks(rows, [short_name(name) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(span[0] - 0.02, span[1] + 0.02)
    style_axes(axes)
    axes.set_xlabel(f"{label}, with 95 % interval")
    axes.set_title(title, fontsize=10, loc="left")
    figure.legend(loc="outside right upper", frameon=False)
    if jax.process_index() == 0:  # the first of several processes writes
        figure.savefig(path, dpi=140)
    return path


def short_name(name: str) -> str:
    """A name that fits beside the axis.

    >>> short_name("short"), len(short_name("x" * 80))
    ('short', 34)
    """
    if len(name) <= LONGEST_NAME:
        return name
    return name[: LONGEST_NAME - 1] + "…"
