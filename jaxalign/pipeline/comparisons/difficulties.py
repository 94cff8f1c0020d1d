"""Difficulties of instructions, for length control: read from a file and joined.

A file has a field `instruction_difficulty`, and a field that says which instruction a
row is of: `instruction` or `prompt` (its text), `prompt_id`, or `index`. AlpacaEval's
own has the position in its list of 805 instructions alone; comparisons without that
`index` are joined through the list, by text, and never by their position.
"""

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxalign import messages
from jaxalign.data.formats import files
from jaxalign.data.row_errors import MalformedRow
from jaxalign.pipeline.comparisons.comparison_rows import Comparison, parse_number

VALUE_FIELDS = ("instruction_difficulty", "difficulty", "gamma")
TEXT_FIELDS = ("instruction", "prompt")
KEY_FIELDS = (*TEXT_FIELDS, "prompt_id", "index")


class Difficulties(NamedTuple):
    """Difficulties by instruction.

    Attributes:
      path: of the file.
      field: what the keys are: "text", "prompt_id" or "index".
      values: difficulty by key.
    """

    path: str
    field: str
    values: Mapping[str, float]


def read_difficulties(
    path: os.PathLike[str] | str, instructions: Sequence[str] | None = None
) -> Difficulties:
    """Reads a file of difficulties.

    Args:
      instructions: the texts in the order of the file's `index`, by which its values
        are found where comparisons have texts alone.

    Raises:
      FileNotFoundError: no such file.
      ValueError: a row without a difficulty or a key (FILE:LINE), two values for one
        key, or no rows.
    """
    values: dict[str, float] = {}
    name, key = os.fspath(path), ""
    for location, row in files.read_rows(name):
        if isinstance(row, MalformedRow):
            raise ValueError(f"{location}: {row}")
        try:
            key = key or key_field(row)
            value, identity = parse_difficulty(row), row.get(key)
        except MalformedRow as error:
            raise ValueError(f"{location}: {error}") from error
        if identity is None:
            raise ValueError(f"{location}: field {key!r} is missing")
        if str(identity) in values:
            shown = messages.shorten(str(identity))
            raise ValueError(f"{location}: {key} {shown!r} is there twice")
        values[str(identity)] = value
    if not values:
        raise ValueError(f"{name} holds no difficulties")
    if key == "index" and instructions is not None:
        texts = {text: values.get(str(i)) for i, text in enumerate(instructions)}
        values = {text: value for text, value in texts.items() if value is not None}
        return Difficulties(name, "text", values)
    return Difficulties(name, "text" if key in TEXT_FIELDS else key, values)


def key_field(row: Mapping[str, Any]) -> str:
    """The field that identifies the instruction.

    Raises:
      MalformedRow: there is none.
    """
    for field in KEY_FIELDS:
        if field in row:
            return field
    raise MalformedRow(
        f"no field says which instruction it is of: expected {', '.join(KEY_FIELDS)}"
    )


def parse_difficulty(row: Mapping[str, Any]) -> float:
    """The difficulty in a row.

    Raises:
      MalformedRow: there is none, or it is not a finite number.
    """
    for field in VALUE_FIELDS:
        value = parse_number(row, field)
        if value is not None:
            if not math.isfinite(value):
                raise MalformedRow(f"field {field!r} is {value}, not a finite number")
            return value
    raise MalformedRow(f"field {VALUE_FIELDS[0]!r} is missing")


def join_difficulties(
    difficulties: Difficulties, comparisons: Sequence[Comparison]
) -> np.ndarray:
    """The difficulty of each comparison's instruction, float [N].

    Raises:
      ValueError: a comparison whose instruction has none, or without the field that the
        file's keys are of; says how many, and the first.
    """
    keys = [comparison_key(difficulties.field, each) for each in comparisons]
    missing = [i for i, key in enumerate(keys) if key not in difficulties.values]
    if missing:
        first = missing[0]
        where = comparisons[first].location
        if keys[first] is None:
            hint = (
                "; for a file with AlpacaEval's positions add --instructions FILE, its "
                "list of instructions"
                if difficulties.field == "index"
                else ""
            )
            raise ValueError(
                f"{where}: {difficulties.path} has difficulties by "
                f"{difficulties.field}, which the comparison has not{hint}"
            )
        shown = messages.shorten(str(keys[first]))
        raise ValueError(
            f"{where}: {difficulties.field} {shown!r}, and {len(missing) - 1} more of "
            f"{len(comparisons)}, have no difficulty in {difficulties.path}: "
            "leave these out, or --difficulty"
        )
    return np.array([difficulties.values[str(key)] for key in keys])


def comparison_key(field: str, comparison: Comparison) -> str | None:
    """The key of a comparison's instruction; None where it has no such field."""
    names = TEXT_FIELDS if field == "text" else (field,)
    for name in names:
        value = comparison.fields.get(name)
        if isinstance(value, str | int):
            return str(value)
    return None
