"""Plots of reward against KL from the reference.

Colors are Okabe and Ito's, which color-blind readers can distinguish; each series has a
marker of its own as well.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from jaxalign import lazy
from jaxalign.evaluation.intervals import Interval

if TYPE_CHECKING:
    from matplotlib import figure as figures
else:
    figures = lazy.module("matplotlib.figure")

COLORS = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7"),
    *("#56B4E9", "#E69F00", "#000000", "#882255"),
)
MARKERS = "os^DvpPX<>h"
TICKS = (0, 0.05, 0.2, 0.5, 1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)


def plot_reward_kl(
    path: Path,
    points: Mapping[str, Sequence[tuple[float, Interval]]],
    *,
    reward: str = "true reward",
    title: str = "",
    joined_by: str = "",
    optimum: tuple[Any, Any] | None = None,
    seeds: Mapping[str, Sequence[tuple[float, float]]] | None = None,
) -> Path:
    """Plots reward against KL on a square-root scale, one series per method.

    Args:
      points: by method, pairs of KL in nats and reward with its interval.
      joined_by: joins the points of a method by a line, with markers that grow from
        first to last, and names the varied hyperparameter or time; not for seeds.
      optimum: KL and reward of the optimal policies, drawn dashed where known.
      seeds: by method, KL and reward of each seed, drawn pale; then intervals far wider
        than the range of all seeds are cut.

    Reference: Gao et al. 2022, arXiv:2210.10760, figure 1.
    """
    seeds_of = seeds or {}
    figure = figures.Figure(figsize=(8.2, 4.8), layout="constrained")
    axes = figure.subplots()
    axes.set_xscale("function", functions=(signed_sqrt, signed_square))
    if optimum is not None:
        axes.plot(*optimum, "--", color="0.45", lw=1.6, label="optimum", zorder=1)
    styles = zip(itertools.cycle(COLORS), itertools.cycle(MARKERS), strict=False)
    for (name, series), style in zip(points.items(), styles, strict=False):
        draw_series(axes, name, series, *style, joined=bool(joined_by))
        draw_seeds(axes, seeds_of.get(name, ()), *style)
    every_seed = [pair for pairs in seeds_of.values() for pair in pairs]
    limit_values(axes, [value for _, value in every_seed])
    means = [pair for series in points.values() for pair in series]
    set_kl_axis(axes, [kl for kl, _ in [*means, *every_seed]])
    style_axes(axes)
    bounded = any(math.isfinite(interval.low) for _, interval in means)
    axes.set_ylabel(f"{reward}, with 95 % interval" if bounded else reward)
    axes.set_title(title, fontsize=10, loc="left")
    figure.legend(
        loc="outside right upper",
        frameon=False,
        title=f"larger marker:\n{joined_by}" if joined_by else None,
        alignment="left",
    )
    if jax.process_index() == 0:  # the first of several processes writes
        figure.savefig(path, dpi=140)
    return path


def draw_series(
    axes: Any,
    name: str,
    series: Sequence[tuple[float, Interval]],
    color: str,
    marker: str,
    *,
    joined: bool,
) -> None:
    """Draws one series: markers, intervals and, if joined, a line."""
    kl = np.maximum([k for k, _ in series], 0.0)
    mean = np.array([r.mean for _, r in series])
    low, high = np.array([(r.low, r.high) for _, r in series]).T
    sizes = np.linspace(24, 84, len(series)) if joined and len(series) > 1 else 54
    axes.vlines(kl, low, high, color=color, lw=1.0, alpha=0.35, zorder=2)
    if joined:
        axes.plot(kl, mean, color=color, lw=1.3, alpha=0.75, zorder=2)
    axes.scatter(
        kl,
        mean,
        sizes,
        color=color,
        marker=marker,
        edgecolor="white",
        lw=0.6,
        zorder=3,
    )
    axes.plot([], [], ls="", color=color, marker=marker, mec="white", ms=8, label=name)


def draw_seeds(
    axes: Any, pairs: Sequence[tuple[float, float]], color: str, marker: str
) -> None:
    """Draws single seeds, each a KL and a reward, pale."""
    for kl, value in pairs:
        axes.plot(max(kl, 0.0), value, marker, color=color, ms=5, alpha=0.35, mew=0)


def set_kl_axis(axes: Any, kls: Sequence[float]) -> None:
    """Lays the axis of KL from 0 to past the largest."""
    right = max(1.08 * max(kls, default=0.0), 0.05)
    axes.set_xlim(-6e-4 * right, right)  # 0 a little off the edge
    axes.set_xticks([t for t in TICKS if t <= right])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("KL from the reference (nats, on a square-root scale)")


def limit_values(axes: Any, values: Sequence[float]) -> None:
    """Cuts the value axis where intervals are far wider than the values' range.

    Two seeds have a t of 12.7, whose intervals would hide all differences.
    """
    low, high = min(values, default=0.0), max(values, default=0.0)
    margin = 0.5 * (high - low)
    bottom, top = axes.get_ylim()
    if margin > 0:
        axes.set_ylim(max(bottom, low - margin), min(top, high + margin))


def signed_sqrt(values: Any) -> Any:
    """The signed square root, so that an axis may begin below 0."""
    return np.sign(values) * np.sqrt(np.abs(values))


def signed_square(values: Any) -> Any:
    """The inverse of `signed_sqrt`."""
    return np.sign(values) * np.square(values)


def style_axes(axes: Any) -> None:
    """Sets a light grid and removes the box."""
    axes.grid(alpha=0.25, lw=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9)
