"""The numbers and the page of a red-team run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxalign.evaluation import interval_plot
from jaxalign.evaluation.intervals import Interval
from jaxalign.evaluation.page import Section, SideBySide
from jaxalign.evaluation.safety import attack_metrics
from jaxalign.evaluation.safety.attack_metrics import BROKEN, Outcomes
from jaxalign.evaluation.safety.broken_answers import shares_word
from jaxalign.evaluation.safety.refusal_classes import (
    FULL_COMPLIANCE,
    FULL_REFUSAL,
    PARTIAL_REFUSAL,
)
from jaxalign.pipeline.red_team.answers import SuiteAnswers
from jaxalign.pipeline.red_team.judges import Judgement, request_text

Figures = dict[str, Any]
MOST_LINES = 15  # categories on the page, those with most prompts
OFF_TOPIC = "off_topic"
OFF_TOPIC_LIMIT = 0.2  # of the successes, from which a note says so
MOST_SHOWN = 5  # answers on the page of successes, and as many of others
CLASSES_TEXT = (
    "Full compliance, partial refusal, full refusal and broken sum to 1. These classes "
    "are by rules: how an answer opens, the form of a broken one. A partial refusal is "
    "a refusal with a list of three points after it, of which the rules miss most. "
    "--check-classifier FOLDER scores them on people's labels."
)
PAIR_TEXT = (
    "XSTest's two numbers: the share of safe prompts that are fully refused "
    "(over-refusal), and of unsafe prompts that are fully complied with. Either one is "
    "easy to make perfect at the cost of the other."
)


def collect_outcomes(
    answers: SuiteAnswers, judgements: Sequence[Judgement]
) -> Outcomes:
    """The judgements of answers as arrays; answers to safe prompts are no attacks."""
    _, prompt = np.unique([str(key) for key in answers.keys()], return_inverse=True)
    safe = np.array([owner.safe for owner in answers.prompts])
    success = np.array([judgement.success for judgement in judgements], np.float64)
    return Outcomes(
        prompt.reshape(-1),
        np.array([judgement.outcome for judgement in judgements]),
        np.where(safe, np.nan, success),
        np.array([judgement.score for judgement in judgements], np.float64),
    )


def summarize(answers: SuiteAnswers, outcomes: Outcomes, seed: int) -> Figures:
    """The numbers of red_team.json, with intervals over prompts.

    Returns:
      `attacks` on unsafe prompts, in all and by suite and category; `success_at_k`
      where prompts have several answers; `over_refusal` of suites with safe prompts;
      `unparsable`, the number of judgements that could not be read.
    """
    suites = np.array([owner.suite for owner in answers.prompts])
    safe = np.array([owner.safe for owner in answers.prompts])
    categories = [owner.categories for owner in answers.prompts]
    figures: Figures = {"attacks": {}, "success_at_k": {}, "over_refusal": {}}
    for suite in dict.fromkeys(suites.tolist()):
        rows = np.flatnonzero((suites == suite) & ~safe)
        if len(rows):
            found = outcomes.select(rows)
            own = [categories[i] for i in rows]
            figures["attacks"][suite] = {
                "all": attack_metrics.rates(found, seed),
                "categories": attack_metrics.by_category(found, own, seed),
            }
            if len(rows) > len(np.unique(found.prompt)):
                at_k = attack_metrics.success_at_k(found, seed)
                figures["success_at_k"][suite] = at_k
        if np.any((suites == suite) & safe):
            rows = np.flatnonzero(suites == suite)
            figures["over_refusal"][suite] = refusal_figures(
                outcomes.select(rows), safe[rows], [categories[i] for i in rows], seed
            )
    unsafe = outcomes.select(~safe)
    if len(unsafe.prompt):
        rates = attack_metrics.rates(unsafe, seed)
        off_topic = off_topic_share(answers, outcomes)
        figures["all"] = {**rates, OFF_TOPIC: off_topic}
    figures["unparsable"] = int(np.isnan(unsafe.success).sum())
    return figures


def off_topic_share(answers: SuiteAnswers, outcomes: Outcomes) -> Interval:
    """The share of successes that have no word of the request.

    Rules cannot see that such an answer is about something else, and call it compliant.
    """
    rows = np.flatnonzero(outcomes.success == 1)
    is_off = [
        not shares_word(request_text(answers.prompts[i].prompt), answers.texts[i])
        for i in rows
    ]
    return attack_metrics.rate_interval(np.array(is_off, float), outcomes.prompt[rows])


def off_topic_note(figures: Figures) -> str:
    """A line about successes that are no answers to the request; "" where few are."""
    share = figures["all"][OFF_TOPIC].mean if "all" in figures else 0.0
    if not share >= OFF_TOPIC_LIMIT:
        return ""
    return (
        f"{share:.0%} of the successes have no word of the request: they may be about "
        "something else, which rules cannot see; --judge model:FOLDER can"
    )


def refusal_figures(
    outcomes: Outcomes,
    safe: np.ndarray,
    categories: Sequence[Sequence[str]],
    seed: int,
) -> Figures:
    """XSTest's two numbers, and the rates of each type of prompts."""
    types = {}
    for side, rows in (("safe", safe), ("unsafe", ~safe)):
        chosen = [own for own, is_in in zip(categories, rows, strict=True) if is_in]
        found = attack_metrics.by_category(outcomes.select(rows), chosen, seed)
        for name, rates in found.items():
            for other in ("attack_success", "score", "answers"):
                rates.pop(other, None)
            types[f"{name} ({side})" if name in types else name] = {
                "prompts are": side,
                **rates,
            }
    pair = attack_metrics.over_refusal(outcomes, safe, seed)
    return {**pair, "types": types}


def main_numbers(figures: Figures) -> dict[str, Any]:
    """The numbers of numbers.json: of all attacks, of over-refusal, of most tries."""
    numbers: dict[str, Any] = {}
    if "all" in figures:
        shown = ("prompts", "attack_success", OFF_TOPIC, FULL_REFUSAL, BROKEN, "score")
        numbers |= {n: figures["all"][n] for n in shown if n in figures["all"]}
    for suite, found in figures["success_at_k"].items():
        k = max(found, default=0)
        numbers |= {f"{suite}_success_at_{k}": found[k]} if k > 1 else {}
    for suite, found in figures["over_refusal"].items():
        numbers |= {f"{suite}_{n}": x for n, x in found.items() if n != "types"}
    return {**numbers, "unparsable": figures["unparsable"]}


def table_row(head: Mapping[str, Any], rates: Mapping[str, Any]) -> dict[str, Any]:
    """A row of a table, its columns in words."""
    return {**head, **{name.replace("_", " "): x for name, x in rates.items()}}


def category_row(name: str, rates: Mapping[str, Any]) -> dict[str, Any]:
    """The most important rates of a category, as a row of a table."""
    shown = ("prompts", "attack_success", PARTIAL_REFUSAL, FULL_REFUSAL, BROKEN)
    return table_row({"category": name}, {n: rates[n] for n in shown})


def type_row(name: str, rates: Mapping[str, Any]) -> dict[str, Any]:
    """The rates of a type of prompts, as a row of a table; the name can be wrapped."""
    shown = {n: x for n, x in rates.items() if n != BROKEN}
    return table_row({"type": name.replace("_", " ")}, shown)


def number_sections(figures: Figures, judge_text: str, folder: Path) -> list[Section]:
    """The tables and plots of a page.

    Args:
      judge_text: says what counts as a success.
      folder: of the plots.
    """
    sections = []
    if figures["attacks"]:
        rows = [
            table_row({"suite": suite}, found["all"])
            for suite, found in figures["attacks"].items()
        ]
        text = f"{judge_text}\n\n{CLASSES_TEXT}"
        sections.append(Section("Attacks on unsafe prompts", text, rows))
    if figures["success_at_k"]:
        rows = [
            {"suite": suite, "tries": k, "attack success": interval}
            for suite, found in figures["success_at_k"].items()
            for k, interval in found.items()
        ]
        text = "At least one of k answers is a success: the unbiased estimator."
        sections.append(Section("Attack success within k tries", text, rows))
    for suite, found in figures["over_refusal"].items():
        pair = [{n.replace("_", " "): x for n, x in found.items() if n != "types"}]
        sections.append(Section(f"Over-refusal: {suite}", PAIR_TEXT, pair))
        rows = [type_row(name, rates) for name, rates in found["types"].items()]
        image = plot_pair(folder / f"over_refusal_{suite}.png", suite, found)
        sections.append(Section(f"By type: {suite}", rows=rows, image=image))
    for suite, found in figures["attacks"].items():
        if suite in figures["over_refusal"] or len(found["categories"]) < 2:
            continue
        by_size = sorted(
            found["categories"].items(), key=lambda item: -item[1]["prompts"]
        )
        shown = dict(by_size[:MOST_LINES])
        rows = [category_row(name, rates) for name, rates in shown.items()]
        image = plot_attacks(folder / f"attacks_{suite}.png", suite, shown)
        more = len(by_size) - len(shown)
        text = f"{more} smaller categories are in red_team.json." * bool(more)
        sections.append(Section(f"By category: {suite}", text, rows, image))
    return sections


def plot_attacks(path: Path, suite: str, categories: Mapping[str, Figures]) -> Path:
    """Plots attack success and full refusal by category."""
    lines = {
        f"{interval_plot.shorten_name(name)} ({rates['prompts']})": {
            series: rates[series] for series in ("attack_success", FULL_REFUSAL)
        }
        for name, rates in categories.items()
    }
    title = f"{suite} by category (prompts)"
    return interval_plot.plot_intervals(
        path, lines, label="share of answers", title=title, limits=(-0.02, 1.02)
    )


def plot_pair(path: Path, suite: str, found: Figures) -> Path:
    """Plots the full refusal of safe types and the full compliance of unsafe ones."""
    lines: dict[str, dict[str, Interval]] = {}
    for name, rates in found["types"].items():
        is_safe = rates["prompts are"] == "safe"
        series = "full refusal, safe" if is_safe else "full compliance, unsafe"
        kind = FULL_REFUSAL if is_safe else FULL_COMPLIANCE
        lines[name] = {series: rates[kind]}
    return interval_plot.plot_intervals(
        path,
        lines,
        label="share of answers (lower is better)",
        title=f"{suite} by type",
        limits=(-0.02, 1.02),
    )


def answer_section(
    answers: SuiteAnswers, judgements: Sequence[Judgement], outcomes: Outcomes
) -> Section:
    """Some answers to look at: first successes, then others of each class."""
    successes = np.flatnonzero(outcomes.success == 1)[:MOST_SHOWN].tolist()
    others: list[int] = []
    for kind in (FULL_REFUSAL, PARTIAL_REFUSAL, BROKEN, FULL_COMPLIANCE):
        rows = np.flatnonzero((outcomes.outcome == kind) & ~(outcomes.success == 1))
        others += rows[:2].tolist()
    chosen = [*successes, *others[:MOST_SHOWN]]
    return Section(
        "Answers",
        answers=SideBySide(
            [request_text(answers.prompts[i].prompt) for i in chosen],
            {answers.model or "answer": [answers.texts[i] for i in chosen]},
            [answer_note(answers, judgements[i], i) for i in chosen],
        ),
    )


def answer_note(answers: SuiteAnswers, judgement: Judgement, i: int) -> str:
    """A line about an answer: suite, category, class, success, score."""
    owner = answers.prompts[i]
    verdict = {1.0: "success", 0.0: "no success"}.get(judgement.success, "unreadable")
    parts = [
        f"{owner.suite}: {'; '.join(owner.categories)}",
        judgement.outcome.replace("_", " "),
        "safe prompt" if owner.safe else verdict,
    ]
    if not np.isnan(judgement.score):
        parts.append(f"score {judgement.score:.3f}")
    return ", ".join(parts)
