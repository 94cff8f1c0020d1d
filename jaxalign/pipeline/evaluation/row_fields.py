"""Groups of answers by the values of their rows' fields, and sections of reports."""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxalign.evaluation import by_field
from jaxalign.evaluation.by_field import Groups
from jaxalign.evaluation.page import Section
from jaxalign.pipeline.evaluation.answer_rows import AnswerRow


def row_values(row: AnswerRow) -> dict[str, Any]:
    """The fields of an answer: its model, and the fields of its prompt's row."""
    own = {"model": row.model} if row.model else {}
    return {**row.prompt.fields, **own}


def groups_by_field(
    answers: Sequence[AnswerRow], names: Sequence[str], defaults: Sequence[str]
) -> Groups:
    """The group of each answer by each field, str [A]; `(none)` where it has none.

    Args:
      answers: A answers.
      names: of the fields; none for those of `defaults` that divide the answers.
      defaults: names of fields, which rows need not have.

    Raises:
      ValueError: as `by_field.field_groups`.
    """
    rows = [row_values(row) for row in answers]
    if names:
        return by_field.group_rows(rows, names, "answer")
    return usable_groups(rows, defaults)


def usable_groups(rows: Sequence[Mapping[str, Any]], fields: Sequence[str]) -> Groups:
    """The groups by those of some fields that divide the rows; others are left out."""
    found: Groups = {}
    for field in fields:
        try:
            groups = by_field.field_groups(rows, field)
        except ValueError:
            continue
        if len(set(groups.tolist())) > 1:
            found[field] = groups
    return found


def split_sections(
    tables: Mapping[str, Sequence[Mapping[str, Any]]], text: str = ""
) -> list[Section]:
    """A section of a report for each field, with the rows of `by_field.group_tables`.

    Args:
      text: above each table.
    """
    return [
        Section(f"By {field}", text, by_field.titled_rows(field, map(dict, rows)))
        for field, rows in tables.items()
    ]
