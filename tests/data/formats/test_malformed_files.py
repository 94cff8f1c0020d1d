"""Malformed files: an error of one line that names the file and its fault."""

import gzip
import re

import numpy as np
import pyarrow as pa
import pytest

from jaxalign.data import readers
from jaxalign.data.records import Preference
from tests.data.bad_files import PAIR, PAIR_JSON, error_message, pair_table, write_table
from tests.data.row_files import COMPRESS, write

DATA = f'{{"data": [{PAIR_JSON}, {PAIR_JSON}]}}'

OPEN = DATA[:-1].encode()

CSV = b"prompt,chosen,rejected\n"

FILES = [
    # file name, bytes, beginning of the message after the path
    ("a.json", b"[" + PAIR_JSON.encode() + b",]", ":1: is not JSON (Expecting value)"),
    ("a.json", b"[\n" + PAIR_JSON.encode() + b"\n", ":3: is not JSON (expecting ','"),
    ("a.json", b"[\n]\n[]", ":3: is not JSON (text follows the list)"),
    ("a.json", b'["\xff"]', ":1: is not UTF-8"),
    ("a.json", b'[{"prompt": \n"\xe9"}]', ":2: is not UTF-8"),
    ("a.json", DATA.encode() + b"1", ":1: is not JSON (text follows the object"),
    ("a.json", OPEN, ":1: is not JSON (expecting ','"),
    (
        "a.json",
        DATA[:-1].encode() + b', "rows": [{}]}',
        ": the fields 'data' and 'rows' are in one",
    ),
    (
        "a.json",
        OPEN + b', "system": "s"}',
        ": the fields 'data' and 'system'",
    ),
    ("a.json", b'{"train": [{}], "test": [{}]}', " holds the split 'train' of a data"),
    (
        "a.json",
        OPEN + b', "data": [{}]}',
        ":1: field 'data' is there twice",
    ),
    ("a.json", b"", " holds no usable Preference rows: 0 of 0 rows"),
    ("a.json", b"[]", " holds no usable Preference rows: 0 of 0 rows"),
    ("a.json", b"3", ":1: is not a JSON object"),
    ("a.json", b'"text"', ":1: is not a JSON object"),
    ("a.json", b"[" * 99_999, ":1: is not JSON (it ends within a value)"),
    ("a.jsonl", b"\n\n \n", " holds no usable Preference rows: 0 of 0 rows"),
    ("a.jsonl", PAIR_JSON.encode("utf-16"), " is UTF-16 or UTF-32: save it as UTF-8"),
    (
        "a.jsonl",
        PAIR_JSON.encode("utf-16-be"),
        " is UTF-16 or UTF-32: save it as UTF-8",
    ),
    ("a.json", f"[{PAIR_JSON}]".encode("utf-16-le"), " is UTF-16 or UTF-32: save it"),
    ("a.csv", (CSV * 2).decode().encode("utf-16"), " is UTF-16 or UTF-32: save it"),
    ("a.jsonl", PAIR_JSON.encode().replace(b" ", b"\r"), ":1: lines end in CR alone"),
    ("a.jsonl", (PAIR_JSON + "\r").encode() * 3, ":1: lines end in CR alone"),
    ("a.csv", CSV.replace(b"\n", b"\r") * 2, ":1: lines end in CR alone"),
    ("a.csv", b"", " holds no usable Preference rows: 0 of 0 rows"),
    ("a.csv", CSV, " holds no usable Preference rows: 0 of 0 rows"),
    (
        "a.csv",
        CSV.replace(b",", b";") + b"a;b;c",
        ":1: the delimiter is ';'",
    ),
    ("a.tsv", CSV + b"a,b,c", ":1: the delimiter is ','"),
    ("a.csv", b"prompt,chosen,chosen\na,b,c", ":1: the field 'chosen' is there twice"),
    ("a.csv", CSV + b"a,b\n", ":2: has 2 cells; expected 3"),
    ("a.csv", CSV + b"a,b,c\na,b,c,d", ":3: has 4 cells; expected 3"),
    ("a.csv", CSV + b'a,b,"c\n\n', ":2: is not CSV (unexpected end of data)"),
    ("a.csv", CSV + b'a,b,"c"d\n', ":2: is not CSV ("),
    ("a.csv", CSV + b"a,b,\xff\n", ":2: is not CSV ('utf-8' codec"),
    ("a.csv", b"\xff,chosen\n", ":1: the line of field names is not CSV"),
    ("a.csv", CSV + b"a,b,c\0\n", ":2: field 'rejected' holds the NUL character"),
    ("a.csv", CSV + b"a,b," + b"x" * 2_000_000, ":2: holds more characters than"),
    ("a.csv", b"x" * 2_000_000, ":1: the line of field names holds more char"),
    (
        "a.csv",
        b"messages\n\"[{'role': 'user'}]\"\n",
        ":2: field 'messages' is not JSON",
    ),
    ("a.csv", b"prompt\n\"[{'role': 'user'}]\"\n", ":2: field 'prompt' is not JSON"),
    ("a.parquet", b"", " is not a valid Parquet file: "),
    (
        "a.parquet",
        b"PAR1" + b"\xff" * 99 + b"PAR1",
        " is not a valid Parquet file",
    ),
    ("a.arrow", b"", " is not a valid Arrow file: "),
    ("a.arrow", b"ARROW1\0\0" + b"\xff" * 99, " is not a valid Arrow file: "),
    ("a.feather", b"FEA1" + b"\0" * 99, " is not a valid Arrow file: version 1"),
    ("a.array_record", b"\0" * 99_999, " is not a valid ArrayRecord file: "),
    ("a.array_record", PAIR_JSON.encode(), " is not a valid ArrayRecord file: "),
    ("a.txt", b"", " has the ending '.txt'; expected .jsonl, "),
    ("a.jsonl.zip", b"", " has the ending '.zip'; expected .jsonl, "),
    ("a.parquet.gz", b"", " has the ending '.gz'; expected .jsonl, "),
    ("a.gz", b"", " has the ending '.gz'; expected .jsonl, "),
    ("a.pkl", b"", " has the ending '.pkl'; expected .jsonl, "),
    ("jsonl", b"", " has no ending; expected .jsonl, "),
    ("a.", b"", " has the ending '.'; expected .jsonl, "),
    (".jsonl", b"", " holds no usable Preference rows: 0 of 0 rows"),
]


@pytest.mark.parametrize(("name", "data", "message"), FILES)
def test_a_malformed_file_is_named(name, data, message, tmp_path):
    path = tmp_path / name
    path.write_bytes(data)
    assert error_message(path).startswith(message)


@pytest.mark.parametrize("ending", COMPRESS)
@pytest.mark.parametrize("damage", ["cut", "zero", "other", "empty"])
def test_damaged_compression_is_named(ending, damage, tmp_path):
    if (damage, ending) == ("zero", ".zst"):
        pytest.skip("zstd files of pyarrow have no checksum: damage cannot be seen")
    rng = np.random.default_rng(0)
    rows = [PAIR | {"x": rng.bytes(40).hex()} for _ in range(5000)]
    path = write(tmp_path / f"rows.jsonl{ending}", rows)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    if damage == "cut":
        del data[middle:]
    elif damage == "zero":
        data[middle : middle + 9000] = bytes(9000)
    else:
        data = bytearray(PAIR_JSON.encode() if damage == "other" else b"")
    path.write_bytes(data)
    message = error_message(path, skip_bad_rows=True)
    if damage == "empty" and "is not a complete" not in message:
        assert message.endswith("0 of 0 rows")
    else:
        assert re.match(r":\d+: is not a complete ", message), message


def test_a_duplicate_column_is_named(tmp_path):
    columns = [pa.array(["a"])] * 4
    names = ["prompt", "chosen", "rejected", "chosen"]
    path = write_table(
        tmp_path / "rows.arrow", pa.Table.from_arrays(columns, names=names)
    )
    assert "the column 'chosen' is there twice" in error_message(path)


@pytest.mark.parametrize("ending", [".parquet", ".arrow"])
@pytest.mark.parametrize("damage", ["cut", "zero"])
def test_a_damaged_table_is_named(ending, damage, tmp_path):
    rng = np.random.default_rng(0)
    texts = pa.array([rng.bytes(40).hex() for _ in range(4000)])
    path = write_table(
        tmp_path / f"rows{ending}",
        pair_table(x=texts),
        **{"row_group_size": 1000, "write_page_checksum": True},
    )
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    if damage == "cut":
        del data[middle:]
    else:
        data[middle : middle + 5000] = bytes(5000)
    path.write_bytes(data)
    message = error_message(path, skip_bad_rows=True) if damage == "cut" else ""
    assert damage != "cut" or "is not a valid " in message
    if damage == "zero" and ending == ".parquet":
        assert ": after row 1000: " in error_message(
            path
        ) or "after row 2000" in error_message(path)


@pytest.mark.parametrize("limit", [0, -1, 10**20])
def test_a_limit_out_of_range_is_refused(limit, tmp_path):
    path = write(tmp_path / "rows.jsonl", [PAIR])
    with pytest.raises(ValueError, match=f"--max-row-chars is {limit}; expected 1 to"):
        readers.read(path, Preference, max_row_chars=limit)


def test_endless_empty_lines_are_refused(tmp_path):
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress(b"\n" * 3_000_000))
    assert error_message(path) == ":1000001: 1,000,001 consecutive empty lines"
