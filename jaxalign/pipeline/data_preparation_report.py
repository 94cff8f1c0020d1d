"""The report of `experiments.prepare`: what was removed, what is left, warnings."""

import collections
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxalign import messages
from jaxalign.data import record_rows
from jaxalign.evaluation import text_artifacts
from jaxalign.evaluation.page import Section, SideBySide
from jaxalign.pipeline.data_selection import Removed

EXAMPLE_CHARS = 600  # of a text in the report
ONE_SIDED = 3.0  # times as frequent in one answer of a pair as in the other
TELLING = 10  # texts, below which a difference may be chance
MANY = 0.05  # a distance from 0.5, and a share of texts, that is worth a warning


def sections(
    numbers: Mapping[str, Any],
    removed: Sequence[Removed],
    plot: Path,
    *,
    examples: int,
) -> list[Section]:
    """The sections of the page.

    Args:
      numbers: what prepare.json holds, with intervals as such.
      removed: the rows that were removed.
      plot: of the lengths.
      examples: number of removed rows to show for each reason.
    """
    parts = [
        Section("What was done", done_text(numbers), step_rows(numbers)),
        Section("Warnings", "\n\n".join(numbers["warnings"] or ["None."])),
        Section(
            "Lengths in characters",
            "Of all rows that were written. Each quantile is the length "
            "of one text; the dashed lines are medians.",
            length_rows(numbers),
            plot,
        ),
    ]
    if numbers["read"]["longer_wins"] is not None:
        parts.append(
            Section(
                'How often "the longer answer wins"',
                "The share of pairs whose chosen answer is the longer one, equal "
                "lengths half, with 95 % intervals over prompts: the accuracy that a "
                "reward model must exceed.",
                longer_rows(numbers),
            )
        )
    parts.append(
        Section(
            "Scripts",
            "The share of texts whose letters are mostly of a script, of what was "
            "read. Languages of one script are not told apart.",
            script_rows(numbers["read"]["scripts"]),
        )
    )
    if artifacts := numbers["read"]["artifacts"]:
        text = "Remains of templates, boilerplate and damage, of what was read."
        parts.append(Section("Artifacts", text, artifacts))
    return [*parts, *example_sections(removed, examples)]


def done_text(numbers: Mapping[str, Any]) -> str:
    """The split in words, and how to train on it."""
    parts = [
        f"{numbers['kind']} of {', '.join(numbers['data'])}: "
        f"{numbers['rows_read']} rows read, {numbers['rows_removed']} removed, "
        f"{numbers['train']} written for training and {numbers['test']} held out "
        f"({numbers['rule']}).",
        f"Held-out prompts that are in training too: {numbers['prompts_in_both']}.",
    ]
    if unread := [f"{n}: {text}" for n, text in numbers["reports"].items()]:
        parts.append("As read: " + "; ".join(unread) + ".")
    parts.append(
        "Train on it with --data and this folder: the held-out rows are those of its "
        "test file."
    )
    return "\n\n".join(parts)


def step_rows(numbers: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A table of the steps, with the rows that each has removed and left."""
    left = numbers["rows_read"]
    rows = [{"step": "read", "removed": 0, "left": left}]
    for name, count in numbers["steps"].items():
        left -= count
        rows.append({"step": name, "removed": count, "left": left})
    return rows


def length_rows(numbers: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The table of lengths of both splits."""
    return [
        {"split": split, **row}
        for split in ("train", "test")
        if numbers[f"{split}_summary"]
        for row in numbers[f"{split}_summary"]["lengths"]
    ]


def longer_rows(numbers: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The table of "longer wins", by data set and by split."""
    rows = [
        {"rows": name, "longer wins": share}
        for name, share in numbers["longer_wins_by_data"].items()
    ]
    if len(rows) > 1:
        rows.append({"rows": "all", "longer wins": numbers["read"]["longer_wins"]})
    return rows + [
        {"rows": split, "longer wins": numbers[f"{split}_summary"]["longer_wins"]}
        for split in ("train", "test")
        if numbers[f"{split}_summary"]
    ]


def script_rows(scripts: Mapping[str, Mapping[str, float]]) -> list[dict[str, Any]]:
    """A table of scripts, the most frequent first, by kind of text."""
    total = collections.Counter[str]()
    for shares in scripts.values():
        total.update(shares)
    return [
        {"script": name, **{k: shares.get(name, 0.0) for k, shares in scripts.items()}}
        for name, _ in total.most_common()
    ]


def example_sections(removed: Sequence[Removed], examples: int) -> list[Section]:
    """Removed rows side by side, the first ones of each reason."""
    by_reason: dict[str, list[Removed]] = collections.defaultdict(list)
    for row in removed:
        by_reason[row.reason].append(row)
    found = []
    for reason, rows in by_reason.items():
        shown = rows[:examples]
        if not shown:
            continue
        texts = [record_rows.answer_texts(row.record) for row in shown]
        names = list(dict.fromkeys(kind for each in texts for kind, _ in each))
        answers = {
            name: [
                shorten("\n\n".join(text for kind, text in each if kind == name))
                for each in texts
            ]
            for name in names
        }
        notes = [": ".join(filter(None, (r.record.location, r.detail))) for r in shown]
        prompts = [shorten(record_rows.prompt_text(row.record)) for row in shown]
        title = f"Removed: {reason} ({len(rows)} rows)"
        found.append(Section(title, answers=SideBySide(prompts, answers, notes)))
    return found


def shorten(text: str) -> str:
    """A text for the report, without its middle where it is long."""
    return messages.shorten_middle(text, EXAMPLE_CHARS)


def warnings(summary: Mapping[str, Any]) -> list[str]:
    """What to look at before training, one sentence each.

    Args:
      summary: of `data_summary.summarize`.
    """
    found = []
    share, rows = summary["longer_wins"], summary["rows"]
    if share is not None and (share.low > 0.5 + MANY or share.high < 0.5 - MANY):
        longer = "longer" if share.mean > 0.5 else "shorter"
        found.append(
            f"The {longer} answer is the chosen one in "
            f"{max(share.mean, 1 - share.mean):.1%} of the pairs: a reward model can "
            "learn length instead of quality."
        )
    if count := summary["contradictions"]:
        found.append(
            f"Pairs that contradict an earlier one (the same answers, with chosen and "
            f"rejected swapped): {count}."
        )
    if summary["duplicates"]:
        found.append(
            f"Rows that repeat an earlier one: {summary['duplicates']} of {rows}; "
            "--dedup removes them."
        )
    return found + artifact_warnings(summary["artifacts"])


def artifact_warnings(artifacts: Sequence[Mapping[str, Any]]) -> list[str]:
    """Artifacts that many texts have, or one answer of a pair far more often."""
    found = []
    shares = {(row["what"], row["in"]): row["share"] for row in artifacts}
    for row in artifacts:
        what, kind = row["what"], row["in"]
        often = f"{row['share']:.1%} of the {kind} texts have: {what}"
        at = f" (first at {row['first at']})"
        other = {"chosen": "rejected", "rejected": "chosen"}.get(kind)
        opposite = shares.get((what, str(other)), 0.0)
        is_telling = row["texts"] >= TELLING and row["share"] > ONE_SIDED * opposite
        if other and is_telling:
            found.append(
                f"{often}, and {opposite:.1%} of the {other} ones: the label can be "
                f"told by it{at}."
            )
        elif row["share"] > MANY or what == text_artifacts.SPECIAL_TOKEN:
            found.append(f"{often}{at}.")
    return found
