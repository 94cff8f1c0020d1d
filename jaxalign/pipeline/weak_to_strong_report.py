"""The report of the weak-to-strong study: accuracies, recovered gaps, easy-to-hard."""

from pathlib import Path

from jaxalign.evaluation import interval_plot
from jaxalign.evaluation.intervals import Interval
from jaxalign.evaluation.page import Section
from jaxalign.evaluation.weak_to_strong import recovered_interval
from jaxalign.runtime import study_cells

WEAK, CEILING, STUDENT = "weak", "strong, truth", "strong, weak labels"
SHORT, LONG = "short answers", "long answers"
METRICS = {
    "right": "accuracy",
    "agrees": "agrees with weak",
    "follows": "agrees where weak is wrong",
}
BY_LENGTH = {"short": "accuracy, short pairs", "long": "accuracy, long pairs"}


def summarize(cells: study_cells.Cells) -> dict[str, dict[str, Interval]]:
    """The mean of each metric with its interval, by arm; all are shares."""
    return study_cells.summarize_cells(cells, {*METRICS, *BY_LENGTH})


def recovered_gaps(cells: study_cells.Cells) -> dict[str, Interval]:
    """The performance gap recovered of each student, with its interval."""
    values = lambda arm: [seed["right"] for seed in cells[arm]]
    return {
        arm: recovered_interval(values(WEAK), values(arm), values(CEILING))
        for arm in cells
        if arm.startswith(STUDENT)
    }


def sections(
    cells: study_cells.Cells, recovered: dict[str, Interval], folder: Path
) -> list[Section]:
    """The tables and the plot of accuracies and recovered gaps; easy-to-hard."""
    summary = summarize(cells)
    lengths = {arm: summary.pop(arm) for arm in (SHORT, LONG)}
    rows = study_cells.cell_rows(summary, METRICS)
    for row in rows:
        arm = row["arm"]
        if arm != WEAK:
            row["gain over weak"] = study_cells.compare_cells(cells, arm, WEAK)["right"]
        if arm in recovered:
            row["gap recovered"] = recovered[arm]
    image = interval_plot.plot_intervals(
        folder / "weak_to_strong.png",
        {
            arm: {METRICS[name]: values[name] for name in METRICS}
            for arm, values in summary.items()
            if arm != WEAK
        }
        | {WEAK: {METRICS["right"]: summary[WEAK]["right"]}},
        label="share of held-out pairs",
        limits=(0.0, 1.0),
    )
    text = (
        "Accuracy is by the true reward; the gap recovered is (student - weak) / "
        "(ceiling - weak), not given where the ceiling is not above the weak model "
        "beyond noise."
    )
    return [
        Section("Weak to strong", text, rows, image),
        Section(
            "Easy to hard",
            "The strong model on the truth of as many short or long pairs.",
            study_cells.cell_rows(lengths, BY_LENGTH),
        ),
    ]
