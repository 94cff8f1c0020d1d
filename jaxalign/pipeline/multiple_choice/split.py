"""Scores of questions for each value of a field of their rows."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jaxalign.evaluation import by_field
from jaxalign.evaluation.by_field import Groups
from jaxalign.evaluation.page import Section
from jaxalign.pipeline.multiple_choice import report
from jaxalign.pipeline.multiple_choice.rows import BbqQuestion, TruthfulQuestion

Tables = dict[str, list[dict[str, Any]]]
Question = BbqQuestion | TruthfulQuestion


def check_fields(questions: Sequence[Question], fields: Sequence[str]) -> None:
    """Refuses fields of --split-by that do not divide the questions.

    Raises:
      ValueError: as `by_field.field_groups`.
    """
    by_field.group_rows([each.fields for each in questions], fields, "question")


def question_groups(questions: Sequence[Question], fields: Sequence[str]) -> Groups:
    """The groups of one benchmark's questions by those of the fields that it has."""
    rows = [each.fields for each in questions]
    own = [
        field
        for field in fields
        if any(by_field.field_value(row, field) is not None for row in rows)
    ]
    return by_field.group_rows(rows, own, "question")


def split_tables(
    questions: Sequence[Question],
    fields: Sequence[str],
    numbers: Callable[[np.ndarray], dict[str, Any]],
) -> Tables:
    """The numbers of the questions of each group, a table a field.

    Args:
      numbers: of the questions where a mask is True, bool [R].
    """
    return {
        field: [
            {"group": group, **numbers(of_rows == group)}
            for group in by_field.group_order(of_rows)
        ]
        for field, of_rows in question_groups(questions, fields).items()
    }


def split_sections(tables: Tables, title: str) -> list[Section]:
    """A section for each field, with those columns that have a number."""
    sections = []
    for field, rows in tables.items():
        names = {k for row in rows for k, x in row.items() if x not in (None, 0)}
        shown = [{k: x for k, x in row.items() if k in names} for row in rows]
        sections.append(
            Section(f"{title} by {field}", rows=by_field.titled_rows(field, shown))
        )
    return sections


def bbq_group(
    questions: Sequence[BbqQuestion], scores: np.ndarray, mask: np.ndarray, seed: int
) -> report.Numbers:
    """Accuracy and bias of some questions of BBQ, as numbers.json names them.

    Args:
      scores: of the options, such as log-probs [R 3].
      mask: which, bool [R].
    """
    part = [questions[i] for i in np.flatnonzero(mask).tolist()]
    found = report.bbq_numbers(part, scores[mask], seed=seed)["all"]
    names = [
        f"{kind}_{context}"
        for kind in ("accuracy", "bias")
        for context in ("ambiguous", "disambiguated")
    ]
    return {name.replace("_", " "): found[name] for name in names} | {
        "questions": found["rows"]
    }


def truthful_group(
    questions: Sequence[TruthfulQuestion],
    logps: Sequence[np.ndarray],
    mask: np.ndarray,
    seed: int,
) -> report.Numbers:
    """TruthfulQA's scores of some questions, and their number.

    Args:
      logps: as in `report.truthful_numbers`.
      mask: which, bool [R].
    """
    rows = np.flatnonzero(mask).tolist()
    part = report.truthful_numbers(
        [questions[i] for i in rows], [logps[i] for i in rows], seed=seed
    )["all"]
    return {name: part[name] for name in (*report.SCORES, "questions")}
