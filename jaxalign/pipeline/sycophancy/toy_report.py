"""The report of the study in the toy world: a table, plots, what annotators reward."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxalign.data.toy_annotators import ANNOTATORS
from jaxalign.evaluation import interval_plot
from jaxalign.evaluation.intervals import Interval
from jaxalign.evaluation.line_plots import Panel, plot_lines
from jaxalign.evaluation.page import Section
from jaxalign.evaluation.sycophancy.preference_mining import FeatureEffects
from jaxalign.evaluation.sycophancy.protocol_metrics import SIGNED
from jaxalign.runtime import study_cells
from jaxalign.runtime.study_cells import Cells

Mined = Mapping[str, FeatureEffects]
SYCOPHANCY = {
    "belief flip": "flip: wrong belief",
    "belief repair": "repair: right belief",
    "doubt flip": "flip: doubt",
    "doubt repair": "repair: doubt",
    "feedback liking": "feedback: like - dislike",
    "mimicry mimics": "mimicry",
    "belief neutral": "accuracy, no belief",
}
EVALUATOR = {
    "evaluator utility": "utility, nats",
    "evaluator approval": "approval",
    "evaluator accuracy": "truthful",
    "evaluator gap": "approval - truthful",
    "evaluator false_approval": "approval of wrong answers",
    "evaluator false_rejection": "rejection of right ones",
}
PLOTTED = ("belief flip", "doubt flip", "feedback liking", "mimicry mimics")
BASE = "SFT"
CURVE = "agrees with the wrong, best of "


def study_sections(cells: Cells, mined: Mined, folder: Path) -> list[Section]:
    """The sections of the report; writes its plots into a folder."""
    summary = study_cells.summarize_cells(cells, shares(cells))
    gains = {
        arm: study_cells.compare_cells(cells, arm, BASE) for arm in cells if arm != BASE
    }
    lines = {
        arm: {SYCOPHANCY[name]: values[name] for name in PLOTTED if name in values}
        for arm, values in summary.items()
    }
    image = interval_plot.plot_intervals(
        folder / "sycophancy.png",
        lines,
        label="share, or difference of shares",
        title="Sycophancy by arm, with 95 % intervals",
    )
    return [
        Section(
            "Sycophancy by arm",
            "Flips: of answers that were right at first. Repairs: of answers that were "
            "wrong; a rigid model has neither. Mimicry: of poems whose poet the model "
            "knows.",
            study_cells.cell_rows(summary, SYCOPHANCY),
            image,
        ),
        Section(
            f"Change from {BASE}",
            "Paired by seed and item, of those for which both are defined: flips of "
            "what both knew at first.",
            study_cells.cell_rows(gains, SYCOPHANCY),
        ),
        Section(
            "What the evaluator sees, and what is true",
            "The evaluator is the agreeing annotator for all arms.",
            study_cells.cell_rows(summary, EVALUATOR),
        ),
        curve_section(summary, folder),
        mining_section(mined),
    ]


def shares(cells: Cells) -> set[str]:
    """The metrics that are shares, not differences of shares or nats."""
    names = {name for seeds in cells.values() for values in seeds for name in values}
    signed = (*SIGNED, "change", "gap", "utility")
    return {name for name in names if not name.endswith(signed)}


def curve_section(
    summary: Mapping[str, Mapping[str, Interval]], folder: Path
) -> Section:
    """Agreement with users who are wrong, over n of best-of-n."""
    curves = {
        arm: {k: v for k, v in values.items() if k.startswith(CURVE)}
        for arm, values in summary.items()
    }
    curves = {arm: curve for arm, curve in curves.items() if curve}
    names = list(dict.fromkeys(name for curve in curves.values() for name in curve))
    rows: list[dict[str, Any]] = [
        {"n": name.removeprefix(CURVE)}
        | {
            f"{title}: {arm.rpartition(', ')[2]}": summary[arm][key]
            for arm in curves
            for title, key in (
                ("agrees", name),
                ("truthful", name.replace("agrees with the wrong", "truthful")),
            )
        }
        for name in names
    ]
    panel = Panel(
        "by the reward models of two kinds of annotators",
        "n of best-of-n",
        "agreement with users who are wrong",
        {
            arm.rpartition(", ")[2]: [
                (float(name.removeprefix(CURVE)), y) for name, y in curve.items()
            ]
            for arm, curve in curves.items()
        },
        "log2",
    )
    image = plot_lines(folder / "best_of_n.png", [panel])
    return Section("Best-of-n", "To users who are wrong.", rows, image)


def mining_section(mined: Mined) -> Section:
    """What annotators reward, mined from their preferences, beside what they weigh."""
    rows: list[dict[str, Any]] = []
    for name, effects in mined.items():
        annotator = ANNOTATORS[name]
        weights = {
            "truthful": annotator.truth,
            "agrees": annotator.agreement,
            "polite": annotator.warmth,
        }
        for feature in effects.ranking():
            weight = weights.get(feature)
            rows.append(
                {
                    "annotators": name,
                    "feature": feature,
                    "change of P(preferred)": effects.effect(feature),
                    "weight, nats": "" if weight is None else weight,
                }
            )
    return Section(
        "What annotators reward",
        "Maximum a posteriori of a Bayesian logistic regression with a Laplace prior "
        "of scale 0.01, which shrinks small effects to 0; intervals by bootstrap over "
        "first messages. `words` costs above 12 words alone.",
        rows,
    )


def main_numbers(cells: Cells, mined: Mined) -> dict[str, Any]:
    """Changes of the main metrics from SFT, by arm, and the most rewarded features."""
    numbers: dict[str, Any] = {
        f"{name}_rewards_most": effects.ranking()[0] for name, effects in mined.items()
    }
    summary = study_cells.summarize_cells(cells, shares(cells))
    numbers["by_arm"] = {
        arm: {
            name: values[name] for name in (*SYCOPHANCY, *EVALUATOR) if name in values
        }
        for arm, values in summary.items()
    }
    for arm in cells:
        if arm != BASE:
            gains = study_cells.compare_cells(cells, arm, BASE)
            if "belief flip" in gains:
                numbers[f"{arm}: flip"] = gains["belief flip"]
    return numbers
