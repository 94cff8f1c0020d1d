"""Records from files (see `files`) and from TFDS sources.

What rows may look like is in `layouts`.
"""

import collections
import itertools
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from jaxalign.data import dialogues, fields, files, layouts, published, rankings
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
    "Reading",
    "Report",
    "Unpaired",
    "demonstrations",
    "from_tfds",
    "pairs",
    "prompts",
    "read",
    "stream",
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
    reading = stream(path, kind, skip_bad_rows=skip_bad_rows)
    return list(reading), reading.report


def stream(
    path: str | os.PathLike[str], kind: type[Kind], *, skip_bad_rows: bool = False
) -> "Reading[Kind]":
    """`read`, one record after the other, for files larger than memory."""
    rows = (row for file in files.files(path) for row in files.rows_of(file))
    return Reading(rows, kind, name=str(path), skip_bad_rows=skip_bad_rows)


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
    """All rows as records."""
    reading = Reading(rows, kind, name=name, skip_bad_rows=skip_bad_rows)
    return list(reading), reading.report


class Reading(Generic[Kind]):
    """Records, one after the other, and the report on those read so far.

    Odd dialogues are left out and counted, malformed rows if told so.
    """

    def __init__(
        self,
        rows: Iterable[tuple[str, Any]],
        kind: type[Kind],
        *,
        name: str,
        skip_bad_rows: bool,
    ) -> None:
        self.rows = rows
        self.kind: type[Any] = kind
        self.name = name
        self.skip_bad_rows = skip_bad_rows
        self.read, self.kept = 0, 0
        self.reasons = collections.Counter[str]()

    @property
    def report(self) -> Report:
        """What became of the rows that were read."""
        return Report(self.read, self.kept, +self.reasons)

    def __iter__(self) -> Iterator[Kind]:
        for where, row in published.paired(self.rows):
            self.read += 1
            found = self.records(row, where)
            self.kept += bool(found)
            yield from found
        if not self.kept:
            raise ValueError(
                f"{self.name} holds no usable {self.kind.__name__} rows: {self.report}"
            )

    def records(self, row: Any, where: str) -> list[Any]:
        """The records of a row; none where it is left out, and counted."""
        try:
            if isinstance(row, fields.Malformed | dialogues.Odd):
                raise row
            if isinstance(row, Exception):
                raise fields.Malformed(f"is not JSON ({row})")
            found = list(layouts.records(row, self.kind, where))
            self.reasons["without a ranking"] += not found
            if dialogues.is_dialogue(row) and (remark := dialogues.remark(row)):
                self.reasons[remark] += 1
            return found
        except dialogues.Odd as odd:
            self.reasons[str(odd)] += 1
        except (fields.Malformed, RecursionError) as error:
            if not self.skip_bad_rows:
                raise ValueError(
                    f"{where}: {error}; mend the row, or pass --skip-bad-rows to "
                    "leave such rows out and count them"
                ) from error
            field = getattr(error, "field", None)
            self.reasons[f"refused for {field!r}" if field else "malformed"] += 1
        return []


def holds_rankings(path: str | os.PathLike[str], *, rows: int = 1000) -> bool:
    """Whether one of the first rows ranks more than two answers to a prompt.

    Not the first row alone, which may have a tie or be malformed.
    """
    first = itertools.islice(files.rows_of(path), rows)
    return any(rankings.answers_compared(row, where) > 2 for where, row in first)
