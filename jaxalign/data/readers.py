"""Records from files (see `files`) and from TFDS sources.

What rows may look like is in `parser`.
"""

import collections
import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from jaxalign.data.formats import files, row_limits
from jaxalign.data.formats.files import Paths
from jaxalign.data.formats.row_limits import MAX_ROW_CHARS
from jaxalign.data.records import (
    Demonstration,
    Preference,
    Prompt,
    Ranking,
    RowReport,
    Unpaired,
    demonstrations,
    extract_prompts,
    ranking_pairs,
    unpaired_answers,
)
from jaxalign.data.schemas import checks, hh_dialogue, parser, public_datasets, rankings

__all__ = [
    "Demonstration",
    "Preference",
    "Prompt",
    "Ranking",
    "RecordStream",
    "RowReport",
    "Unpaired",
    "demonstrations",
    "from_tfds",
    "ranking_pairs",
    "extract_prompts",
    "read",
    "stream",
    "unpaired_answers",
]

Kind = TypeVar("Kind", Demonstration, Preference, Prompt, Ranking, Unpaired)


def read(
    path: Paths,
    kind: type[Kind],
    *,
    skip_bad_rows: bool = False,
    max_row_chars: int = MAX_ROW_CHARS,
) -> tuple[list[Kind], RowReport]:
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
) -> "RecordStream[Kind]":
    """`read`, one record after the other, for files larger than memory."""
    rows = (
        row
        for file in files.list_all_files(path)
        for row in files.read_rows(file, max_row_chars=max_row_chars)
    )
    name = files.describe_paths(path)
    return RecordStream(rows, kind, name=name, skip_bad_rows=skip_bad_rows)


def from_tfds(
    source: Iterable[Mapping[str, Any]],
    kind: type[Kind],
    *,
    name: str = "row",
    skip_bad_rows: bool = False,
    max_row_chars: int = MAX_ROW_CHARS,
) -> tuple[list[Kind], RowReport]:
    """The records of a `tensorflow_datasets` source, whose texts are bytes.

    Args:
      source: what `builder.as_data_source(split=...)` gives, or any rows.
      name: what messages call the source; row i is `name:i`.

    Raises:
      ValueError: as `read`.
    """
    rows = (
        (f"{name}:{i}", row_limits.to_json_row(row)) for i, row in enumerate(source)
    )
    checked = row_limits.check_rows(rows, max_row_chars)
    reading = RecordStream(checked, kind, name=name, skip_bad_rows=skip_bad_rows)
    return list(reading), reading.report


class RecordStream(Generic[Kind]):
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
    def report(self) -> RowReport:
        """What became of the rows that were read."""
        return RowReport(self.read, self.kept, +self.reasons)

    def __iter__(self) -> Iterator[Kind]:
        for where, row in public_datasets.pair_ratings(self.rows):
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
            if isinstance(row, checks.MalformedRow | hh_dialogue.UnusableRow):
                raise row
            found = list(parser.parse_row(row, self.kind, where))
            self.reasons["without a ranking"] += not found
            if hh_dialogue.is_dialogue(row) and (
                remark := hh_dialogue.find_irregularity(row)
            ):
                self.reasons[remark] += 1
            return found
        except hh_dialogue.UnusableRow as odd:
            self.reasons[str(odd)] += 1
        except (checks.MalformedRow, RecursionError) as error:
            if not self.skip_bad_rows:
                raise ValueError(
                    f"{where}: {one_line(error)}; mend the row, or pass --skip-bad-rows "
                    "to leave such rows out and count them"
                ) from error
            field = getattr(error, "field", None)
            self.reasons[f"refused for {field!r}" if field else "malformed"] += 1
        return []


def one_line(error: Exception, *, length: int = 240) -> str:
    """An error's message on one line, without the middle of a long one."""
    said = " ".join(str(error).split())
    return said if len(said) <= length else f"{said[: length - 63]} ... {said[-58:]}"


def has_unpaired_rows(
    path: Paths, *, rows: int = 1000, max_row_chars: int = MAX_ROW_CHARS
) -> bool:
    """Whether one of the first rows is a single answer with its label."""
    return any(is_unpaired_row(row) for _, row in first_rows(path, rows, max_row_chars))


def is_unpaired_row(row: Any) -> bool:
    """Whether a row is a single answer with its label, not a pair.

    >>> is_unpaired_row({"prompt": "2 + 2?", "completion": "4", "label": True})
    True
    >>> is_unpaired_row({"chosen": "4", "rejected": "5", "label": 1})
    False
    """
    if not isinstance(row, Mapping) or {"chosen", "chosen_messages"} & set(row):
        return False
    return any(field in row for field in parser.LABEL_FIELDS)


def first_rows(path: Paths, rows: int, max_row_chars: int) -> files.Rows:
    """The first rows of the first of some files."""
    file = files.list_all_files(path)[0]
    return itertools.islice(files.read_rows(file, max_row_chars=max_row_chars), rows)


def has_ranking_rows(
    path: Paths, *, rows: int = 1000, max_row_chars: int = MAX_ROW_CHARS
) -> bool:
    """Whether one of the first rows ranks more than two answers to a prompt.

    Not the first row alone, which may have a tie or be malformed.
    """
    first = first_rows(path, rows, max_row_chars)
    return any(rankings.ranking_size(row, where) > 2 for where, row in first)
