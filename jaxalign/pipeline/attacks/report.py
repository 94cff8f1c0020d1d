"""The tables and plots of a study of attacks, from the intervals of its cells."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxalign.evaluation import interval_plot
from jaxalign.evaluation.attacks import power_laws
from jaxalign.evaluation.intervals import Interval
from jaxalign.evaluation.line_plots import Panel, Points, plot_lines
from jaxalign.evaluation.page import Section
from jaxalign.pipeline.attacks.measures import AT_THRESHOLD, AT_TRIES

Summary = Mapping[str, Mapping[str, Interval]]
PREFILL, MANY_SHOT, BEST_OF, GCG = "prefill-", "many-shot-", "best-of-", "gcg"
RATES = {
    "success": "attack success",
    "won": "and on topic",
    "refused": "refused",
    "broken": "broken",
    "off_topic": "off topic",
    "score": "score",
    "nll": "NLL of the target",
}
THRESHOLD = "refusal threshold"
LIMITS = (-0.03, 1.03)  # of shares
LAW = "power law"
NOT_APPLICABLE = "not applicable"
ATTACK_TEXT = (
    "Attack success by the judge; an answer that is broken, or neither a refusal nor "
    "what was asked for (off topic), is what an attack won in place of success. Of "
    "best-of-N the success is that within N tries, the other rates are of single ones."
)
DEFENSE_TEXT = (
    "Success is the mean over all rewritten requests, any success whether one of them "
    "succeeds, over-refusal the share of safe requests that are refused: a pair of "
    "numbers, never one. Each defence is a curve along its setting."
)


def arms_by_number(summary: Summary, prefix: str) -> dict[int, Mapping[str, Interval]]:
    """The arms of an attack by its number: of tokens, shots or tries, rising."""
    arms = {
        int(name.removeprefix(prefix)): values
        for name, values in summary.items()
        if name.startswith(prefix)
    }
    return dict(sorted(arms.items()))


def at_tries(values: Mapping[str, Interval]) -> dict[int, Interval]:
    """Attack success within k tries, by k."""
    return {
        int(name.removeprefix(AT_TRIES)): interval
        for name, interval in values.items()
        if re.fullmatch(rf"{AT_TRIES}\d+", name)
    }


def attack_rows(summary: Summary, attacks: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row for each attack that was measured, and for those that do not apply."""
    rows: list[dict[str, Any]] = []
    for name in attacks:
        if attacks[name] is None:
            rows.append({"attack": name, RATES["success"]: NOT_APPLICABLE})
        elif name in summary:
            rows.append({"attack": name} | rates_of(summary[name]))
    families = (PREFILL, MANY_SHOT, BEST_OF, GCG)
    for name, values in summary.items():
        if name.startswith(families):
            row: dict[str, Any] = {"attack": name} | rates_of(values)
            if tries := at_tries(values):  # in all of them, not in a single one
                row[RATES["success"]] = tries[max(tries)]
            rows.append(row)
    return rows


def rates_of(values: Mapping[str, Interval]) -> dict[str, Interval]:
    """The columns of an attack."""
    return {title: values[name] for name, title in RATES.items() if name in values}


def success_law(tries: Mapping[int, Interval]) -> tuple[Any, str]:
    """The power law of success in the first half of the tries, and a sentence.

    Returns:
      The law or None, and what it predicts of the most tries, or why there is none.
    """
    counts = list(tries)
    first = counts[: max(len(counts) // 2 + 1, 3)]
    if len(first) == len(counts):
        first = counts[:-1]
    try:
        law = power_laws.fit_success_law(first, [tries[k].mean for k in first])
    except ValueError as error:
        return None, f"No power law: {error}."
    most = counts[-1]
    return law, (
        f"-log ASR(N) = {law.a:.3f} N^-{law.b:.3f}, fitted to N up to {first[-1]}, "
        f"predicts {float(law.success(most)):.3f} at N = {most}; measured "
        f"{tries[most].mean:.3f}."
    )


def shot_law(shots: Mapping[int, Interval]) -> tuple[Any, str]:
    """The power law of the target's NLL in the number of shots, and a sentence."""
    counts = [k for k, x in shots.items() if k > 0 and not np.isnan(x.mean)]
    try:
        law = power_laws.fit_shot_law(counts, [shots[k].mean for k in counts])
    except ValueError as error:
        return None, f"No power law: {error}."
    if law.c <= 0:
        return None, "No power law: from the first shot on, more do not lower the NLL."
    gap = max(abs(float(law.nll(k)) - shots[k].mean) for k in counts)
    return law, (
        f"NLL(k) = {law.c:.3f} k^-{law.alpha:.2f} + {law.floor:.3f} nats; its largest "
        f"error is {gap:.3f} nats."
    )


def defense_points(
    summary: Summary, arms: Mapping[str, Sequence[str]]
) -> dict[str, list[tuple[str, Interval, Interval]]]:
    """The curve of each defence: points of (setting, over-refusal, success).

    The thresholds on the refusal of an arm are a curve of their own.

    Args:
      arms: the arms of each defence, from weak to strong.
    """
    curves: dict[str, list[tuple[str, Interval, Interval]]] = {}
    for defense, names in arms.items():
        for name in names:
            values = summary.get(name, {})
            for metric, success in values.items():
                kind, at, threshold = metric.partition(AT_THRESHOLD)
                cost = values.get(f"over_refusal{at}{threshold}")
                if kind != "success" or cost is None:
                    continue
                curve = THRESHOLD if threshold else defense
                point = (f"{threshold} nats" if threshold else name, cost, success)
                if point not in curves.setdefault(curve, []):
                    curves[curve].append(point)
    return curves


def defense_rows(summary: Summary, arms: Mapping[str, Sequence[str]]) -> list[Any]:
    """A row for each point of the curves."""
    rows = []
    for curve, points in defense_points(summary, arms).items():
        for setting, cost, success in points:
            row = {"defence": curve, "setting": setting, "success": success}
            if setting in summary:
                more = {"any success": "any_success", "no attack": "plain_success"}
                row |= {k: summary[setting][v] for k, v in more.items()}
            rows.append(row | {"over-refusal": cost})
    return rows


def sections(
    summary: Summary,
    attacks: Mapping[str, Any],
    defenses: Mapping[str, Sequence[str]],
    folder: Path,
) -> list[Section]:
    """The parts of the page, with plots in a folder."""
    rows = attack_rows(summary, attacks)
    lines = {
        row["attack"]: {"attack success": row[RATES["success"]]}
        for row in rows
        if isinstance(row.get(RATES["success"]), Interval)
    }
    image = interval_plot.plot_intervals(
        folder / "attacks.png", lines, label="attack success", limits=(-0.02, 1.02)
    )
    parts = [Section("Attacks", ATTACK_TEXT, rows, image)]
    laws = []
    if shots := {k: v["nll"] for k, v in arms_by_number(summary, MANY_SHOT).items()}:
        laws.append(f"Many shots: {shot_law(shots)[1]}")
    for values in arms_by_number(summary, BEST_OF).values():
        tries = at_tries(values)
        laws.append(f"Best of N: {success_law(tries)[1]}")
        found = [{"tries": k, "attack success": x} for k, x in tries.items()]
        parts.append(Section("Best-of-N: success within N tries", laws[-1], found))
    if GCG in summary:
        parts.append(gcg_section(summary[GCG]))
    if rows := defense_rows(summary, defenses):
        parts.append(Section("Defences", DEFENSE_TEXT, rows))
    drawn = plot_study(folder / "study.png", summary, defenses)
    parts.append(Section("Along the numbers", "\n\n".join(laws), image=drawn))
    return parts


def gcg_section(values: Mapping[str, Interval]) -> Section:
    """What the suffix did to the target, and its transfer."""
    text = (
        "One suffix, optimized on some requests together; transfer is its success on "
        "the others. NLL is the target's per token in nats, p its probability "
        "(geometric mean), before the search and after it."
    )
    names = ("optimized", "transfer", "nll_before", "nll_after", "p_before", "p_after")
    row = {n.replace("_", " "): values[n] for n in names if n in values}
    return Section("GCG", text, [row])


def plot_study(
    path: Path, summary: Summary, defenses: Mapping[str, Sequence[str]]
) -> Path | None:
    """Four panels: prefilled tokens, shots, tries, and the curves of the defences.

    Those without numbers are left out; without any there is no plot.
    """
    prefill = {k: v["success"] for k, v in arms_by_number(summary, PREFILL).items()}
    panels = [
        Panel(
            *("prefilling", "tokens of the answer given", "attack success"),
            {"_prefill": list(prefill.items())},
            limits=LIMITS,
        ),
        shots_panel(summary),
        tries_panel(summary),
        defenses_panel(defense_points(summary, defenses)),
    ]
    panels = [panel for panel in panels if any(panel.lines.values())]
    return plot_lines(path, panels) if panels else None


def shots_panel(summary: Summary) -> Panel:
    """The target's NLL against shots, with its power law."""
    shots = {k: v["nll"] for k, v in arms_by_number(summary, MANY_SHOT).items()}
    law, _ = shot_law(shots)
    places = np.linspace(1, max(shots, default=1), 200)
    return Panel(
        *("many shots", "shots", "-log p of the answer (nats)"),
        {"_shots": list(shots.items())},
        dashed={LAW: list(zip(places, law.nll(places), strict=True))} if law else {},
    )


def tries_panel(summary: Summary) -> Panel:
    """Success within N tries, with the power law of the first half."""
    lines: dict[str, Points] = {}
    dashed: dict[str, Points] = {}
    for most, values in arms_by_number(summary, BEST_OF).items():
        tries = at_tries(values)
        lines[f"_best of {most}"] = list(tries.items())
        law, _ = success_law(tries)
        if law is not None:
            predicted = law.success(list(tries))
            dashed[LAW] = list(zip(tries, predicted, strict=True))
    return Panel(
        *("best of N, and the law of their first half", "tries", "attack success"),
        lines,
        "log2",
        dashed,
        LIMITS,
    )


def defenses_panel(
    curves: Mapping[str, Sequence[tuple[str, Interval, Interval]]],
) -> Panel:
    """Attack success against over-refusal, a line for each defence."""
    lines = {
        name: [(cost.mean, success.mean) for _, cost, success in points]
        for name, points in curves.items()
    }
    return Panel(
        "defences",
        "over-refusal of safe requests",
        "attack success, mean over attacks",
        lines,
        limits=LIMITS,
    )
