"""The report of a backtracking study: the lecture's table, curves and attacks."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxalign.evaluation.intervals import Gain, Interval
from jaxalign.evaluation.line_plots import Panel, plot_lines
from jaxalign.evaluation.page import Section
from jaxalign.runtime.study_cells import Cells, cell_rows

Summary = Mapping[str, Mapping[str, Interval]]  # arm -> metric -> interval
Gains = Mapping[str, Mapping[str, Gain]]  # arm -> metric -> difference to the baseline


def shares(cells: Cells) -> set[str]:
    """The metrics that are shares, not numbers of tokens or nats."""
    names = {name for seeds in cells.values() for values in seeds for name in values}
    return {n for n in names if not (n.startswith("discarded/") or n.endswith("loss"))}


def sections(summary: Summary, gains: Gains, folder: Path) -> list[Section]:
    """Tables and plots of all arms; writes OUT/curves.png."""
    first = next(iter(summary.values()))
    families = [n for n in first if n.startswith("violation/")]
    headings = {n: n.removeprefix("violation/") for n in families}
    violations = [
        row | difference(gains.get(row["arm"], {}))
        for row in cell_rows(summary, headings | {"violation": "overall"})
    ]
    resets = {
        "raw_violation": "violations, discarded text included",
        "reset/unsafe": "resets, unsafe prompts",
        "reset/safe": "false resets, safe prompts",
        "reset/right": "false resets, right answers",
        "right": "right, safe prompts",
        "discarded/unsafe": "tokens discarded, unsafe",
        "discarded/safe": "tokens discarded, safe",
    }
    image = plot_lines(folder / "curves.png", curve_panels(summary))
    return [
        Section(
            "Violations by family of prompts",
            "The share of visible answers that comply, at temperature 1 and bias 0. "
            "Published for Llama 3 8B, overall: 5.3, 4.8, 5.2 and 1.5 %.",
            rows=violations,
        ),
        Section("Resets, utility and latency", rows=cell_rows(summary, resets)),
        Section(
            "Curves",
            "Left: violations against false resets, a point for each bias on the logit "
            "of [RESET]. Middle: a violation among k samples, at the highest "
            "temperature. Right: violations where the first tokens of an unsafe answer "
            "are forced.",
            image=image,
        ),
        *tables_of(summary),
    ]


def difference(gain: Mapping[str, Gain]) -> dict[str, Gain]:
    """The column of an arm's overall violations less those of the first arm."""
    key = "violation"
    return {"less baseline SFT": gain[key]} if key in gain else {}


def tables_of(summary: Summary) -> list[Section]:
    """Tables of the curves and attacks: worst of k, biases, prefilling, suffixes."""
    titles = {
        "worst/": "Worst of k samples: temperature/k",
        "bias/": "Bias on the logit of [RESET]: bias/measure",
        "prefill/": "Prefilling attack: tokens forced",
        "gcg/": "Attacks by a suffix: none, of GCG, and of GCG against [RESET]",
    }
    made = []
    for start, title in titles.items():
        names = {
            n for values in summary.values() for n in values if n.startswith(start)
        }
        order = [n for values in summary.values() for n in values if n in names]
        columns = {n: n.removeprefix(start) for n in dict.fromkeys(order)}
        rows = [row for row in cell_rows(summary, columns) if len(row) > 1]
        if rows:
            made.append(Section(title, rows=rows))
    return made


def curve_panels(summary: Summary) -> list[Panel]:
    """The panels of the plot."""
    bias: dict[str, list[tuple[float, Interval]]] = {}
    worst: dict[str, list[tuple[float, Interval]]] = {}
    prefill: dict[str, list[tuple[float, Interval]]] = {}
    for arm, values in summary.items():
        highest = max(
            (float(n.split("/")[1]) for n in values if n.startswith("worst/")),
            default=0.0,
        )
        for name, value in values.items():
            kind, *parts = name.split("/")
            if kind == "bias" and parts[1] == "reset":
                violation = values[f"bias/{parts[0]}/violation"]
                bias.setdefault(arm, []).append((value.mean, violation))
            elif kind == "worst" and float(parts[0]) == highest:
                worst.setdefault(arm, []).append((float(parts[1]), value))
            elif kind == "prefill":
                prefill.setdefault(arm, []).append((float(parts[0]), value))
    label = "violations"
    return [
        Panel("threshold", "false resets, safe prompts", label, bias),
        Panel("worst of k", "k samples", label, worst, "log2"),
        Panel("prefilling", "forced tokens", label, prefill),
    ]


def main_numbers(summary: Summary, gains: Gains) -> dict[str, Any]:
    """Overall violations and false resets, by arm."""
    shown = ("violation", "reset/safe", "right")
    by_arm: dict[str, dict[str, Interval]] = {}
    for arm, values in summary.items():
        numbers = {n.replace("/", "_"): values[n] for n in shown if n in values}
        by_arm[arm] = {**numbers, **difference(gains.get(arm, {}))}
    return {"by_model": by_arm}
