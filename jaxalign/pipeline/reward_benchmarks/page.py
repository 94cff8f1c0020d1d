"""The page of a reward on benchmarks: tables and plots from its numbers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxalign.evaluation.calibration import reliability_plot
from jaxalign.evaluation.calibration.measures import ReliabilityBin
from jaxalign.evaluation.page import Section
from jaxalign.evaluation.report import Row
from jaxalign.evaluation.reward_benchmarks import accuracy_plot, reward_bench, rm_bench
from jaxalign.pipeline.reward_benchmarks.numbers import Numbers

ABSENT = "absent"
AT_TEMPERATURE = "bins_at_temperature"


def sections(numbers: Numbers, folder: Path) -> list[Section]:
    """The sections of the page, in order; plots are written into the folder."""
    found = [subset_section(numbers, folder)]
    if part := numbers.get("reward_bench"):
        found.insert(0, reward_bench_section(part))
    if part := numbers.get("reward_bench_2"):
        found.append(best_of_section(part))
    if part := numbers.get("rm_bench"):
        found += rm_bench_sections(part)
    if part := numbers.get("pairs"):
        found.append(length_section(part))
    if part := numbers.get("margins"):
        found.append(group_section("margin", part))
    for field, part in numbers.get("split", {}).items():
        found.append(group_section(field, part))
    if part := numbers.get("calibration"):
        found.append(calibration_section(part, folder))
    return found


def reward_bench_section(part: Numbers) -> Section:
    """RewardBench's sections; the overall score, or which sections are not whole."""
    rows: list[Row] = []
    incomplete = []
    for name, score in part["sections"].items():
        missing = score["missing"]
        total = len(reward_bench.SECTIONS.get(name, reward_bench.PRIOR_SETS))
        if missing and name in reward_bench.SECTIONS:
            incomplete.append(name)
        rows.append(
            {
                "section": name,
                "accuracy": score["accuracy"] or ABSENT,
                "pairs": score["rows"],
                "subsets": f"{total - len(missing)} of {total}",
                "absent": ", ".join(missing if score["rows"] else ()) or None,
            }
        )
    text = (
        "A section is the mean of its subsets, weighted by their published numbers of "
        "rows (math-prm as much as all code)."
    )
    if part["overall"] is None:
        text += (
            f" There is no overall score: {', '.join(incomplete)} "
            f"{'is' if len(incomplete) == 1 else 'are'} absent or incomplete, and the "
            "score of an incomplete section is not the benchmark's."
        )
    else:
        rows.append({"section": "overall", "accuracy": part["overall"]})
    if part["overall with prior sets"] is not None:
        older = part["overall with prior sets"]
        rows.append({"section": "overall, older board", "accuracy": older})
    return Section("RewardBench", text, rows)


def every_subset(numbers: Numbers) -> dict[str, Numbers]:
    """The subsets of all layouts, by name; a name of two layouts states its own."""
    found: dict[str, Numbers] = {}
    for key, suffix in (("pairs", ""), ("reward_bench_2", " (best of 4)")):
        for name, part in numbers.get(key, {}).get("subsets", {}).items():
            found[name + suffix if name in found else name] = part
    if part := numbers.get("rm_bench"):
        found |= {f"RM-Bench {k}": v for k, v in part["levels"].items()}
    return found


def subset_section(numbers: Numbers, folder: Path) -> Section:
    """Accuracy by subset, and its plot beside "longer wins"."""
    subsets = every_subset(numbers)
    chance = {name: part.get("chance", 0.5) for name, part in subsets.items()}
    image = accuracy_plot.plot_accuracy(
        folder / "accuracy.png",
        {name: part["accuracy"] for name, part in subsets.items()},
        baseline={name: part["longer wins"] for name, part in subsets.items()},
        chance=chance | {"Ties": np.nan},
        title=str(numbers["reward"]),
    )
    rows = [
        {
            "subset": name,
            "section": reward_bench.section_of(name),
            "rows": part["rows"],
            "accuracy": part["accuracy"],
            "longer wins": part["longer wins"],
        }
        for name, part in subsets.items()
    ]
    equal = numbers["equal scores count as"]
    pairs = numbers.get("pairs") or {"equal scores": 0, "rows": 0}
    text = (
        f"{pairs['equal scores']} of {pairs['rows']} pairs have equal scores, which "
        f"count as {equal}. “Longer wins” is the accuracy of the longer answer, in "
        "characters."
    )
    return Section("Accuracy by subset", text, rows, image)


def best_of_section(part: Numbers) -> Section:
    """RewardBench 2: best of four, and the parts of the Ties score."""
    rows: list[Row] = [
        {
            "subset": name,
            "rows": score["rows"],
            "score": score["accuracy"],
            "chance": score.get("chance"),
            **score.get("parts", {}),
        }
        for name, score in part["subsets"].items()
    ]
    text = (
        "The score of a row is 1 where the right answer has the highest score of all, "
        "divided among equal ones. Ties: 0.3 accurate_tied + 0.3 accurate_ref + "
        "0.2 closer + 0.2 closer_hard + 0.01 gap."
    )
    if part["missing"]:
        text += f" There is no overall score: {', '.join(part['missing'])} absent."
    else:
        rows.append({"subset": "overall", "score": part["overall"]})
    return Section("RewardBench 2", text, rows)


def rm_bench_sections(part: Numbers) -> list[Section]:
    """RM-Bench: the matrix of styles, and levels by domain."""
    matrix: list[Row] = [
        {"chosen / rejected": chosen}
        | dict(zip(part["styles"], map(float, row), strict=True))
        for chosen, row in zip(part["styles"], np.asarray(part["matrix"]), strict=True)
    ]
    domains: list[Row] = []
    for domain in (*rm_bench.DOMAINS, "overall"):
        levels = {k: v[domain] or ABSENT for k, v in part["domains"].items()}
        domains.append({"domain": domain, **levels})
    text = (
        "Easy: the right answer has the richer style; normal: the same style; hard: "
        "the wrong answer has the richer one. Overall is the mean of the four domains."
    )
    if part["missing"]:
        text += f" Absent: {', '.join(part['missing'])}; so there is no overall score."
    return [
        Section("RM-Bench: accuracy by style", rows=matrix),
        Section("RM-Bench: accuracy by domain", text, domains),
    ]


def length_section(part: Numbers) -> Section:
    """Accuracy on pairs against the lengths of the answers."""
    names = {
        "all": "all",
        "longer wins": "all: the longer answer wins",
        "difference": "all: difference of the two",
        "chosen longer": "the chosen answer is longer",
        "rejected longer": "the rejected answer is longer",
        "equal lengths": "both are as long",
    }
    rows: list[Row] = [
        {"pairs": names[name], "number": found["pairs"], "accuracy": found["accuracy"]}
        for name, found in part["length"].items()
    ]
    rows += [
        {"pairs": name, "number": group["rows"], "accuracy": group["accuracy"]}
        for name, group in part["length groups"].items()
        if "twice" in name
    ]
    text = (
        "A reward that prefers length is right where the chosen answer is longer and "
        "wrong where the rejected one is."
    )
    return Section("Accuracy against length, all pairs", text, rows)


def group_section(column: str, part: Numbers) -> Section:
    """Accuracy on pairs by rating margin, or by the values of a field."""
    rows: list[Row] = [{column: value, **group} for value, group in part.items()]
    return Section(f"Accuracy by {column}", rows=rows)


def calibration_section(part: Numbers, folder: Path) -> Section:
    """Calibration on pairs, and the reliability diagram."""
    bins = lambda name: [ReliabilityBin(**row) for row in part[name]]
    image = reliability_plot.plot_reliability(
        folder / "reliability.png",
        {"as it is": bins("bins"), "at the best temperature": bins(AT_TEMPERATURE)},
        probability="confidence of the reward in its choice",
        frequency="accuracy",
    )
    row: Row = {
        "ECE": part["ece"],
        "Brier": part["brier"],
        "NLL": part["nll"],
        "NLL at temperature": part["nll_at_temperature"],
        "temperature": part["temperature"],
        "confidence": part["confidence"],
        "accuracy": part["accuracy"],
    }
    text = (
        "The confidence of a choice is sigmoid(|reward difference|), which has a "
        "meaning for rewards trained by Bradley-Terry; equal scores are half right "
        f"here. The best temperature is {temperature_text(part['temperature'].mean)}; "
        "its NLL is measured on prompts that it was not fitted on. A calibrated "
        f"reward would have an ECE of {part['ece_of_chance']:.3f} by chance, in 5 % of "
        f"samples above {part['ece_of_chance_95']:.3f}."
    )
    if part["bayes_accuracy"] < 1.0:
        text += (
            " Labels are soft: the best possible accuracy is "
            f"{part['bayes_accuracy']:.3f}."
        )
    return Section("Calibration, all pairs", text, [row], image)


def temperature_text(temperature: float) -> str:
    """A temperature in words.

    >>> temperature_text(2.0), temperature_text(0.0)
    ('2.000 (over-confident)', '0: no choice is wrong')
    """
    if temperature == 0.0:
        return "0: no choice is wrong"
    if not np.isfinite(temperature):
        return "infinite: differences do not predict which choices are right"
    side = "over" if temperature > 1 else "under"
    return f"{temperature:.3f} ({side}-confident)"


def missing_parts(numbers: Mapping[str, Any]) -> Sequence[str]:
    """One sentence for each benchmark of which a part is absent."""
    lines = []
    if part := numbers.get("reward_bench"):
        absent = [n for n, s in part["sections"].items() if s["rows"] == 0]
        partial = [n for n, s in part["sections"].items() if s["rows"] and s["missing"]]
        if absent:
            lines.append(f"RewardBench: no rows of {', '.join(absent)}")
        for name in partial:
            names = ", ".join(part["sections"][name]["missing"])
            lines.append(f"RewardBench: {name} is without {names}")
        counts = {n: x["rows"] for n, x in numbers["pairs"]["subsets"].items()}
        published = reward_bench.PUBLISHED_ROWS
        other = [
            f"{name} ({counts[name]} rows of {rows})"
            for name, rows in published.items()
            if counts.get(name, rows) != rows
        ]
        if other:
            lines.append(f"RewardBench: not the published subsets: {', '.join(other)}")
    if (part := numbers.get("reward_bench_2")) and part["missing"]:
        lines.append(f"RewardBench 2: no rows of {', '.join(part['missing'])}")
    if (part := numbers.get("rm_bench")) and part["missing"]:
        lines.append(f"RM-Bench: no rows of {', '.join(part['missing'])}")
    return lines
