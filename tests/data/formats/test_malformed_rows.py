"""Malformed rows in every format are named in an error, or counted."""

import re

import numpy as np
import pyarrow as pa
import pytest
from array_record.python import array_record_module

from jaxalign.data import readers
from jaxalign.data.records import Preference
from tests.data.bad_files import (
    HINT,
    LIMIT,
    PAIR,
    PAIR_JSON,
    error_message,
    nested_json,
    pair_table,
    pair_with,
    row_counts,
    write_table,
)
from tests.data.row_files import COMPRESS

# a malformed row, and the message without the line
ROWS = [
    (pair_with(nested_json(150)), r"field 'x\[0\].* nested more than 100 levels"),
    (pair_with(nested_json(5000)), "is nested more than 100 levels deep"),
    (pair_with(nested_json(120, '{"a":', "}")), "nested more than 100 levels"),
    (pair_with(nested_json(1900, '{"a":', "}")), "is nested more than 100 levels deep"),
    (pair_with("9" * 400), "field 'x' is an integer of more than 308 digits"),
    (
        pair_with(f'[{{"y": -{"7" * 5000}}}]'),
        r"'x\[0\].y' is an integer of more than 308",
    ),
    (
        pair_with('"\\ud800"'),
        r"field 'x' holds a lone surrogate, U\+D800, at character 1",
    ),
    (
        pair_with('["ab\\udfff"]'),
        r"'x\[0\]' holds a lone surrogate, U\+DFFF, at char.* 3",
    ),
    (PAIR_JSON.replace("prompt", "\\ud83d"), "holds a lone surrogate"),
    (
        PAIR_JSON.replace('"q"', '"q\\u0000"'),
        r"field 'prompt' holds the NUL .* character 2",
    ),
    (pair_with('{"\\u0000": 1}'), "holds the NUL character"),
    (pair_with("NaN"), "field 'x' is NaN or infinite; expected"),
    (pair_with("[1, [-Infinity]]"), "field 'x' is NaN or infinite; expected"),
    (pair_with('{"y": 1e999}'), "field 'y' is NaN or infinite; expected"),
    (PAIR_JSON[:-1] + ', "chosen": "c"}', "field 'chosen' is there twice"),
    (pair_with('[{"a": 1, "a": 2}]'), "field 'a' is there twice"),
    (
        pair_with('"' + "x" * 2000 + '"'),
        "holds 2,0.. characters, more than --max-row-chars",
    ),
    (
        pair_with(f'["{"x" * 600}", "{"é" * 600}"]'),
        "characters, more than --max-row-chars",
    ),
    (pair_with('"' + "x" * 20_000 + '"'), "more characters than --max-row-chars 1,000"),
]


@pytest.mark.parametrize(("row", "message"), ROWS)
@pytest.mark.parametrize("ending", [".jsonl", ".json", ".array_record", ".jsonl.zst"])
def test_a_malformed_row_is_named_or_counted(ending, row, message, tmp_path):
    path = tmp_path / f"rows{ending}"
    rows = [PAIR_JSON, PAIR_JSON, row, PAIR_JSON]
    text = "".join(f"{row}\n" for row in rows)
    if ending == ".array_record":
        writer = array_record_module.ArrayRecordWriter(str(path), "group_size:1")
        for each in rows:
            writer.write(each.encode())
        writer.close()
    elif ending == ".json":
        path.write_text("[\n" + ",\n".join(rows) + "\n]")
    else:
        path.write_bytes(COMPRESS.get(path.suffix, bytes)(text.encode()))
    line = 4 if ending == ".json" else 3
    error = error_message(path, **LIMIT)
    assert error.startswith(f":{line}: ") and error.endswith(HINT)
    assert re.search(message, error), error
    assert row_counts(path, **LIMIT) == (3, 4)


# malformed lines: in a list, the next row could not be error after these
LINES = [
    (b"{", "is not JSON"),
    (b'{"prompt": "\xff"}', "is not JSON .not UTF-8: byte 13"),
    (b"\0\0\0", "is not JSON"),
    (b"'prompt'", "is not JSON"),
    (b"[1]", "is not a JSON object"),
    (b"null", "is not a JSON object"),
    (b'{"prompt": "a\tb"}', "is not JSON .Invalid control character"),
    (PAIR_JSON.encode() + PAIR_JSON.encode(), "is not JSON .Extra data"),
    ("\ufeff".encode("utf-16-le") + PAIR_JSON.encode("utf-16-le"), "is not JSON"),
]


@pytest.mark.parametrize(("line", "message"), LINES)
def test_a_malformed_line_is_named_or_counted(line, message, tmp_path):
    path = tmp_path / "rows.jsonl"
    line = line.replace(b"\n", b"")
    path.write_bytes(b"\n".join([PAIR_JSON.encode(), b"", line, PAIR_JSON.encode()]))
    error = error_message(path)
    assert error.startswith(":3: ")
    assert re.search(message, error), error
    assert row_counts(path) == (2, 3)


def raw_text(*texts):
    """An array of text from unchecked bytes."""
    lengths = np.cumsum([0, *map(len, texts)]).astype(np.int32)
    buffers = [None, pa.py_buffer(lengths.tobytes()), pa.py_buffer(b"".join(texts))]
    return pa.Array.from_buffers(pa.string(), len(texts), buffers)


FAR = pa.array([0, 2**62], pa.timestamp("ms"))

COLUMNS = [
    # a column whose second value is malformed, and the message
    (FAR, "field 'x' cannot be read"),
    (pa.array([0, 2**31 - 1], pa.date32()), "field 'x' cannot be read"),
    (pa.array([[0], [2**62]], pa.list_(pa.timestamp("ms"))), "'x' cannot be read"),
    (raw_text(b"a", b"\xff\xfe"), "field 'x' cannot be read"),
    (pa.array([b"a", b"\x89PNG"]), "field 'x' holds bytes that are not UTF-8"),
    (
        pa.array([{"bytes": b"a"}, {"bytes": b"\xff"}]),
        "field 'x.bytes' holds bytes that are not UTF-8",
    ),
    (pa.array(["a", "b\0"]), r"field 'x' holds the NUL character"),
    (pa.array(["a", "b" * 2000]), "holds 2,0.. characters, more than --max-row"),
    (pa.array(["a", "b" * 20_000_000]), "more characters than --max-row-chars 1,000"),
    (pa.array([["a"], ["b"] * 2000]), "characters, more than --max-row-chars 1,000"),
]


@pytest.mark.parametrize("ending", [".parquet", ".arrow"])
@pytest.mark.parametrize(("column", "message"), COLUMNS)
def test_a_malformed_value_of_a_table_is_named_or_counted(
    ending, column, message, tmp_path
):
    path = write_table(tmp_path / f"rows{ending}", pair_table(x=column))
    error = error_message(path, **LIMIT)
    assert error.startswith(":2: ") and error.endswith(HINT)
    assert re.search(message, error), error
    assert row_counts(path, **LIMIT) == (1, 2)


def test_rows_of_tensorflow_datasets_are_checked():
    rows = [{key: key.encode() for key in PAIR} | {"x": x} for x in (b"a", b"\xff")]
    with pytest.raises(ValueError, match="tf:1: field 'x' holds bytes that are not"):
        readers.from_tfds(rows, Preference, name="tf")
    rows = [PAIR, PAIR | {"prompt": "\ud800"}, PAIR | {"x": "y" * 2000}]
    _, report = readers.from_tfds(rows, Preference, skip_bad_rows=True, **LIMIT)
    assert (report.usable, report.total) == (1, 3)
