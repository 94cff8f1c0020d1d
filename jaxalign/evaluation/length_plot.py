"""Histograms of lengths, on a logarithmic scale."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import numpy as np

from jaxalign import lazy
from jaxalign.evaluation import plots

if TYPE_CHECKING:
    from matplotlib import figure as figures
else:
    figures = lazy.module("matplotlib.figure")


BINS = 48


def plot_lengths(
    path: Path, lengths: Mapping[str, np.ndarray], *, unit: str = "characters"
) -> Path:
    """Plots the distribution of each kind of text, its median dashed.

    Args:
      lengths: by the name of the kind, at least one of them not empty; an empty text
        is drawn as one of length 1 [R] each.
      unit: of the lengths.
    """
    figure = figures.Figure(figsize=(8.2, 3.8), layout="constrained")
    axes = figure.subplots()
    shown = {k: np.maximum(v, 1) for k, v in lengths.items() if len(v)}
    every = np.concatenate(list(shown.values()))
    bins = np.geomspace(every.min() / 1.05, every.max() * 1.05, BINS + 1)
    for (name, values), color in zip(shown.items(), plots.COLORS, strict=False):
        shares, _ = np.histogram(values, bins)
        label = f"{name}, median {np.median(values):,.0f}"
        axes.stairs(
            *(shares / len(values), bins), color=color, lw=1.6, label=label, fill=False
        )
        axes.stairs(shares / len(values), bins, color=color, alpha=0.08, fill=True)
        axes.axvline(np.median(values), color=color, ls="--", lw=1.0)
    axes.set_xscale("log")
    axes.set_xlabel(f"{unit} (on a logarithmic scale)")
    axes.set_ylabel("share of the texts")
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize=9)
    plots.style_axes(axes)
    if jax.process_index() == 0:  # the first of several processes writes
        figure.savefig(path, dpi=140)
    return path
