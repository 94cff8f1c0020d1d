"""The report of likelihood displacement: the exact world, and models."""

from collections.abc import Mapping
from pathlib import Path

from jaxalign.evaluation import displacement, interval_plot, line_plots
from jaxalign.evaluation.intervals import Interval
from jaxalign.evaluation.line_plots import Panel
from jaxalign.evaluation.page import Section
from jaxalign.runtime import study_cells

SIMILARITIES = (0.0, 0.2, 0.4, 0.6, 0.8, 0.9, 0.98)
STEPS = 200
CHANGE = "change of log p(chosen), nats"
COLUMNS = {
    "chosen": "change of log p(chosen)",
    "rejected": "change of log p(rejected)",
    "margin": "margin",
    "accuracy": "accuracy",
}


def sections(
    summary: Mapping[str, Mapping[str, Interval]], folder: Path
) -> list[Section]:
    """All sections; writes their plots."""
    return [exact_section(folder), *model_sections(summary, folder)]


def exact_section(folder: Path) -> Section:
    """The exact world: each loss at each similarity."""
    rows, lines = [], {}
    for name, loss in displacement.LOSSES.items():
        points = []
        for rho in SIMILARITIES:
            path = displacement.train(loss, rho, steps=STEPS)
            change = {k: float(x[-1] - x[0]) for k, x in path._asdict().items()}
            points.append((rho, change["chosen"]))
            if rho in (0.0, 0.98):
                rows.append(
                    {"loss": name, "similarity": rho}
                    | {f"log p({k})": round(x, 3) for k, x in change.items()}
                )
        lines[name] = points
    image = line_plots.plot_lines(
        folder / "exact.png",
        [Panel("the exact world", "similarity of the two answers", CHANGE, lines)],
    )
    return Section(
        "The exact world",
        f"Changes after {STEPS} steps of gradient descent on one pair, nats. With "
        "DPO the chosen answer falls from the first step for a similarity above 7/8.",
        rows,
        image,
    )


def model_sections(
    summary: Mapping[str, Mapping[str, Interval]], folder: Path
) -> list[Section]:
    """The changes of held-out log-probs, at the end and over training."""
    ends = {
        arm: {COLUMNS[name]: values[name] for name in ("chosen", "rejected")}
        for arm, values in summary.items()
    }
    image = interval_plot.plot_intervals(
        folder / "changes.png",
        ends,
        label="nats an answer, from the SFT policy",
        title="Held-out pairs",
    )
    curves: dict[str, dict[str, list[tuple[float, Interval]]]] = {}  # by half, loss
    for arm, values in summary.items():
        loss, half = arm.split(", ")
        points = curves.setdefault(f"answers {half}", {})
        points[loss] = [
            (int(name.partition("@")[2]), value)
            for name, value in values.items()
            if name.startswith("chosen@")
        ]
    panels = [Panel(half, "step", CHANGE, lines) for half, lines in curves.items()]
    curve = line_plots.plot_lines(folder / "curves.png", panels)
    table = study_cells.cell_rows(summary, COLUMNS)
    return [
        Section("Held-out pairs of each half", "", table, image),
        Section("Over training", image=curve),
    ]
