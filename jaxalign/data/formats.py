"""Records from files (see `files`) and from TFDS sources.

What rows may look like is in `layouts`.
"""

import collections
import os
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from jaxalign.data import dialogues, fields, files, layouts, published
from jaxalign.data.records import (
    Demonstration,
    Preference,
    Prompt,
    Ranking,
    Report,
    Unpaired,
    demonstrations,
    pairs,
    prompts,
    unpaired,
)

__all__ = [
    "Demonstration",
    "Preference",
    "Prompt",
    "Ranking",
    "Report",
    "Unpaired",
    "demonstrations",
    "from_tfds",
    "pairs",
    "prompts",
    "read",
    "unpaired",
]

Kind = TypeVar("Kind", Demonstration, Preference, Prompt, Ranking, Unpaired)


def read(
    path: str | os.PathLike[str], kind: type[Kind], *, skip_bad_rows: bool = False
) -> tuple[list[Kind], Report]:
    """The records of a file, or of all files of a folder, in the order of their names.

    Args:
      kind: the record wanted: Demonstration, Preference, Ranking, Unpaired or Prompt.
      skip_bad_rows: count malformed rows rather than stop at the first.

    Raises:
      FileNotFoundError: no such file.
      ValueError: a malformed row (file, line and field are named), or no rows at all.
    """
    rows = (row for file in files.files(path) for row in files.rows_of(file))
    return parse(rows, kind, name=str(path), skip_bad_rows=skip_bad_rows)


def from_tfds(
    source: Iterable[Mapping[str, Any]],
    kind: type[Kind],
    *,
    name: str = "row",
    skip_bad_rows: bool = False,
) -> tuple[list[Kind], Report]:
    """The records of a `tensorflow_datasets` source, whose texts are bytes.

    Args:
      source: what `builder.as_data_source(split=...)` gives, or any rows.
      name: what messages call the source; row i is `name:i`.

    Raises:
      ValueError: as `read`.
    """
    rows = ((f"{name}:{i}", texts(row)) for i, row in enumerate(source))
    return parse(rows, kind, name=name, skip_bad_rows=skip_bad_rows)


def texts(value: Any) -> Any:
    """The same with bytes as text and arrays as lists, wherever they are."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, Mapping):
        return {k: texts(v) for k, v in value.items()}
    return [texts(v) for v in value] if isinstance(value, list | tuple) else value


def parse(
    rows: Iterable[tuple[str, Any]], kind: type[Kind], *, name: str, skip_bad_rows: bool
) -> tuple[list[Kind], Report]:
    """Rows as records; odd dialogues are counted, malformed rows if told."""
    records: list[Any] = []
    read, kept, reasons = 0, 0, collections.Counter[str]()
    for where, row in published.paired(rows):
        read += 1
        try:
            if isinstance(row, fields.Malformed):
                raise row
            if isinstance(row, Exception):
                raise fields.Malformed(f"is not JSON ({row})")
            found = list(layouts.records(row, kind, where))
            records += found
            kept += bool(found)
            reasons["without a ranking"] += not found
            if dialogues.is_dialogue(row) and (remark := dialogues.remark(row)):
                reasons[remark] += 1
        except dialogues.Odd as odd:
            reasons[str(odd)] += 1
        except fields.Malformed as error:
            if not skip_bad_rows:
                raise ValueError(
                    f"{where}: {error}; mend the row, or pass --skip-bad-rows to "
                    "leave such rows out and count them"
                ) from error
            reasons["malformed"] += 1
    report = Report(read, kept, +reasons)
    if not records:
        raise ValueError(f"{name} holds no usable {kind.__name__} rows: {report}")
    return records, report


def holds_rankings(path: str | os.PathLike[str]) -> bool:
    """Whether the first row of a file compares more than two answers to a prompt."""
    where, row = next(files.rows_of(path), ("", None))
    try:
        found = layouts.rankings(row, where) if isinstance(row, Mapping) else None
        return any(len(ranking.answers) > 2 for ranking in found or ())
    except ValueError:  # said, with its line, where the row is read
        return False
