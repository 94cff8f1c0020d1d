"""The numbers and the page of an MT-Bench run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxalign.evaluation import interval_plot
from jaxalign.evaluation.benchmarks import mt_bench
from jaxalign.evaluation.benchmarks.mt_bench import Figures, Grade, Verdict
from jaxalign.evaluation.intervals import Interval
from jaxalign.evaluation.page import Section, SideBySide
from jaxalign.pipeline.mt_bench.judging import Row

MOST_SHOWN = 8  # questions whose answers are on the page
RATING_TEXT = (
    "The mean of a judge's ratings from 1 to 10, with intervals over questions. "
    "Unparsable texts of the judge are left out. Differences below 1 in a category "
    "mean nothing, and scores of different judges cannot be compared."
)
PAIR_TEXT = (
    "Answers compared in both orders: a win needs both, everything else is a tie, "
    "which counts half. Consistent is the share with one verdict in both orders, "
    "first bias the share in which the first shown wins both times less that in "
    "which the second does."
)


def summarize(
    ratings: Sequence[Row], pairs: Sequence[Row], answers: Sequence[Row], seed: int
) -> dict[str, Any]:
    """The numbers of mt_bench.json.

    Args:
      ratings, pairs, answers: rows of ratings.jsonl, pairs.jsonl and answers.jsonl.
    """
    grades = [
        Grade(row["question_id"], row["category"], row["turn"], row["rating"])
        for row in ratings
    ]
    verdicts = [
        Verdict(row["question_id"], *(row[name] for name in Verdict._fields[1:]))
        for row in pairs
    ]
    figures: dict[str, Any] = {
        "single": {
            "all": mt_bench.grade_figures(grades, seed),
            "categories": {
                name: mt_bench.grade_figures(
                    [grade for grade in grades if grade.category == name], seed
                )
                for name in dict.fromkeys(grade.category for grade in grades)
            },
        },
        "unanswered": sum(text is None for row in answers for text in row["answers"]),
    }
    if pairs:
        turns = sorted({verdict.turn for verdict in verdicts})
        parts = {
            f"turn {turn}": [v for v in verdicts if v.turn == turn] for turn in turns
        }
        names = dict.fromkeys(verdict.category for verdict in verdicts)
        parts |= {name: [v for v in verdicts if v.category == name] for name in names}
        figures["pairs"] = {"all": mt_bench.pair_figures(verdicts, seed)} | {
            name: mt_bench.pair_figures(part, seed) for name, part in parts.items()
        }
    return figures


def main_numbers(figures: dict[str, Any]) -> dict[str, Any]:
    """The numbers of numbers.json."""
    numbers: dict[str, Any] = dict(figures["single"]["all"])
    numbers["unanswered"] = figures["unanswered"]
    if "pairs" in figures:
        both = figures["pairs"]["all"]
        numbers |= {n: both[n] for n in ("win_rate", "consistent", "first_bias")}
        numbers["unparsable_pairs"] = both["unparsable"]
    return numbers


def figure_row(name: str, figures: Figures) -> dict[str, Any]:
    """A row of a table, its columns in words."""
    return {"": name, **{key.replace("_", " "): x for key, x in figures.items()}}


def sections(figures: dict[str, Any], folder: Path) -> list[Section]:
    """The tables and the plot of a page.

    Args:
      folder: of the plot.
    """
    single = figures["single"]
    rows = [figure_row("all", single["all"])]
    rows += [figure_row(name, found) for name, found in single["categories"].items()]
    image = plot_categories(folder / "categories.png", single["categories"])
    page = [Section("Ratings", RATING_TEXT, rows, image)]
    if "pairs" in figures:
        rows = [figure_row(name, found) for name, found in figures["pairs"].items()]
        page.append(Section("Against the baseline", PAIR_TEXT, rows))
    return page


def plot_categories(path: Path, categories: dict[str, Figures]) -> Path:
    """Plots the mean rating of each category, by turn."""
    lines = {
        name: {
            key: value
            for key, value in found.items()
            if key.startswith("turn_") and isinstance(value, Interval)
        }
        for name, found in categories.items()
    }
    return interval_plot.plot_intervals(
        path, lines, label="mean rating, 1 to 10", limits=(0.8, 10.2)
    )


def answer_section(
    answers: Sequence[Row], baseline: Sequence[Row], ratings: Sequence[Row]
) -> Section:
    """The answers to some questions of different categories, with their ratings."""
    step = max(1, len(answers) // MOST_SHOWN)
    chosen = range(0, len(answers), step)[:MOST_SHOWN]
    joined = lambda row: "\n\n--- second turn ---\n\n".join(
        "(no room for an answer)" if text is None else text for text in row["answers"]
    )
    texts = {answers[0]["model"]: [joined(answers[i]) for i in chosen]}
    if baseline:
        name = baseline[0]["model"]
        name += " (baseline)" * (name in texts)
        texts[name] = [joined(baseline[i]) for i in chosen]
    by_question: dict[int, list[str]] = {}
    for row in ratings:
        shown = "unparsable" if row["rating"] < 0 else f"{row['rating']:g}"
        by_question.setdefault(row["question_id"], []).append(shown)
    notes = [
        f"{answers[i]['category']}, ratings: "
        + ", ".join(by_question.get(answers[i]["question_id"], ["none"]))
        for i in chosen
    ]
    prompts = ["\n\n--- second turn ---\n\n".join(answers[i]["turns"]) for i in chosen]
    return Section("Answers", answers=SideBySide(prompts, texts, notes))
