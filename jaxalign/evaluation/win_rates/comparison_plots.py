"""Plots of compared models: the matrix of win rates, and histograms of scores."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
import numpy as np
from matplotlib.figure import Figure  # not pyplot, whose state a notebook uses

from jaxalign.evaluation.plots import COLORS, style_axes

NAME_LENGTH = 24  # characters of a model's name on an axis
BINS = 30  # of a histogram
SEPARATE = 4  # histograms in one panel; more would hide each other


def plot_win_rate_matrix(
    path: Path, models: Sequence[str], matrix: np.ndarray, *, title: str = ""
) -> Path:
    """Plots win rates in percent: how often the model of a row beats a column's.

    Args:
      models: names [M].
      matrix: win rates in [0, 1]; NaN where two were not compared, float [M M].
    """
    size = 1.9 + 0.85 * len(models)
    figure = Figure(figsize=(size + 1.2, size), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(100 * matrix, cmap="PuOr", vmin=0, vmax=100)
    for row, column in itertools.product(range(len(models)), repeat=2):
        percent = 100 * matrix[row, column]
        if np.isnan(percent):
            text = "" if row == column else "-"
        else:
            text = f"{percent:.0f}"
        # white on the dark ends of the scale
        color = "white" if abs(percent - 50) > 33 else "black"
        axes.text(column, row, text, ha="center", va="center", color=color)
    names = [shorten(name) for name in models]
    axes.set_xticks(range(len(models)), names, rotation=30, ha="right", fontsize=9)
    axes.set_yticks(range(len(models)), names, fontsize=9)
    axes.set_xlabel("against")
    axes.set_ylabel("win rate of")
    axes.set_title(title, fontsize=10, loc="left")
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=axes, shrink=0.8)
    bar.set_label("win rate (%), ties half", fontsize=9)
    bar.ax.tick_params(labelsize=8)
    save(figure, path)
    return path


def plot_score_histograms(
    path: Path, scores: Mapping[str, np.ndarray], *, name: str = "reward"
) -> Path:
    """Plots the distribution of each model's scores, with its mean as a dashed line.

    Up to four models share one panel; more have a panel each, on common axes.

    Args:
      scores: of the answers of each model [R] each; "" for answers without a model.
      name: of the scores, on the axis.
    """
    shared = len(scores) <= SEPARATE
    panels = 1 if shared else len(scores)
    figure = Figure(
        figsize=(7.2, 3.6 if shared else 0.6 + 1.3 * panels), layout="constrained"
    )
    grid = figure.subplots(panels, 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    edges = bin_edges(np.concatenate(list(scores.values())))
    styles = itertools.cycle(COLORS)
    for number, (model, values) in enumerate(scores.items()):
        axes, color = grid[0 if shared else number], next(styles)
        weights = np.full(len(values), 100 / len(values))
        filled = {"color": color, "alpha": 0.25 if shared else 0.4}
        axes.hist(values, edges, weights=weights, **filled)
        label = shorten(model) or None
        axes.hist(
            values, edges, weights=weights, histtype="step", color=color, label=label
        )
        axes.axvline(float(values.mean()), color=color, ls="--", lw=1.2)
        if not shared:
            axes.set_title(label, fontsize=9, loc="left")
    for axes in grid:
        style_axes(axes)
    grid[-1].set_xlabel(f"{name} (dashed: mean)")
    figure.supylabel("answers (%)", fontsize=10)
    if shared and len(scores) > 1:
        grid[0].legend(frameon=False, fontsize=9)
    save(figure, path)
    return path


def bin_edges(values: np.ndarray) -> np.ndarray:
    """Edges of a histogram: one bin a value where there are few, as for ratings."""
    different = np.unique(values)
    if 1 < len(different) <= BINS and np.allclose(np.diff(different) % 1.0, 0.0):
        return np.arange(different[0] - 0.5, different[-1] + 1.0)
    return np.histogram_bin_edges(values, BINS)


def shorten(name: str) -> str:
    """A model's name, its end where it is long, since folders begin alike."""
    return name if len(name) <= NAME_LENGTH else f"…{name[1 - NAME_LENGTH :]}"


def save(figure: Figure, path: Path) -> None:
    """Writes a figure; of several processes the first writes."""
    if jax.process_index() == 0:
        figure.savefig(path, dpi=140)
