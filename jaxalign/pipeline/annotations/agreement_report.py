"""The page of an agreement report."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxalign.evaluation.intervals import Interval
from jaxalign.evaluation.page import Section

MOST_ROWS = 30  # of annotators, and of pairs, on the page
ALPHA_TEXT = (
    "1 is perfect agreement, 0 agreement as by chance. For ratings read the alpha of "
    "their level: nominal alpha takes neighboring ratings for as wrong as opposite "
    "ones. Where one label prevails, chance agreement is high and alpha and kappa are "
    "low even if annotators rarely differ; Gwet's AC1 does not have this trait. "
    "Intervals are over items, of these annotators."
)
BEST_TEXT = (
    "No model can predict single labels better than their likeliest label does. "
    "Leave-one-out is how often the majority of the other annotators is right, which a "
    "model can reach. The estimate is of the best possible, under a Dirichlet "
    "distribution of the labels' probabilities over items; sampling apart, the truth "
    "lies between leave-one-out and the upper bound. Plug-in is the mean largest share "
    "of an item's labels: too high where items have few. Majority is the best accuracy "
    "on majority labels. Of ratings, the order of two items is how often the mean of "
    "the other annotators orders two items as does an annotator who rated them "
    "differently."
)
RANK_TEXT = (
    "Transitivity is the share of triples of answers, all three compared, without a "
    "cycle a > b > c > a; votes by coin flips have 0.75. The majority of votes decides "
    "each comparison; ties are left out."
)


def sections(numbers: Mapping[str, Any], plot: Path) -> list[Section]:
    """The sections of the page.

    Args:
      numbers: those of agreement.json.
      plot: a plot of coefficients and accuracies.
    """
    coefficients = numbers["coefficients"]
    rows = [{"coefficient": name, "value": x} for name, x in coefficients.items()]
    parts = [
        Section("Annotations", facts_text(numbers)),
        Section("Agreement of all annotators", ALPHA_TEXT, rows, plot),
    ]
    if numbers["best_accuracy"]:
        best = numbers["best_accuracy"]
        parts.append(Section("Best accuracy on such labels", BEST_TEXT, best))
    if numbers["rankings"]:
        rows = [{"number": name, "value": x} for name, x in numbers["rankings"].items()]
        text = RANK_TEXT if any("trans" in row["number"] for row in rows) else ""
        parts.append(Section("Rankings", text, rows))
    if numbers["pairs"]:
        parts.append(table("Every two annotators", numbers["pairs"], "items"))
    if numbers["each_annotator"]:
        parts.append(table("Each annotator", numbers["each_annotator"], "labels"))
    return parts


def table(title: str, rows: Sequence[Mapping[str, Any]], by: str) -> Section:
    """A table of the rows with most items or labels."""
    text = ""
    if len(rows) > MOST_ROWS:
        text = (
            f"The {MOST_ROWS} with most {by}, of {len(rows)}; agreement.json has all."
        )
    return Section(title, text, rows[:MOST_ROWS])


def facts_text(numbers: Mapping[str, Any]) -> str:
    """What was read, in sentences."""
    labels = ", ".join(f"{name} {count}" for name, count in numbers["labels"].items())
    who = numbers["annotators"]
    lines = [
        f"{numbers['annotations']} labels of {numbers['items']} items"
        + (f" by {who} annotators" if who else "")
        + f"; {numbers['missing']} are missing. Labels: {labels}.",
        f"Layout: {numbers['layout']}. Scale: {numbers['scale']}.",
    ]
    if "repeated_labels" in numbers:
        lines.append(
            f"{numbers['repeated_labels']} labels repeat an earlier one of the same "
            "item by the same annotator; the share of equal ones is "
            f"{numbers['repeated_labels_equal']}. The first one counts."
        )
    lines += [
        f"{name} is not reported: {reason}."
        for name, reason in numbers["not_reported"].items()
    ]
    return "\n\n".join(lines)


def plot_lines(
    coefficients: Mapping[str, Interval], best: Sequence[Mapping[str, Any]]
) -> dict[str, dict[str, Interval]]:
    """The lines of the plot: coefficients, then the best accuracies."""
    lines = {name: {"agreement": x} for name, x in coefficients.items()}
    for row in best:
        for name in ("leave one out", "estimate", "upper bound"):
            if name in row:
                lines[f"{name}, {row['of']}"] = {"accuracy": row[name]}
    return lines
