"""The report of mode covering and mode seeking: fits, optima, adapters, models."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxalign import lazy
from jaxalign.evaluation import interval_plot, line_plots, plots, sampling_adapters
from jaxalign.evaluation import mode_seeking as modes
from jaxalign.evaluation.intervals import Interval
from jaxalign.evaluation.line_plots import Panel
from jaxalign.evaluation.page import Section
from jaxalign.types import Array

if TYPE_CHECKING:
    from matplotlib import figure as figures
else:
    figures = lazy.module("matplotlib.figure")

BASE = "base"
GRID = np.linspace(-12.0, 12.0, 481, dtype=np.float32)
WEIGHTS, MEANS, STDS = (0.6, 0.4), (-3.0, 3.0), (0.7, 0.9)
STARTS = (-3.0, -1.0, 1.0, 3.0)  # means, with a standard deviation of 1
WIDTH = 2.0  # of a mode, for its mass
# five modes of a reference, and what they are worth
PEAKS, VALUES = (-8.0, -4.0, 0.0, 4.0, 8.0), (0.2, 1.0, 0.5, 0.9, 0.0)
BETAS = (10.0, 3.0, 1.0, 0.5, 0.25, 0.1, 0.05)
LINES = ("-", "--", "-", "--")  # equal fits lie on each other
LEAST_MASS = 0.01  # of a mode that counts
UNCHANGED = {"temperature 1": sampling_adapters.temperature(1.0)}
TOP_P = (1.0, 0.99, 0.95, 0.9, 0.8, 0.6, 0.4, 0.2)
ADAPTERS = {
    **UNCHANGED,
    **{f"temperature {t:g}": sampling_adapters.temperature(t) for t in (1.5, 0.7, 0.4)},
    **{f"top-p {p:g}": sampling_adapters.top_p(p) for p in TOP_P[1:]},
    **{f"top-k {k}": sampling_adapters.top_k(k) for k in (50, 10, 3, 1)},
    **{f"typical {p:g}": sampling_adapters.typical(p) for p in (0.9, 0.5)},
    **{f"eta {e:g}": sampling_adapters.eta(e) for e in (0.001, 0.02)},
}
MEASURES = {
    "forward": "forward CE (recall)",
    "reverse": "reverse CE (precision)",
    "jensen_shannon": "JS divergence",
    "total_variation": "total variation",
    "entropy": "entropy",
}


class Fit(NamedTuple):
    """A fit: how it was made, from which mean, and its log-probs over `GRID`."""

    method: str
    start: float | None
    log_q: Array
    mean: float
    std: float


def target() -> Array:
    """The target of the fits, log-probs over `GRID`."""
    return modes.log_mixture(GRID, *map(jnp.array, (WEIGHTS, MEANS, STDS)))


def fit_rows() -> tuple[list[Fit], dict[str, float]]:
    """All fits, exact and by samples; and the main numbers."""
    log_p, fits = target(), []

    def add(method: str, start: float | None, fitted: modes.Gaussian) -> None:
        log_q = modes.log_gaussian(GRID, *fitted)
        std = float(jnp.exp(fitted.log_std))
        fits.append(Fit(method, start, log_q, float(fitted.mean), std))

    for name, divergence in modes.DIVERGENCES.items():
        for start in STARTS:
            begin = modes.Gaussian(start, 0.0)
            add(name, start, modes.fit(GRID, log_p, begin, divergence=divergence))
    add(
        "SFT, 1,000 samples", None, modes.fit_to_samples(GRID, log_p, jax.random.key(0))
    )
    for start in STARTS:
        begin, key = modes.Gaussian(start, 0.0), jax.random.key(1)
        rl = modes.fit_by_policy_gradient(GRID, log_p, begin, key)
        add("RL, 64 samples a step", start, rl)
    numbers = {
        f"{fit.method} from {fit.start:g}: mean": fit.mean
        for fit in fits
        if fit.start in (-1.0, 1.0)
    }
    return fits, numbers


def exact_sections(fits: list[Fit], folder: Path) -> list[Section]:
    """The sections of fits and of pi* as beta falls; writes their plots."""
    log_p, rows = target(), []
    for fit in fits:
        mass = modes.mode_mass(GRID, fit.log_q, MEANS, width=WIDTH)
        rows.append(
            {
                "fit": fit.method,
                "start": "" if fit.start is None else f"{fit.start:g}",
                "mean": round(fit.mean, 2),
                "std": round(fit.std, 2),
                "mass at -3": round(float(mass[0]), 3),
                "mass at 3": round(float(mass[1]), 3),
                "between": round(float(1 - mass.sum()), 3),
                "KL(p || q)": round(float(modes.forward_kl(log_p, fit.log_q)), 3),
                "KL(q || p)": round(float(modes.reverse_kl(log_p, fit.log_q)), 3),
            }
        )
    return [
        Section(
            "One Gaussian for two modes",
            "p has 60 % of its mass at -3 and 40 % at 3. Each fit begins with a "
            "standard deviation of 1.",
            rows,
            plot_fits(folder / "fits.png", log_p, fits),
        ),
        beta_section(folder),
    ]


def beta_section(folder: Path) -> Section:
    """The optimum of KL-regularized RL as beta falls."""
    reference = modes.log_mixture(
        GRID, jnp.full(5, 0.2), jnp.array(PEAKS), jnp.full(5, 0.5)
    )
    reward = jnp.interp(GRID, jnp.array(PEAKS), jnp.array(VALUES))
    rows = []
    for beta in BETAS:
        log_q = modes.tilt_by_reward(reference, reward, beta=beta)
        mass = np.asarray(modes.mode_mass(GRID, log_q, PEAKS, width=WIDTH))
        rows.append(
            {
                "beta": beta,
                "modes above 1 %": int((mass > LEAST_MASS).sum()),
                "largest mode": round(float(mass.max()), 3),
                "entropy": round(float(modes.entropy(log_q)), 3),
                "KL": round(float(modes.reverse_kl(reference, log_q)), 3),
                "reward": round(float(jnp.exp(log_q) @ reward), 3),
            }
        )
    image = line_plots.plot_lines(
        folder / "beta.png",
        [
            Panel(
                name,
                "beta",
                "",
                {name: [(row["beta"], row[name]) for row in rows]},
                "log",
            )
            for name in ("modes above 1 %", "entropy", "reward")
        ],
    )
    return Section(
        "The optimum of KL-regularized RL as beta falls",
        "A reference of five equal modes, worth .2, 1, .5, .9 and 0.",
        rows,
        image,
    )


def model_sections(
    summary: Mapping[str, Mapping[str, Interval]], folder: Path
) -> list[Section]:
    """The sections of adapters of the first model, and of all models."""
    first = next(iter(summary))
    rows = [
        {"adapter": name}
        | {title: summary[first][f"{key}@{name}"] for key, title in MEASURES.items()}
        for name in ADAPTERS
    ]
    place = next(iter(UNCHANGED))
    models = [
        {"model": arm}
        | {title: values[f"{key}@{place}"] for key, title in MEASURES.items()}
        for arm, values in summary.items()
    ]
    lines = {
        f"{first}, {name}": first_values(summary[first], name) for name in ADAPTERS
    }
    lines |= {
        arm: first_values(values, place)
        for arm, values in summary.items()
        if arm != first
    }
    image = interval_plot.plot_intervals(
        folder / "adapters.png",
        lines,
        label="cross-entropy, nats a token",
        title="Recall and precision of sampling adapters and of models",
    )
    text = (
        "Of next-token distributions along the reference's own answers, nats a token; "
        f"both smoothed by {sampling_adapters.SMOOTHING:g} of mass over all tokens."
    )
    return [
        Section(f"Sampling adapters of {first}", text, rows, image),
        Section("Models at temperature 1", text, models),
    ]


def first_values(values: Mapping[str, Interval], adapter: str) -> dict[str, Interval]:
    """The two cross-entropies of an adapter, by their titles."""
    return {MEASURES[key]: values[f"{key}@{adapter}"] for key in ("forward", "reverse")}


def main_numbers(summary: Mapping[str, Mapping[str, Interval]]) -> dict[str, Any]:
    """Both cross-entropies of each model, unchanged."""
    place = next(iter(UNCHANGED))
    return {
        f"{key}, {arm}": values[f"{key}@{place}"]
        for arm, values in summary.items()
        for key in ("forward", "reverse")
    }


def plot_fits(path: Path, log_p: Array, fits: list[Fit]) -> Path:
    """The lecture's picture: the target, and the fits of each divergence."""
    names = list(dict.fromkeys(fit.method for fit in fits))
    figure = figures.Figure(figsize=(9.6, 5.6), layout="constrained")
    width = float(GRID[1] - GRID[0])
    grid = list(figure.subplots(2, 3, sharex=True, sharey=True).flat)
    for axes, name in zip(grid, names, strict=False):
        axes.fill_between(GRID, np.exp(log_p) / width, color="0.85", label="p")
        of_name = [fit for fit in fits if fit.method == name]
        for fit, color, style in zip(of_name, plots.COLORS, LINES, strict=False):
            label = "q" if fit.start is None else f"from {fit.start:g}"
            density = np.exp(fit.log_q) / width
            axes.plot(GRID, density, style, color=color, label=label)
        axes.set_title(name, fontsize=10, loc="left")
        axes.set_xlim(-7, 7)
        axes.legend(fontsize=8, frameon=False)
        plots.style_axes(axes)
    for axes in grid[len(names) :]:
        axes.set_axis_off()
    if jax.process_index() == 0:  # the first of several processes writes
        figure.savefig(path, dpi=130)
    return path
