"""Groups of answers by the values of their rows' fields."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxalign import messages
from jaxalign.evaluation.by_field import MAX_VALUES, MISSING
from jaxalign.pipeline.evaluation.answer_rows import AnswerRow


def field_value(row: AnswerRow, name: str) -> Any:
    """A field of an answer's row: its model, or a field of its prompt's row."""
    if name == "model":
        return row.model or None
    return row.prompt.fields.get(name)


def groups_by_field(
    answers: Sequence[AnswerRow], names: Sequence[str], defaults: Sequence[str]
) -> dict[str, np.ndarray]:
    """The group of each answer by each field, str [A]; `(none)` where it has none.

    Args:
      answers: A answers.
      names: of the fields; none for those of `defaults` that divide the answers.
      defaults: names of fields, which rows need not have.

    Raises:
      ValueError: no answer has the field (names those that exist), or it has too many
        values for groups.
    """
    if names:
        return {name: field_groups(answers, name) for name in names}
    values = {name: {field_value(row, name) for row in answers} for name in defaults}
    usable = [n for n in defaults if 1 < len(values[n]) <= MAX_VALUES]
    return {name: field_groups(answers, name) for name in usable}


def field_groups(answers: Sequence[AnswerRow], name: str) -> np.ndarray:
    """The value of a field of each answer as text [A]; see `groups_by_field`."""
    values = [field_value(row, name) for row in answers]
    distinct = {str(value) for value in values if value is not None}
    if not distinct:
        known = sorted({"model", *(n for row in answers for n in row.prompt.fields)})
        raise ValueError(
            f"--split-by {name}: no answer has this field; "
            f"{messages.did_you_mean(name, known)}there are {', '.join(known)}"
        )
    if len(distinct) > MAX_VALUES:
        raise ValueError(
            f"--split-by {name}: {len(distinct)} different values, more than "
            f"{MAX_VALUES}"
        )
    return np.array([MISSING if value is None else str(value) for value in values])
