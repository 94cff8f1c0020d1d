"""Judgements as rows of data sets: one a judgement, or one an item.

pairs.jsonl     {"prompt", "chosen", "rejected", "margin", ...}; `label_prob` where a
                function gives it; `chosen_unsafe`, `rejected_unsafe` where it was asked
ties.jsonl      pairs with `label_prob` 0.5
unpaired.jsonl  {"prompt", "completion", "label": false} of answers that are both bad
rankings.jsonl  {"prompt", "answers", "ranks"}
ratings.jsonl   {"prompt", "answers", "ratings"}
battles.jsonl   {"model_a", "model_b", "winner", "annotator"} where the sources of two
                answers are known and differ

Each row names the `annotator` and the `item`. Gold items, repeats and skips are left
out and counted.
"""

import collections
import json
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxalign.atomic_files import atomic_path
from jaxalign.feedback.judgements import (
    BOTH_BAD,
    SKIP,
    TIE,
    Item,
    Judgement,
    signed_strength,
)

FILES = ("pairs", "ties", "unpaired", "rankings", "ratings", "battles")
LEAST = {2: 0.5, 3: 1.0, 4: 0.5, 8: 0.5}  # smallest strength that is no tie
Row = dict[str, Any]
SoftLabel = Callable[[Judgement], float]
"""Probability that the preferred answer is the better one."""


class Export(NamedTuple):
    """Rows by file, and what was left out.

    Attributes:
      rows: by the names of `FILES`.
      left_out: numbers of judgements by reason.
    """

    rows: dict[str, list[Row]]
    left_out: collections.Counter[str]


def export_rows(
    items: Mapping[str, Item],
    judgements: Iterable[Judgement],
    *,
    soft_label: SoftLabel | None = None,
) -> Export:
    """One row for each judgement, in the files of its kind.

    Args:
      soft_label: gives pairs a `label_prob`.
    """
    rows: dict[str, list[Row]] = {name: [] for name in FILES}
    left_out: collections.Counter[str] = collections.Counter()
    for judgement in judgements:
        if reason := reason_left_out(judgement, items):
            left_out[reason] += 1
            continue
        item = items[judgement.item]
        for name, row in judgement_rows(item, judgement, soft_label):
            rows[name].append(row)
    return Export(rows, left_out)


def aggregate_rows(
    items: Mapping[str, Item], judgements: Iterable[Judgement]
) -> Export:
    """One row for each item: the mean strength of a pair, the mean rank or rating.

    `label_prob` of a pair is the share of its judgements for the chosen answer, where a
    tie counts half; `annotators` is their number. A pair whose mean strength is 0 is a
    tie, and one that most find bad gives unpaired answers.
    """
    rows: dict[str, list[Row]] = {name: [] for name in FILES}
    left_out: collections.Counter[str] = collections.Counter()
    by_item: dict[str, list[Judgement]] = collections.defaultdict(list)
    for judgement in judgements:
        if reason := reason_left_out(judgement, items):
            left_out[reason] += 1
        elif judgement.kind != "battle":
            by_item[judgement.item].append(judgement)
    for name, own in by_item.items():
        item = items[name]
        for file, row in aggregate_item(item, own):
            row |= {"item": name, "annotators": len(own)}
            rows[file].append(row)
    return Export(rows, left_out)


def reason_left_out(judgement: Judgement, items: Mapping[str, Item]) -> str:
    """Why a judgement is no row; "" where it is one."""
    if judgement.item not in items:
        return "of unknown items"
    if judgement.is_gold:
        return "of gold items"
    if judgement.repeat:
        return "repeats"
    return "skips" if judgement.value == SKIP else ""


def judgement_rows(
    item: Item, judgement: Judgement, soft_label: SoftLabel | None
) -> Iterable[tuple[str, Row]]:
    """The (file, row) of a judgement."""
    value, about = judgement.value, about_row(item, judgement)
    if judgement.kind in ("pair", "battle") and (battle := battle_row(item, judgement)):
        yield "battles", battle | about
    if judgement.kind == "pair" and value == BOTH_BAD:
        for row in unpaired_rows(item):
            yield "unpaired", row | about
    elif judgement.kind == "pair":
        strength = signed_strength(judgement) or 0.0
        row = pair_row(item, strength, judgement.levels) | about
        row |= unsafe_fields(judgement.safe, strength)
        if strength and soft_label is not None:
            row["label_prob"] = soft_label(judgement)
        yield "pairs" if strength else "ties", row
    elif judgement.kind in ("ranking", "rating") and isinstance(value, tuple):
        field = "ranks" if judgement.kind == "ranking" else "ratings"
        row = {"prompt": item.prompt, "answers": list(item.answers)}
        row |= {field: list(value)} | about
        if judgement.safe is not None:
            row["unsafe"] = [None if s is None else not s for s in judgement.safe]
        yield ("rankings" if field == "ranks" else "ratings"), row


def pair_row(item: Item, strength: float, levels: int) -> Row:
    """A pair by the sign of a strength; of 0 a tie in the order of the item.

    The margin is Llama 2's small one on the scale of 8: (|strength| - least) / 3.

    Reference: Touvron et al. 2023, arXiv:2307.09288, table 27.
    """
    first = 0 if strength >= 0 else 1
    row: Row = {
        "prompt": item.prompt,
        "chosen": item.answers[first],
        "rejected": item.answers[1 - first],
        "margin": max(abs(strength) - LEAST.get(levels, 0.5), 0.0) / 3,
    }
    source = item.fields.get("source")
    if isinstance(source, list) and len(source) == 2:
        row["source"] = [source[first], source[1 - first]]
    return row | ({} if strength else {"label_prob": 0.5})


def unsafe_fields(safe: Sequence[bool | None] | None, strength: float) -> Row:
    """The safety labels of a pair's answers, where there are any."""
    if safe is None:
        return {}
    first = 0 if strength >= 0 else 1
    named = {"chosen_unsafe": safe[first], "rejected_unsafe": safe[1 - first]}
    return {name: not x for name, x in named.items() if x is not None}


def unpaired_rows(item: Item) -> list[Row]:
    """Both answers of a pair, neither of which is desirable."""
    return [
        {"prompt": item.prompt, "completion": answer, "label": False}
        for answer in item.answers
    ]


def battle_row(item: Item, judgement: Judgement) -> Row | None:
    """The battle of two named sources; None where they are not known, or the same."""
    source = item.fields.get("source")
    if not isinstance(source, list) or len(source) != 2 or source[0] == source[1]:
        return None
    if not all(isinstance(name, str) and name for name in source):
        return None
    strength = signed_strength(judgement)
    winner = "tie (bothbad)" if judgement.value == BOTH_BAD else "tie"
    if strength:
        winner = "model_a" if strength > 0 else "model_b"
    row: Row = {"model_a": source[0], "model_b": source[1], "winner": winner}
    return row | {"turn": item.fields.get("turns", 1)}


def about_row(item: Item, judgement: Judgement) -> Row:
    """What rows keep of a judgement and of its item, by which results are split."""
    about: Row = {
        "annotator": judgement.annotator,
        "item": judgement.item,
        "seconds": judgement.seconds,
        "time": judgement.time,
        "order": list(judgement.order),
        "probability": judgement.probability,
    }
    if isinstance(judgement.value, int):
        strength = signed_strength(judgement)
        about |= {"strength": strength, "levels": judgement.levels}
    elif judgement.value == TIE:
        about |= {"strength": 0.0, "levels": judgement.levels}
    if judgement.comment:
        about["comment"] = judgement.comment
    known = {"source", "arena", "conversations", "turns", "scores", "ratings", "ranks"}
    simple = str | int | float | bool
    fields = {
        name: x
        for name, x in item.fields.items()
        if isinstance(x, simple) and name not in known
    }
    return fields | about


def aggregate_item(
    item: Item, judgements: Sequence[Judgement]
) -> Iterable[tuple[str, Row]]:
    """The (file, row) of an item's judgements together."""
    if item.kind != "pair":
        values = [j.value for j in judgements if isinstance(j.value, tuple)]
        mean = [statistics.fmean(column) for column in zip(*values, strict=True)]
        field = "ranks" if item.kind == "ranking" else "ratings"
        row: Row = {"prompt": item.prompt, "answers": list(item.answers), field: mean}
        yield ("rankings" if field == "ranks" else "ratings"), row
        return
    strengths = [s for j in judgements if (s := signed_strength(j)) is not None]
    bad = len(judgements) - len(strengths)
    if bad > len(strengths):
        for row in unpaired_rows(item):
            yield "unpaired", row
        return
    mean_strength = statistics.fmean(strengths)
    row = pair_row(item, mean_strength, judgements[0].levels)
    row |= {"strength": mean_strength} | unsafe_fields(
        majority(judgements), mean_strength
    )
    if mean_strength:
        votes = [(s * mean_strength > 0) + 0.5 * (s == 0) for s in strengths]
        row["label_prob"] = statistics.fmean(votes)
    yield ("pairs" if mean_strength else "ties"), row


def majority(judgements: Sequence[Judgement]) -> tuple[bool | None, ...] | None:
    """Whether most find each answer safe; None where as many say yes as no."""
    asked = [j.safe for j in judgements if j.safe is not None]
    if not asked:
        return None
    verdicts: list[bool | None] = []
    for column in zip(*asked, strict=True):
        yes, no = column.count(True), column.count(False)
        verdicts.append(None if yes == no else yes > no)
    return tuple(verdicts)


def write_export(folder: Path, export: Export) -> dict[str, int]:
    """Writes the files that have rows, each completely; deletes older ones without.

    Returns:
      The number of rows of each file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        path = folder / f"{name}.jsonl"
        if not export.rows[name]:
            path.unlink(missing_ok=True)
            continue
        with atomic_path(path) as part:
            lines = (json.dumps(row, ensure_ascii=False) for row in export.rows[name])
            part.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return {name: len(rows) for name, rows in export.rows.items() if rows}
