"""Malformed files for tests: rows, tables, and checks of the error messages."""

import json

import pyarrow as pa
import pyarrow.parquet
import pytest

from jaxalign.data import readers
from jaxalign.data.records import Preference

PAIR_JSON = '{"prompt": "q", "chosen": "a", "rejected": "b"}'
PAIR = json.loads(PAIR_JSON)
HINT = "; correct the row, or pass --skip-bad-rows to skip and count such rows"
LIMIT = {"max_row_chars": 1000}


def error_message(path, kind=Preference, **flags):
    """Message of the error that `read` raises, without the path; one short line."""
    with pytest.raises((ValueError, OSError)) as error:
        readers.read(path, kind, **flags)
    text = str(error.value)
    assert text.startswith(str(path)) and "\n" not in text
    assert len(text) < 400 + len(str(path))
    return text.removeprefix(str(path))


def row_counts(path, kind=Preference, **flags):
    """Numbers of usable and of all rows, with malformed rows skipped."""
    _, report = readers.read(path, kind, skip_bad_rows=True, **flags)
    return report.usable, report.total


def nested_json(levels, opened="[", closed="]"):
    """JSON of a number in nested lists, or in other brackets."""
    return opened * levels + "1" + closed * levels


def pair_with(value):
    """JSON of a pair with a field x of this JSON."""
    return PAIR_JSON[:-1] + f', "x": {value}}}'


def pair_table(**columns):
    """A table of pairs with additional columns."""
    (count,) = {len(column) for column in columns.values()}
    texts = {name: pa.array([name] * count) for name in PAIR}
    return pa.table(texts | columns)


def write_table(path, rows, **settings):
    """Write a table as Parquet or Arrow, and return the path."""
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(rows, path, **settings)
        return path
    with pa.ipc.new_file(path, rows.schema) as writer:
        writer.write_table(rows)
    return path
