"""The reliability diagram: how often predictions of each probability come true."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
from matplotlib.figure import Figure  # not pyplot, whose state a notebook uses

from jaxalign.evaluation.calibration.measures import ReliabilityBin
from jaxalign.evaluation.plots import COLORS, MARKERS, style_axes
from jaxalign.evaluation.proportions import wilson_interval


def plot_reliability(
    path: Path,
    curves: Mapping[str, Sequence[ReliabilityBin]],
    *,
    title: str = "",
    probability: str = "predicted probability",
    frequency: str = "observed frequency",
) -> Path:
    """Plots observed frequency against predicted probability, one curve per model.

    The diagonal is calibration. Bars are Wilson's 95 % intervals of each bin.

    Args:
      curves: by name, the table of `calibration.reliability_bins`.
      probability, frequency: labels of the axes.

    Reference: Niculescu-Mizil and Caruana 2005, ICML.
    """
    figure = Figure(figsize=(5.4, 4.8), layout="constrained")
    axes = figure.subplots()
    values = [row.probability for rows in curves.values() for row in rows]
    low = 0.5 if min(values, default=0.0) >= 0.5 else 0.0
    axes.plot([low, 1], [low, 1], "--", color="0.55", lw=1.2, label="calibrated")
    for i, (name, rows) in enumerate(curves.items()):
        color, marker = COLORS[i % len(COLORS)], MARKERS[i % len(MARKERS)]
        x = [row.probability for row in rows]
        y = [row.frequency for row in rows]
        bars = [wilson_interval(r.frequency * r.size, r.size) for r in rows]
        axes.vlines(
            x, [b.low for b in bars], [b.high for b in bars], color=color, alpha=0.4
        )
        axes.plot(x, y, color=color, marker=marker, ms=5, lw=1.3, label=name)
    style_axes(axes)
    axes.set_xlim(low - 0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlabel(probability)
    axes.set_ylabel(f"{frequency}, with 95 % interval")
    axes.set_title(title, fontsize=10, loc="left")
    axes.legend(frameon=False)
    if jax.process_index() == 0:  # the first of several processes writes
        figure.savefig(path, dpi=140)
    return path
