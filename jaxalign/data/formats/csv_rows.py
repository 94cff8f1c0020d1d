"""Rows of CSV and TSV files, whose first line has the field names.

A cell is literal text; an empty cell is a missing field. Fields that are numbers,
booleans, lists or objects in other formats are parsed as JSON.
"""

import csv
from collections.abc import Iterator
from typing import Any

from jaxalign.data.formats import file_io
from jaxalign.data.formats.json_rows import HEAD_BYTES, refuse_encodings
from jaxalign.data.formats.json_window import MAX_ESCAPED_LENGTH, parse_json_bytes
from jaxalign.data.formats.row_limits import Rows, row_too_long
from jaxalign.data.row_errors import MalformedRow

# fields that are never text
TYPED_FIELDS = frozenset(
    "label labels label_prob kto_tag desirable margin score score_A score_B rating "
    "weight loss_weight train mask preference_strength helpfulness choice messages "
    "conversations chosen_messages rejected_messages tools history answers references "
    "completions".split()
)


class RowTooLong(Exception):
    """A row with more characters than the limit."""


def read_csv_rows(path: str, max_row_chars: int, *, delimiter: str = ",") -> Rows:
    """Read the rows of a file, each with the location of its first line.

    Raises:
      ValueError: a file that is not UTF-8, or without field names in its first line.
    """
    # a limit of the whole process; `RowLines` enforces the tighter one of this file
    csv.field_size_limit(max(csv.field_size_limit(), max_row_chars + 1))
    refuse_encodings(path, file_io.read_head(path, HEAD_BYTES))
    with file_io.open_binary(path) as file:
        lines = RowLines(file, max_row_chars)
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        header: list[str] = []
        while True:
            lines.begin_row()
            location = f"{path}:{lines.number + 1}"
            try:
                cells: Any = next(reader)
            except StopIteration:
                return
            except RowTooLong:
                cells = row_too_long(max_row_chars)
            except (csv.Error, UnicodeDecodeError) as error:
                cells = MalformedRow(f"is not CSV ({error})")
            if not header:
                header = parse_header(location, cells, delimiter)
            elif cells:
                yield location, build_row(header, cells)


class RowLines(Iterator[str]):
    """The lines of a file as text; a row, which may have several, is limited in size.

    Args:
      file: a binary file.
      max_row_chars: largest number of characters of a row.

    Attributes:
      number: lines read so far.
    """

    def __init__(self, file: Any, max_row_chars: int) -> None:
        self.file, self.limit = file, max_row_chars
        self.number, self.row_chars = 0, 0

    def begin_row(self) -> None:
        """Start counting the characters of a new row."""
        self.row_chars = 0

    def __next__(self) -> str:
        limit = 4 * self.limit  # bytes of that many characters in UTF-8
        line = self.file.readline(limit)
        if not line:
            raise StopIteration
        self.number += 1
        is_complete = len(line) < limit or line.endswith(b"\n")
        while not is_complete and (rest := self.file.readline(limit)):
            is_complete = rest.endswith(b"\n")
            line = b""
        text = line.decode("utf-8-sig" if self.number == 1 else "utf-8")
        self.row_chars += len(text)
        if not line or self.row_chars > self.limit + MAX_ESCAPED_LENGTH:
            raise RowTooLong
        return text


def parse_header(location: str, cells: Any, delimiter: str) -> list[str]:
    """Parse the field names in the first line.

    Raises:
      ValueError: a malformed line, a duplicate name, or another delimiter.
    """
    if isinstance(cells, MalformedRow):
        raise ValueError(f"{location}: the line of field names {cells}")
    fields = [cell.strip() for cell in cells]
    duplicates = sorted(field for field in set(fields) if fields.count(field) > 1)
    if duplicates:
        raise ValueError(f"{location}: the field {duplicates[0][:80]!r} is there twice")
    other = next((d for d in ";\t|," if d != delimiter and d in "".join(fields)), "")
    if len(fields) == 1 and other:
        raise ValueError(
            f"{location}: the delimiter is {other!r}; expected {delimiter!r}: save the "
            "file with commas as .csv, or with tabs as .tsv"
        )
    return fields


def build_row(header: list[str], cells: list[str] | MalformedRow) -> Any:
    """Build a row, or return a `MalformedRow`."""
    if isinstance(cells, MalformedRow):
        return cells
    if len(cells) != len(header):
        return MalformedRow(
            f"has {len(cells)} cells; expected {len(header)}, as in the first line"
        )
    row = {}
    for name, cell in zip(header, cells, strict=True):
        if cell:
            row[name] = parse_cell(name, cell)
            if isinstance(row[name], MalformedRow):
                return row[name]
    return row


def parse_cell(name: str, cell: str) -> Any:
    """Parse a cell: JSON in a typed field, messages in any field; else its text."""
    text = cell.strip()
    is_messages = text.startswith("[{") and text.endswith("}]")
    if name not in TYPED_FIELDS and not is_messages:
        return cell
    if text.lower() in ("true", "false"):
        text = text.lower()
    value = parse_json_bytes(text.encode("utf-8", "surrogatepass"))
    if not isinstance(value, MalformedRow):
        return value
    if not is_messages and text[:1] not in "[{":
        return cell  # text in the place of a number is refused with the row's schema
    return MalformedRow(f"field {name[:80]!r} {value}; write lists and objects as JSON")
