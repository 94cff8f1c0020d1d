"""The report of a comparison: win rates, the judge, answers side by side."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxalign.evaluation.page import Section, SideBySide
from jaxalign.evaluation.win_rates.comparison_tables import Tables

Row = Mapping[str, Any]

WIN_RATES = (
    "Shares in [0, 1], with 95 % intervals over prompts. win rate: wins and half of "
    "the ties, where a win needs both orders of a judge; mean probability: that of "
    "AlpacaEval's win rate; length-controlled: at equal lengths, by AlpacaEval's "
    "regression without difficulty. characters: the mean length of the answers."
)
POSITION = (
    "A judge that goes by the answers alone gives the same verdict in both orders (1), "
    "favors no place (0), and sees the first shown win half of the time (0.5)."
)
LENGTH = "longer wins: the share of pairs whose longer answer wins, ties half."


def comparison_sections(
    tables: Tables,
    image: Path,
    rows: Sequence[Row],
    *,
    examples: int,
) -> list[Section]:
    """The sections of the report.

    Args:
      tables: of `comparison_tables.all_tables`.
      image: the plot of all win rates.
      rows: of `judgements.jsonl`, those of a prompt side by side.
      examples: prompts whose answers are shown.
    """
    baseline = tables.first[0]["against"]
    sections = [Section(f"Against {baseline}", text=WIN_RATES, rows=tables.first)]
    if len(tables.pairs) > 1:
        title = "Win rate of the row's model over the column's (%)"
        sections.append(Section(title, image=image))
        sections.append(Section("Every two models", rows=tables.pairs))
    sections += [
        Section(f"Win rate against {baseline}, by {field}", rows=group_rows)
        for field, group_rows in tables.groups.items()
    ]
    if tables.judge:
        text = LENGTH if len(tables.judge) == 1 else f"{POSITION} {LENGTH}"
        sections.append(Section("Verdicts", text=text, rows=tables.judge))
    if examples:
        shown = side_by_side(rows, examples)
        sections.append(Section("Answers", answers=shown))
    return sections


def side_by_side(rows: Sequence[Row], count: int) -> SideBySide:
    """All models' answers to some prompts, with the verdicts as notes.

    Prompts are spread evenly over the rows.

    Args:
      rows: of `judgements.jsonl`.
      count: prompts at most.
    """
    by_prompt: dict[str, list[Row]] = {}
    for row in rows:
        by_prompt.setdefault(row["prompt_id"], []).append(row)
    ids = list(by_prompt)
    number = min(count, len(ids))
    groups = [by_prompt[ids[len(ids) * i // number]] for i in range(number)]
    names = list(
        dict.fromkeys(r[side] for r in rows for side in ("model_a", "model_b"))
    )
    texts = [first_answers(group) for group in groups]
    return SideBySide(
        [group[0]["prompt"] for group in groups],
        {name: [text.get(name, "(not judged)") for text in texts] for name in names},
        [verdict_line(group) for group in groups],
    )


def first_answers(rows: Sequence[Row]) -> dict[str, str]:
    """Each model's first answer in the judgements of a prompt, by its name."""
    texts: dict[str, str] = {}
    for row in rows:
        texts.setdefault(row["model_a"], row["answer_a"])
        texts.setdefault(row["model_b"], row["answer_b"])
    return texts


def verdict_line(rows: Sequence[Row]) -> str:
    """The verdicts on a prompt's first answers as a line.

    >>> row = {"model_a": "x", "model_b": "y", "winner": "model_b", "first": 0.4}
    >>> verdict_line([{**row, "probability": 0.3, "swapped": 0.2}])
    'y beats x (P(x) 0.30: 0.40 shown first, 0.20 second)'
    >>> verdict_line([{**row, "winner": "tie", "first": None, "probability": 0.5}])
    'x and y tie'
    """
    lines: dict[tuple[str, str], str] = {}
    for row in rows:
        lines.setdefault((row["model_a"], row["model_b"]), describe_verdict(row))
    return "; ".join(lines.values())


def describe_verdict(row: Row) -> str:
    """A judgement in words; with the probabilities of both orders of a judge."""
    a, b = row["model_a"], row["model_b"]
    words = {
        "model_a": f"{a} beats {b}",
        "model_b": f"{b} beats {a}",
        "tie": f"{a} and {b} tie",
    }[row["winner"]]
    if row["first"] is None:
        return words
    return (
        f"{words} (P({a}) {row['probability']:.2f}: {row['first']:.2f} shown first, "
        f"{row['swapped']:.2f} second)"
    )
