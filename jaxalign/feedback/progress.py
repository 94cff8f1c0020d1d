"""How far a study has come, and how fast: counts for the one who runs it."""

import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from jaxalign.feedback.answers import is_right
from jaxalign.feedback.judgements import BOTH_BAD, SKIP, TIE, Item, Judgement


class Table(NamedTuple):
    """A table of the dashboard.

    Attributes:
      title: its heading.
      columns: names of the columns.
      rows: texts of the cells, the first of each row its name.
      note: a sentence below the heading.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


Statistics = Callable[[Mapping[str, Item], Sequence[Judgement]], Sequence[Table]]
"""What the dashboard shows of agreement; passed in, as it needs other parts."""


class Progress(NamedTuple):
    """Counts of a study.

    Attributes:
      items: to be judged, without gold items.
      complete: of them, with as many judgements as they need.
      labels, needed: judgements so far and in the end, skips and repeats left out.
      people: who have judged something.
      recent: judgements of the last hour.
    """

    items: int
    complete: int
    labels: int
    needed: int
    people: int
    recent: int


def count_progress(
    items: Mapping[str, Item], judgements: Sequence[Judgement], overlap: int
) -> Progress:
    """The counts of a study.

    Args:
      overlap: judgements that an item needs.
    """
    plain = [
        item
        for item in items.values()
        if item.gold is None and "arena" not in item.fields
    ]
    counts = dict.fromkeys((item.id for item in plain), 0)
    for judgement in judgements:
        if judgement.item in counts and first_label(judgement):
            counts[judgement.item] += 1
    now = time.time()
    return Progress(
        items=len(plain),
        complete=sum(n >= overlap for n in counts.values()),
        labels=sum(min(n, overlap) for n in counts.values()),
        needed=len(plain) * overlap,
        people=len({j.annotator for j in judgements}),
        recent=sum(now - j.time < 3600 for j in judgements),
    )


def first_label(judgement: Judgement) -> bool:
    """Whether a judgement counts as one of those that its item needs."""
    return not judgement.repeat and judgement.value != SKIP


def people_table(items: Mapping[str, Item], judgements: Sequence[Judgement]) -> Table:
    """A row for each annotator: how many, how fast, sides, skips, gold items."""
    rows = []
    for name in sorted({j.annotator for j in judgements}):
        own = [j for j in judgements if j.annotator == name]
        sides = [j for j in own if is_left(j) is not None]
        gold = [is_right(items[j.item], j) for j in own if j.is_gold]
        gold = [right for right in gold if right is not None]
        rows.append(
            (
                name,
                str(len(own)),
                f"{statistics.median(j.seconds for j in own):.0f} s",
                ratio((j for j in sides if is_left(j)), len(sides)),
                ratio((j for j in own if j.value in (TIE, BOTH_BAD)), len(own)),
                ratio((j for j in own if j.value == SKIP), len(own)),
                f"{sum(map(bool, gold))} of {len(gold)}" if gold else "",
                ago(time.time() - max(j.time for j in own)),
            )
        )
    columns = "Name|Judged|Time each|Left|Tie or bad|Skipped|Gold right|Last".split("|")
    note = "Left: share of the choices that are for the answer on the left."
    return Table("People", columns, rows, note if rows else "Nobody has judged yet.")


def is_left(judgement: Judgement) -> bool | None:
    """Whether a pair's left answer is preferred; None without a preference."""
    if not isinstance(judgement.value, int):
        return None
    strength = (judgement.levels + 1) / 2 - judgement.value
    return strength > 0 if strength else None


def ratio(some: Iterable[object], total: int) -> str:
    """A share in per cent; empty of nothing."""
    return f"{100 * sum(1 for _ in some) / total:.0f} %" if total else ""


def ago(seconds: float) -> str:
    """How long ago something was.

    >>> ago(5), ago(200), ago(10000)
    ('now', '3 min ago', '2.8 h ago')
    """
    if seconds < 60:
        return "now"
    return (
        f"{seconds / 60:.0f} min ago"
        if seconds < 5400
        else f"{seconds / 3600:.1f} h ago"
    )
