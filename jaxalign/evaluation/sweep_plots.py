"""Plots of sweeps: metrics against the value that varies.

Of runs with both, reward against KL.
"""

import itertools
import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxalign.evaluation.curves import make_grid
from jaxalign.evaluation.plots import (
    COLORS,
    MARKERS,
    limit_values,
    plot_reward_kl,
)
from jaxalign.evaluation.sweep_tables import Variants, seed_interval

LEGEND_WIDTH = 26  # characters of a line
DECADE = 10.0  # values that span more have a logarithmic axis


def plot_sweep(path: Path, variants: Variants, metrics: Sequence[str]) -> Path:
    """Plots metrics against the first field that varies; others are series.

    A mark is the mean over seeds with its interval; small points are single seeds. An
    interval that is far wider than the range of all values is cut.

    Args:
      variants: the varied values, and the numbers of each finished seed.
      metrics: names of numbers, a panel each.
    """
    fields = [
        name
        for name in (variants[0][0] if variants else {})
        if len({variant[name] for variant, _ in variants}) > 1
    ]
    fields.sort(key=lambda name: not numeric([v[name] for v, _ in variants]))
    x = fields[0] if fields else next(iter(variants[0][0]), "")
    texts = list(dict.fromkeys(variant.get(x, "") for variant, _ in variants))
    places = dict(zip(texts, axis_places(texts), strict=True))
    series: dict[str, list[tuple[float, Sequence[Mapping[str, float]]]]] = {}
    for variant, seeds in variants:
        name = ", ".join(f"{field} {variant[field]}" for field in fields[1:])
        series.setdefault(name, []).append((places[variant.get(x, "")], seeds))
    figure, grid = make_grid(len(metrics), width=4.2)
    for axes, metric in zip(grid, metrics, strict=True):
        styles = zip(itertools.cycle(COLORS), itertools.cycle(MARKERS), strict=False)
        for (name, points), style in zip(series.items(), styles, strict=False):
            draw_points(axes, points, metric, *style, name)
        axes.set_title(metric, fontsize=9, loc="left")
        set_axis(axes, x, places)
        limit_values(axes, values_of(variants, metric))
    if len(series) > 1:
        place: dict[str, Any] = {
            "loc": "upper left",
            "bbox_to_anchor": (1.0, 1.0),
            "frameon": False,
        }
        figure.legend(*grid[0].get_legend_handles_labels(), fontsize=8, **place)
    figure.savefig(path, dpi=130, bbox_inches="tight")
    return path


def plot_frontier(
    path: Path,
    seeds: Mapping[str, Sequence[tuple[float, float]]],
    *,
    reward: str,
    title: str,
) -> Path:
    """Plots reward against KL: means over seeds, and single seeds pale.

    Args:
      seeds: KL in nats and reward of each seed, by the variant's name.
      reward: its name on the axis.
      title: begins the title, which says how many seeds there are.
    """
    wrap = lambda name: "\n".join(textwrap.wrap(name.replace(",", ", "), LEGEND_WIDTH))
    seeds = {wrap(name): pairs for name, pairs in seeds.items()}
    points = {}
    for name, pairs in seeds.items():
        kl, values = zip(*pairs, strict=True)
        points[name] = [(sum(kl) / len(kl), seed_interval(values))]
    most = max(map(len, seeds.values()), default=0)
    several = f"means over {most} seeds (pale: single seeds)"
    return plot_reward_kl(
        path,
        points,
        reward=reward,
        title=f"{title}: {several if most > 1 else 'a single seed'}",
        seeds=seeds if most > 1 else None,
    )


def values_of(variants: Variants, metric: str) -> list[float]:
    """A metric's values of all variants and seeds."""
    seeds = (numbers for _, group in variants for numbers in group)
    return [numbers[metric] for numbers in seeds if metric in numbers]


def numeric(texts: Sequence[str]) -> bool:
    """Whether all texts are finite numbers.

    >>> numeric(["0.1", "3e-7"]), numeric(["dpo", "1"]), numeric(["inf"])
    (True, False, False)
    """
    try:
        return all(math.isfinite(float(text)) for text in texts)
    except ValueError:
        return False


def axis_places(texts: Sequence[str]) -> list[float]:
    """The place of each value on the axis: its number, or 0, 1, ... for names."""
    values = map(float, texts if numeric(texts) else range(len(texts)))
    return list(values)


def draw_points(
    axes: Any,
    points: Sequence[tuple[float, Sequence[Mapping[str, float]]]],
    metric: str,
    color: str,
    marker: str,
    label: str,
) -> None:
    """Draws a series: means with intervals over seeds, joined, and single seeds."""
    found = [
        (place, values)
        for place, seeds in sorted(points, key=lambda point: point[0])
        if (values := [numbers[metric] for numbers in seeds if metric in numbers])
    ]
    if not found:
        return
    places = [place for place, _ in found]
    intervals = np.array([seed_interval(values) for _, values in found])
    mean, low, high = intervals.T
    errors = np.nan_to_num([mean - low, high - mean])
    style = {"color": color, "marker": marker, "ms": 6, "mec": "white", "capsize": 2}
    axes.errorbar(places, mean, yerr=errors, lw=1.2, label=label or None, **style)
    for place, values in found:
        single = {"color": color, "ms": 4, "alpha": 0.45, "mew": 0}
        axes.plot([place] * len(values), values, "o", **single)


def set_axis(axes: Any, name: str, places: Mapping[str, float]) -> None:
    """Labels the axis of the varied value; logarithmic where values span a decade."""
    values = list(places.values())
    if min(values) > 0 and max(values) >= DECADE * min(values) and numeric([*places]):
        axes.set_xscale("log")
    axes.set_xticks(values, list(places), fontsize=8)
    axes.set_xticks([], minor=True)
    axes.set_xlabel(name or "all seeds", fontsize=8)
