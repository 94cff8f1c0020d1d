"""Rows of CSV and TSV files, whose first line names the fields.

A cell is text, as it stands; an empty cell is no field. Fields that are numbers, truth
values, lists or objects in every other format are so here, too, written as in JSON.
"""

import csv
from collections.abc import Iterator
from typing import Any

from jaxalign.data.formats import file_io
from jaxalign.data.formats.json_rows import HEAD_BYTES, refuse_encodings
from jaxalign.data.formats.json_window import MAX_ESCAPED_LENGTH, parse_json_bytes
from jaxalign.data.formats.row_limits import Rows, row_too_long
from jaxalign.data.schemas.checks import MalformedRow

# fields that are never text
TYPED_FIELDS = frozenset(
    "label labels kto_tag desirable margin score score_A score_B rating weight "
    "loss_weight train mask preference_strength helpfulness choice messages "
    "conversations chosen_messages rejected_messages tools history answers references "
    "completions".split()
)


class RowTooLong(Exception):
    """A row longer than any may be."""


def read_csv_rows(path: str, max_row_chars: int, *, delimiter: str = ",") -> Rows:
    """The rows of a file, each with the line that it begins on.

    Raises:
      ValueError: a file that is not UTF-8, or whose first line names no fields.
    """
    # the module's own limit, for the whole process; `RowLines` has a tighter one
    csv.field_size_limit(max(csv.field_size_limit(), max_row_chars + 1))
    refuse_encodings(path, file_io.read_head(path, HEAD_BYTES))
    with file_io.open_binary(path) as file:
        lines = RowLines(path, file, max_row_chars)
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        header: list[str] = []
        while True:
            lines.chars, line = 0, lines.number + 1
            try:
                cells: Any = next(reader)
            except StopIteration:
                return
            except RowTooLong:
                cells = row_too_long(max_row_chars)
            except (csv.Error, UnicodeDecodeError) as error:
                cells = MalformedRow(f"is not CSV ({error})")
            if not header:
                header = parse_header(f"{path}:{line}", cells, delimiter)
            elif cells:
                yield f"{path}:{line}", build_row(header, cells)


class RowLines(Iterator[str]):
    """The lines of a file as text; those of one row are at most so long.

    Attributes:
      chars: of the lines since it was last set to 0.
    """

    def __init__(self, path: str, file: Any, max_row_chars: int) -> None:
        self.path, self.file, self.limit = path, file, max_row_chars
        self.number, self.chars = 0, 0

    def __next__(self) -> str:
        limit = 4 * self.limit
        line = self.file.readline(limit)
        if not line:
            raise StopIteration
        self.number += 1
        whole = len(line) < limit or line.endswith(b"\n")
        while not whole and (more := self.file.readline(limit)):
            whole = more.endswith(b"\n")
            line = b""
        text = line.decode("utf-8-sig" if self.number == 1 else "utf-8")
        self.chars += len(text)
        if not line or self.chars > self.limit + MAX_ESCAPED_LENGTH:
            raise RowTooLong
        return text


def parse_header(where: str, cells: Any, delimiter: str) -> list[str]:
    """The fields that the first line names.

    Raises:
      ValueError: it does not, or names one twice.
    """
    if isinstance(cells, MalformedRow):
        raise ValueError(f"{where}: the line of the fields' names {cells}")
    fields = [cell.strip() for cell in cells]
    twice = sorted(field for field in set(fields) if fields.count(field) > 1)
    if twice:
        raise ValueError(f"{where}: the field {twice[0][:80]!r} is named twice")
    other = next((d for d in ";\t|," if d != delimiter and d in "".join(fields)), "")
    if len(fields) == 1 and other:
        raise ValueError(
            f"{where}: the fields are separated by {other!r}, not {delimiter!r}: save "
            "the file with commas as .csv, or with tabs as .tsv"
        )
    return fields


def build_row(header: list[str], cells: list[str] | MalformedRow) -> Any:
    """A row, or a `MalformedRow` that says why it is none."""
    if isinstance(cells, MalformedRow):
        return cells
    if len(cells) != len(header):
        return MalformedRow(f"has {len(cells)} cells, and the first line {len(header)}")
    row = {}
    for name, cell in zip(header, cells, strict=True):
        if cell:
            row[name] = parse_cell(name, cell)
            if isinstance(row[name], MalformedRow):
                return row[name]
    return row


def parse_cell(name: str, cell: str) -> Any:
    """A cell's value: JSON in a typed field, messages in any; else its text."""
    text = cell.strip()
    like_messages = text.startswith("[{") and text.endswith("}]")
    if name not in TYPED_FIELDS and not like_messages:
        return cell
    if text.lower() in ("true", "false"):
        text = text.lower()
    value = parse_json_bytes(text.encode("utf-8", "surrogatepass"))
    if not isinstance(value, MalformedRow):
        return value
    if not like_messages and text[:1] not in "[{":
        return cell  # text where a number should be; the row's reader says so
    return MalformedRow(f"field {name[:80]!r} {value}; write lists and objects as JSON")
