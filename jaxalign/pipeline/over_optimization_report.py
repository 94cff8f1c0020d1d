"""The report of over-optimization: gold and proxy reward against sqrt(KL), and laws."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxalign.evaluation import line_plots, rank_correlations
from jaxalign.evaluation import over_optimization as laws
from jaxalign.evaluation.intervals import Interval
from jaxalign.evaluation.line_plots import Panel
from jaxalign.evaluation.page import Section
from jaxalign.runtime import study_cells
from jaxalign.runtime.study_cells import Cells

Row = dict[str, Any]

DISTANCE = "sqrt(KL), of nats"
GAIN = "gain, in standard deviations"
LAW = "fitted law"
FIT_TEXT = (
    "Best of n: gain = a d - b d². PPO: gain = a d - b d log d, of points with d of "
    "0.3 or more. d = sqrt(KL), gains of the gold reward over the policy's own answers "
    "in their standard deviations. Intervals: 95 %, bootstrap over prompts, of these "
    "models. No peak seen: b is not above 0, or the peak lies farther than 1.5 times "
    "the last d; `peaks` is the share of resamples with one. Predicted: the root mean "
    "square error on the farther half of the points of a fit of the nearer half, "
    "beside that of a fit of all."
)
RANK_TEXT = (
    "With KL: Spearman's correlation of a curve's means with KL, 1 where it only "
    "rises. Of both: that of proxy and gold reward among answers, at the curve's first "
    "and last point: how far the proxy still tells good answers where it has been "
    "optimized."
)


class Curve(NamedTuple):
    """The points of an arm, K of them, over all seeds and prompts (R).

    Attributes:
      form: its law.
      group: the panel in which it is drawn.
      kl: in nats [K R].
      gold, proxy: gains over the policy, in standard deviations [K R].
      correlation: Spearman's, of proxy and gold among the answers of a point [K].
    """

    form: laws.Form
    group: str
    kl: np.ndarray
    gold: np.ndarray
    proxy: np.ndarray
    correlation: np.ndarray

    @property
    def d(self) -> np.ndarray:
        """sqrt(KL) of each point [K]."""
        return laws.distance(self.kl.mean(axis=1))


def curve_of(
    seeds: Sequence[Mapping[str, np.ndarray]], form: laws.Form, group: str
) -> Curve:
    """The curve of an arm's cells.

    Args:
      seeds: of each seed gold@X, proxy@X and kl@X of each point X, of its prompts; an
        only number is of all prompts; and correlation@X.
    """
    names = [name for name in seeds[0] if name.startswith("gold@")]
    points = [name.partition("@")[2] for name in names]

    def join(name: str) -> np.ndarray:
        rows = [
            [np.broadcast_to(s[f"{name}@{x}"], s[f"gold@{x}"].shape) for s in seeds]
            for x in points
        ]
        return np.stack([np.concatenate(row) for row in rows])

    ranks = [np.mean([s[f"correlation@{x}"] for s in seeds]) for x in points]
    kl, gold, proxy = (join(name) for name in ("kl", "gold", "proxy"))
    return Curve(form, group, kl, gold, proxy, np.array(ranks))


def fit_curves(curves: Mapping[str, Curve]) -> dict[str, laws.LawFit]:
    """The law of each curve that has two points that count."""
    return {
        arm: laws.fit_law(c.kl, c.gold, c.form)
        for arm, c in curves.items()
        if points_of(c) >= 2
    }


def points_of(curve: Curve) -> int:
    """The number of points that count for the law."""
    return len(laws.curve_points(curve.kl, curve.gold, curve.form)[2])


def sections(
    curves: Mapping[str, Curve],
    fits: Mapping[str, laws.LawFit],
    cells: Cells,
    folder: Path,
) -> list[Section]:
    """All sections; writes their plots."""
    return [
        Section(
            "Gold and proxy reward",
            "Dashed: the laws. Peak: the highest of the points measured.",
            gain_rows(curves, cells),
            line_plots.plot_lines(
                folder / "over_optimization.png", panels(curves, fits)
            ),
        ),
        Section("Laws of the gold reward", FIT_TEXT, fit_rows(curves, fits)),
        Section(
            "Rank correlations",
            RANK_TEXT,
            rank_rows(curves),
            line_plots.plot_lines(
                folder / "correlation.png", correlation_panels(curves)
            ),
        ),
    ]


def gain_rows(curves: Mapping[str, Curve], cells: Cells) -> list[Row]:
    """A row for each arm: its reward model, and gains at the peak and at the end."""
    summary = study_cells.summarize_cells(cells)
    rows: list[Row] = []
    for arm, curve in curves.items():
        names = [name for name in summary[arm] if name.startswith("gold@")]
        means = [summary[arm][name] for name in names]
        best = int(np.argmax([x.mean for x in means]))
        row: Row = {"arm": arm}
        row |= {
            title: summary[arm][name]
            for name, title in (("accuracy", "accuracy"), ("loss", "held-out loss"))
            if name in summary[arm]
        }
        row |= {"gold, peak": means[best], "at d": round(float(curve.d[best]), 2)}
        row |= {"gold, end": means[-1]}
        row |= {"proxy, end": summary[arm][names[-1].replace("gold", "proxy")]}
        row |= {"end, d": round(float(curve.d[-1]), 2)}
        rows.append(row)
    return rows


def fit_rows(curves: Mapping[str, Curve], fits: Mapping[str, laws.LawFit]) -> list[Row]:
    """A row for each arm: its law, and how well half of it predicts the rest."""
    rows: list[Row] = []
    for arm, curve in curves.items():
        row: Row = {"arm": arm, "points": points_of(curve)}
        if arm in fits:
            fit = fits[arm]
            row |= {"a": fit.a, "b": fit.b} | peak_cells(fit)
        if row["points"] >= 3:
            test = laws.extrapolate(curve.kl, curve.gold, curve.form)
            row["error, predicted"] = round(test.error, 3)
            row["error, fitted"] = round(test.all_error, 3)
        rows.append(row)
    return rows


def peak_cells(fit: laws.LawFit) -> dict[str, Any]:
    """The cells of a table about a law's peak."""
    seen = np.isfinite(fit.peak_d.mean)
    return {
        "peak d": fit.peak_d if seen else "no peak seen",
        "peak gain": fit.peak_gain if seen else None,
        "peaks": round(fit.peaks, 2),
    }


def rank_rows(curves: Mapping[str, Curve]) -> list[Row]:
    """A row for each arm: how gold and proxy go with KL, and with each other."""
    return [
        {
            "arm": arm,
            "proxy with KL": rank_correlations.trend(
                curve.kl.mean(axis=1), curve.proxy
            ),
            "gold with KL": rank_correlations.trend(curve.kl.mean(axis=1), curve.gold),
            "of both, first": round(float(curve.correlation[0]), 2),
            "of both, last": round(float(curve.correlation[-1]), 2),
        }
        for arm, curve in curves.items()
    ]


def panels(curves: Mapping[str, Curve], fits: Mapping[str, laws.LawFit]) -> list[Panel]:
    """Gold reward in the upper row, with the laws, and the proxy in the lower."""
    groups = list(dict.fromkeys(curve.group for curve in curves.values()))
    found = []
    for reward in ("gold", "proxy"):
        for group in groups:
            own = {arm: c for arm, c in curves.items() if c.group == group}
            lines = {arm: points(c, getattr(c, reward)) for arm, c in own.items()}
            dashed = {}
            if reward == "gold":
                drawn = {arm: fits[arm] for arm in own if arm in fits}
                dashed = {
                    LAW if i == 0 else f"{line_plots.NOT_NAMED}{arm}": law_points(
                        fit, float(own[arm].d.max())
                    )
                    for i, (arm, fit) in enumerate(drawn.items())
                }
            title = f"{group}: {reward} reward"
            found.append(Panel(title, DISTANCE, GAIN, lines, dashed=dashed))
    return found


def points(curve: Curve, values: np.ndarray) -> list[tuple[float, Interval]]:
    """(d, mean with its interval over prompts) of a curve, by d."""
    order = np.argsort(curve.d, kind="stable")
    return [(float(curve.d[i]), study_cells.over_seeds([values[i]])) for i in order]


def law_points(fit: laws.LawFit, longest: float) -> list[tuple[float, float]]:
    """A law as a line from 0 to the largest distance."""
    d = np.linspace(0.0, longest, 60)
    gain = laws.law_gain(d, fit.a.mean, fit.b.mean, fit.form)
    return list(zip(d.tolist(), gain.tolist(), strict=True))


def correlation_panels(curves: Mapping[str, Curve]) -> list[Panel]:
    """Rank correlations of proxy and gold reward, by distance."""
    groups: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for arm, c in curves.items():
        line = sorted(zip(c.d.tolist(), c.correlation.tolist(), strict=True))
        groups.setdefault(c.group, {})[arm] = line
    label = "rank correlation of both"
    return [Panel(name, DISTANCE, label, lines) for name, lines in groups.items()]
