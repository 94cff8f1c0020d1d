"""Readers: records of files in all formats, and of TFDS sources.

Files are read as rows (see `formats.files`), those of annotation tools' exports become
a row for each annotation (see `exports`), and each row is parsed into a record of the
wanted kind (see `schemas.parser`).
"""

import collections
import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from jaxalign import messages
from jaxalign.data.exports import expand_rows
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
)
from jaxalign.data.row_errors import MalformedRow, UnusableRow
from jaxalign.data.schemas import hh_dialogue, parser, public_datasets, rankings
from jaxalign.data.schemas.field_names import LABEL_FIELDS

Kind = TypeVar("Kind", Demonstration, Preference, Prompt, Ranking, Unpaired)


def read(
    path: Paths,
    kind: type[Kind],
    *,
    skip_bad_rows: bool = False,
    max_row_chars: int = MAX_ROW_CHARS,
) -> tuple[list[Kind], RowReport]:
    """Read the records of one or more files, or of all files of a folder.

    Args:
      path: a file, a folder (read in natural order of file names), or several.
      kind: Demonstration, Preference, Ranking, Unpaired or Prompt.
      skip_bad_rows: count malformed rows instead of raising at the first one.
      max_row_chars: largest number of characters of a row; longer ones are malformed.

    Returns:
      The records, and the report on the rows.

    Raises:
      FileNotFoundError: no such file.
      ValueError: a malformed row (named by file, line and field), or no usable row.
    """
    records = stream(
        path, kind, skip_bad_rows=skip_bad_rows, max_row_chars=max_row_chars
    )
    return list(records), records.report


def stream(
    path: Paths,
    kind: type[Kind],
    *,
    skip_bad_rows: bool = False,
    max_row_chars: int = MAX_ROW_CHARS,
) -> "RecordStream[Kind]":
    """Iterate over records, as `read` does, for files larger than memory."""
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
    """Read the records of a `tensorflow_datasets` source, whose texts are bytes.

    Args:
      source: `builder.as_data_source(split=...)`, or any rows.
      name: name of the source in error messages; the location of row i is `name:i`.

    Returns:
      The records, and the report on the rows.

    Raises:
      ValueError: as `read`.
    """
    rows = (
        (f"{name}:{i}", row_limits.to_json_row(row)) for i, row in enumerate(source)
    )
    checked_rows = row_limits.check_rows(rows, max_row_chars)
    records = RecordStream(checked_rows, kind, name=name, skip_bad_rows=skip_bad_rows)
    return list(records), records.report


class RecordStream(Generic[Kind]):
    """Iterator over the records of rows, with a report on the rows read so far.

    Unusable rows are skipped and counted; malformed ones too, with `skip_bad_rows`.

    Args:
      rows: (location, row) pairs.
      kind: class of the records.
      name: name of the source in error messages.
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
        self.total, self.usable = 0, 0
        self.reasons = collections.Counter[str]()
        self.first_malformed = ""  # its place, and what is wrong with it

    @property
    def report(self) -> RowReport:
        """Report on the rows read so far."""
        return RowReport(self.total, self.usable, +self.reasons)

    def __iter__(self) -> Iterator[Kind]:
        rows = public_datasets.pair_ratings(self.rows)
        for location, row in expand_rows(rows):
            self.total += 1
            records = self.parse(row, location)
            self.usable += bool(records)
            yield from records
        if not self.usable:
            raise ValueError(
                f"{self.name} holds no usable {self.kind.__name__} rows: {self.report}"
                f"{self.first_malformed and f'; {self.first_malformed}'}"
            )

    def parse(self, row: Any, location: str) -> list[Any]:
        """Records of a row; none if the row is skipped, which is counted."""
        try:
            if isinstance(row, MalformedRow | UnusableRow):
                raise row
            records = list(parser.parse_row(row, self.kind, location))
            self.reasons["without a ranking"] += not records
            if hh_dialogue.is_dialogue(row):
                if irregularity := hh_dialogue.find_irregularity(row):
                    self.reasons[irregularity] += 1
            return records
        except UnusableRow as reason:
            self.reasons[str(reason)] += 1
        except (MalformedRow, RecursionError) as error:
            message = messages.shorten_middle(" ".join(str(error).split()), 240)
            self.first_malformed = self.first_malformed or f"{location}: {message}"
            if not self.skip_bad_rows:
                raise ValueError(
                    f"{location}: {message}; correct the row, or pass "
                    "--skip-bad-rows to skip and count such rows"
                ) from error
            field = getattr(error, "field", None)
            self.reasons[f"refused for {field!r}" if field else "malformed"] += 1
        return []


def has_unpaired_rows(
    path: Paths, *, rows: int = 1000, max_row_chars: int = MAX_ROW_CHARS
) -> bool:
    """Whether one of the first `rows` rows is a single answer with a label."""
    return any(is_unpaired_row(row) for _, row in first_rows(path, rows, max_row_chars))


def is_unpaired_row(row: Any) -> bool:
    """Whether a row is a single answer with a label, and not a pair.

    >>> is_unpaired_row({"prompt": "2 + 2?", "completion": "4", "label": True})
    True
    >>> is_unpaired_row({"chosen": "4", "rejected": "5", "label": 1})
    False
    """
    if not isinstance(row, Mapping) or {"chosen", "chosen_messages"} & set(row):
        return False
    return any(field in row for field in LABEL_FIELDS)


def has_ranking_rows(
    path: Paths, *, rows: int = 1000, max_row_chars: int = MAX_ROW_CHARS
) -> bool:
    """Whether one of the first `rows` rows ranks more than two answers to a prompt.

    The very first row does not suffice: it may be a tie or malformed.
    """
    return any(
        rankings.ranking_size(row, location) > 2
        for location, row in first_rows(path, rows, max_row_chars)
    )


def first_rows(path: Paths, count: int, max_row_chars: int) -> row_limits.Rows:
    """The first rows of the first file, those of exports as our own."""
    file = files.list_all_files(path)[0]
    rows = itertools.islice(files.read_rows(file, max_row_chars=max_row_chars), count)
    return expand_rows(rows)
