"""What the dashboard of a study shows of its annotators, beside agreement."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from jaxalign.evaluation.agreement.annotator_summary import (
    AnnotatorRow,
    annotator_rows,
)
from jaxalign.evaluation.agreement.graded_scale import side_agreement_by_level
from jaxalign.evaluation.intervals import Interval
from jaxalign.feedback.judgements import Item, Judgement, signed_strength
from jaxalign.feedback.progress import Table
from jaxalign.pipeline.annotation_study import live_statistics

LEAST = 8  # judgements below which nothing is fitted


def study_tables(
    items: Mapping[str, Item], judgements: Sequence[Judgement]
) -> Sequence[Table]:
    """All tables of a study: of agreement, of annotators, of what strengths mean."""
    return [
        *live_statistics.tables(items, judgements),
        *tables(items, judgements),
    ]


def tables(
    items: Mapping[str, Item], judgements: Sequence[Judgement]
) -> Sequence[Table]:
    """Tables of a study of pairs: annotators, and what strengths mean.

    Gold items, repeats and skips are left out; other kinds of items have no tables.

    Args:
      items: by id.
      judgements: after undo.
    """
    rows = [
        (judgement, strength)
        for judgement in judgements
        if judgement.kind == "pair"
        and judgement.item in items
        and not judgement.is_gold
        and not judgement.repeat
        and (strength := signed_strength(judgement)) is not None
    ]
    if len(rows) < LEAST:
        return ()
    names = sorted({judgement.item for judgement, _ in rows})
    people = sorted({judgement.annotator for judgement, _ in rows})
    place = {name: i for i, name in enumerate(names)}
    who = {name: i for i, name in enumerate(people)}
    item = np.array([place[judgement.item] for judgement, _ in rows])
    annotator = np.array([who[judgement.annotator] for judgement, _ in rows])
    strengths = np.array([strength for _, strength in rows], np.float64)
    swapped = np.array([judgement.order == (1, 0) for judgement, _ in rows])
    found = annotator_rows(item, annotator, strengths, swapped)
    return [annotator_table(found, people), *level_table(item, strengths)]


def annotator_table(found: Sequence[AnnotatorRow], people: Sequence[str]) -> Table:
    """A row for each annotator."""
    rows = [
        (
            name,
            str(row.judgements),
            cell(row.agreement),
            cell(row.left),
            cell(row.bias),
            cell(row.sharpness),
            cell(row.lapse),
        )
        for name, row in zip(people, found, strict=True)
    ]
    columns = ("Name", "Pairs", "Agrees", "Left", "Side bias", "Sharpness", "Lapses")
    note = (
        "Agrees: with the majority of the others. Left: share of the left side. Side "
        "bias to the left and sharpness are log-odds, the latter where answers differ "
        "by one standard deviation of pairs; lapses are choices at random."
    )
    return Table("Annotators", columns, rows, note)


def level_table(item: np.ndarray, strength: np.ndarray) -> list[Table]:
    """How often another person takes the same side, by how strongly one did."""
    found = side_agreement_by_level(item, strength)
    if not found:
        return []
    rows = [(f"{level:g}", cell(share)) for level, share in found.items()]
    note = "Strength from the middle of the scale, and how often others agree."
    return [Table("What strengths mean", ("Strength", "same side"), rows, note)]


def cell(interval: Interval) -> str:
    """An interval as a text of two digits; ? where it is unknown.

    >>> cell(Interval(0.5, 0.4, 0.6)), cell(Interval(0.5, math.nan, math.nan))
    ('0.50 [0.40, 0.60]', '0.50')
    >>> cell(Interval(math.nan, math.nan, math.nan))
    '?'
    """
    if math.isnan(interval.mean):
        return "?"
    if math.isnan(interval.low):
        return f"{interval.mean:.2f}"
    return f"{interval.mean:.2f} [{interval.low:.2f}, {interval.high:.2f}]"
