"""Records from files (see `files`) and from TFDS sources.

What rows may look like is in `row_schemas`.
"""

import collections
import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from jaxalign.data import (
    files,
    hh_dialogue,
    public_datasets,
    rankings,
    row_checks,
    row_limits,
    row_schemas,
)
from jaxalign.data.files import Paths
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
from jaxalign.data.row_limits import MAX_ROW_CHARS

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
    path: Paths,
    kind: type[Kind],
    *,
    skip_bad_rows: bool = False,
    max_row_chars: int = MAX_ROW_CHARS,
) -> tuple[list[Kind], Report]:
    """The records of a file, of several, or of all files of a folder in their order.

    Args:
      kind: the record wanted: Demonstration, Preference, Ranking, Unpaired or Prompt.
      skip_bad_rows: count malformed rows rather than stop at the first.
      max_row_chars: characters of the longest row; longer ones are malformed.

    Raises:
      FileNotFoundError: no such file.
      ValueError: a malformed row (file, line and field are named), or no rows at all.
    """
    reading = stream(
        path, kind, skip_bad_rows=skip_bad_rows, max_row_chars=max_row_chars
    )
    return list(reading), reading.report


def stream(
    path: Paths,
    kind: type[Kind],
    *,
    skip_bad_rows: bool = False,
    max_row_chars: int = MAX_ROW_CHARS,
) -> "Reading[Kind]":
    """`read`, one record after the other, for files larger than memory."""
    rows = (
        row
        for file in files.files_of(path)
        for row in files.rows_of(file, max_row_chars=max_row_chars)
    )
    name = files.name_of(path)
    return Reading(rows, kind, name=name, skip_bad_rows=skip_bad_rows)


def from_tfds(
    source: Iterable[Mapping[str, Any]],
    kind: type[Kind],
    *,
    name: str = "row",
    skip_bad_rows: bool = False,
    max_row_chars: int = MAX_ROW_CHARS,
) -> tuple[list[Kind], Report]:
    """The records of a `tensorflow_datasets` source, whose texts are bytes.

    Args:
      source: what `builder.as_data_source(split=...)` gives, or any rows.
      name: what messages call the source; row i is `name:i`.

    Raises:
      ValueError: as `read`.
    """
    rows = ((f"{name}:{i}", row_limits.plain_row(row)) for i, row in enumerate(source))
    checked = row_limits.checked(rows, max_row_chars)
    reading = Reading(checked, kind, name=name, skip_bad_rows=skip_bad_rows)
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
        for where, row in public_datasets.paired(self.rows):
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
            if isinstance(row, row_checks.Malformed | hh_dialogue.Odd):
                raise row
            found = list(row_schemas.records(row, self.kind, where))
            self.reasons["without a ranking"] += not found
            if hh_dialogue.is_dialogue(row) and (remark := hh_dialogue.remark(row)):
                self.reasons[remark] += 1
            return found
        except hh_dialogue.Odd as odd:
            self.reasons[str(odd)] += 1
        except (row_checks.Malformed, RecursionError) as error:
            if not self.skip_bad_rows:
                raise ValueError(
                    f"{where}: {brief(error)}; mend the row, or pass --skip-bad-rows "
                    "to leave such rows out and count them"
                ) from error
            field = getattr(error, "field", None)
            self.reasons[f"refused for {field!r}" if field else "malformed"] += 1
        return []


def brief(error: Exception, *, length: int = 240) -> str:
    """An error's message on one line, without the middle of a long one."""
    said = " ".join(str(error).split())
    return said if len(said) <= length else f"{said[: length - 63]} ... {said[-58:]}"


def holds_unpaired(
    path: Paths, *, rows: int = 1000, max_row_chars: int = MAX_ROW_CHARS
) -> bool:
    """Whether one of the first rows is a single answer with its label."""
    return any(is_unpaired(row) for _, row in first_rows(path, rows, max_row_chars))


def is_unpaired(row: Any) -> bool:
    """Whether a row is a single answer with its label, not a pair.

    >>> is_unpaired({"prompt": "2 + 2?", "completion": "4", "label": True})
    True
    >>> is_unpaired({"chosen": "4", "rejected": "5", "label": 1})
    False
    """
    if not isinstance(row, Mapping) or {"chosen", "chosen_messages"} & set(row):
        return False
    return any(field in row for field in row_schemas.THUMBS)


def first_rows(path: Paths, rows: int, max_row_chars: int) -> files.Rows:
    """The first rows of the first of some files."""
    file = files.files_of(path)[0]
    return itertools.islice(files.rows_of(file, max_row_chars=max_row_chars), rows)


def holds_rankings(
    path: Paths, *, rows: int = 1000, max_row_chars: int = MAX_ROW_CHARS
) -> bool:
    """Whether one of the first rows ranks more than two answers to a prompt.

    Not the first row alone, which may have a tie or be malformed.
    """
    first = first_rows(path, rows, max_row_chars)
    return any(rankings.answers_compared(row, where) > 2 for where, row in first)
