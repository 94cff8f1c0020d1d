"""The report of the safety study: tables by arm, curves over shares, reward models."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxalign.evaluation import interval_plot, line_plots
from jaxalign.evaluation.intervals import Interval
from jaxalign.evaluation.page import Section
from jaxalign.pipeline.evaluation.answer_scorers import Scorer
from jaxalign.pipeline.safety_study import reward_scores, toy_files
from jaxalign.rewards.safety_gate import GATES
from jaxalign.runtime import study_cells

SHARE = "safety SFT "  # name of an arm, before its share in percent
METRICS = {
    "violation": "violation",
    "false refusal": "false refusal",
    "helpfulness": "helpfulness",
    "correct": "correct",
    "safety score": "safety score",
    "safety tail": "safety score, 10 % quantile",
    "quality": "refusal quality, 0-3",
    "by safety": "rewarded by safety",
}
ATTACKS = {
    "finds per 1,000": "finds per 1,000 queries",
    "old finds rejected": "old finds rejected",
    "violation": "violation",
}
ROWS = {"harmful": "harmful", "benign": "benign lookalikes", "other": "other"}
ROWS["violation"] = "violations"
BRANCHES = {f"{g}, {n}": f"{g}: {title}" for g in GATES for n, title in ROWS.items()}
SHARES = (
    *BRANCHES,
    *("violation", "false refusal", "correct", "refused", "by safety"),
    *("safety score", "old finds rejected"),
)
CURVES = ("violation", "safety score", "safety tail", "false refusal", "helpfulness")
TEXT = (
    "Violations and safety scores (of the safety model) are on harmful requests that "
    "training lacks; false refusals on benign ones that sound harmful; helpfulness is "
    "the true reward of the others. All at temperature 1."
)
Summary = Mapping[str, Mapping[str, Interval]]


def sections(
    summary: Summary,
    rounds: Sequence[str],
    reward_models: Sequence[Section],
    folder: Path,
) -> list[Section]:
    """The sections of the report; writes its plots into a folder.

    Args:
      rounds: names of arms that follow each other.
      reward_models: sections of the reward models.
    """
    plotted = ("violation", "false refusal", "safety tail")
    image = interval_plot.plot_intervals(
        folder / "safety.png",
        {
            arm: {METRICS[name]: values[name] for name in plotted if name in values}
            for arm, values in summary.items()
        },
        label="share, or probability",
        limits=(0.0, 1.0),
    )
    by_round = {name: summary[name] for name in rounds if name in summary}
    shown = [
        Section("policies", TEXT, study_cells.cell_rows(summary, METRICS), image),
        Section(
            "a fixed attacker, round after round",
            "Queries that were violations, and the share of the round before's finds "
            "that are rejected now.",
            study_cells.cell_rows(by_round, ATTACKS),
        ),
    ]
    shown.append(
        Section(
            "whom the safety model rewards, by gate",
            "Shares of the same answers that the safety model rewards, by the paper's "
            "gate (or) and by the slide's (and); the helpfulness model rewards the "
            "rest. Harmful requests are tagged, and no others.",
            study_cells.cell_rows(summary, BRANCHES),
        )
    )
    shares = share_curves(summary)
    if len(shares) > 1:
        panels = [
            line_plots.Panel(
                *(METRICS[name], "safety data used, %", ""),
                {"safety SFT": [(x, arm[name]) for x, arm in shares.items()]},
                "symlog",
            )
            for name in CURVES
        ]
        image = line_plots.plot_lines(folder / "shares.png", panels)
        text = "Helpful data are the same throughout."
        shown.append(Section("scaling of safety data", text, image=image))
    return [*shown, *reward_models]


def reward_sections(scorers: Mapping[str, Scorer], data: Path) -> list[Section]:
    """The sections of the reward models: accuracy on pairs, and unsafe answers found.

    Args:
      scorers: raw scores by model; of unsafe answers those of safety models.
      data: the folder of the pairs of one seed.
    """
    pairs = {
        name: data / f"{folder}_pairs" / toy_files.WRITTEN
        for name, folder in (("helpfulness", "helpful"), ("safety", "safety"))
    }
    safety = {name: x for name, x in scorers.items() if name.startswith("safety")}
    return [
        Section(
            "reward models on held-out pairs",
            "Of the first seed; each model also on the other one's pairs.",
            reward_scores.accuracy_rows(scorers, pairs),
        ),
        Section(
            "unsafe answers found by a safety model's score",
            "Flagged below a threshold on the sigmoid of the score.",
            reward_scores.gate_rows(safety, pairs["safety"]),
        ),
    ]


def share_curves(summary: Summary) -> dict[float, Mapping[str, Interval]]:
    """The arms of safety-data shares, by their share in percent, rising."""
    found = {
        float(arm.removeprefix(SHARE).removesuffix(" %")): values
        for arm, values in summary.items()
        if arm.startswith(SHARE)
    }
    return dict(sorted(found.items()))


def main_numbers(summary: Summary) -> dict[str, Any]:
    """The main metrics of each arm."""
    names = ("violation", "false refusal", "helpfulness", "finds per 1,000")
    return {
        "by_model": {
            arm: {name: values[name].mean for name in names if name in values}
            for arm, values in summary.items()
        }
    }
