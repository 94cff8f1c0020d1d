"""Malformed files: each becomes records, or one sentence that says where.

`read` returns records or raises a ValueError or OSError of one line that names the
file; a row that is bad names its line or row, and is counted with skip_bad_rows.
"""

import datetime
import decimal
import gzip
import json
import re
import subprocess
import sys
import tracemalloc

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from array_record.python import array_record_module

from jaxalign.data import readers
from jaxalign.data.formats import files
from jaxalign.data.records import Demonstration, Preference
from tests.data.row_files import COMPRESS, write

GOOD = '{"prompt": "q", "chosen": "a", "rejected": "b"}'
PAIR = json.loads(GOOD)
MEND = "; correct the row, or pass --skip-bad-rows to skip and count such rows"


def sentence(path, kind=Preference, **flags):
    """What `read` says of a file that it refuses; whether it is one short line."""
    with pytest.raises((ValueError, OSError)) as error:
        readers.read(path, kind, **flags)
    text = str(error.value)
    assert text.startswith(str(path)) and "\n" not in text
    assert len(text) < 400 + len(str(path))
    return text.removeprefix(str(path))


def counts(path, kind=Preference, **flags):
    """Rows kept and rows read, of those that may be skipped."""
    _, report = readers.read(path, kind, skip_bad_rows=True, **flags)
    return report.usable, report.total


def deep(levels, opened="[", closed="]"):
    return opened * levels + "1" + closed * levels


def extra(value):
    """A pair with a field of this JSON."""
    return GOOD[:-1] + f', "x": {value}}}'


# a bad row, and what is said of it, without the line
ROWS = [
    (extra(deep(150)), r"field 'x\[0\].* nested more than 100 levels"),
    (extra(deep(5000)), "is nested more than 100 levels deep"),
    (extra(deep(120, '{"a":', "}")), "nested more than 100 levels"),
    (extra(deep(1900, '{"a":', "}")), "is nested more than 100 levels deep"),
    (extra("9" * 400), "field 'x' is an integer of more than 308 digits"),
    (extra(f'[{{"y": -{"7" * 5000}}}]'), r"'x\[0\].y' is an integer of more than 308"),
    (extra('"\\ud800"'), r"field 'x' holds a lone surrogate, U\+D800, at character 1"),
    (extra('["ab\\udfff"]'), r"'x\[0\]' holds a lone surrogate, U\+DFFF, at char.* 3"),
    (GOOD.replace("prompt", "\\ud83d"), "holds a lone surrogate"),
    (GOOD.replace('"q"', '"q\\u0000"'), r"field 'prompt' holds the NUL .* character 2"),
    (extra('{"\\u0000": 1}'), "holds the NUL character"),
    (extra("NaN"), "field 'x' is NaN or infinite; expected"),
    (extra("[1, [-Infinity]]"), "field 'x' is NaN or infinite; expected"),
    (extra('{"y": 1e999}'), "field 'y' is NaN or infinite; expected"),
    (GOOD[:-1] + ', "chosen": "c"}', "field 'chosen' is there twice"),
    (extra('[{"a": 1, "a": 2}]'), "field 'a' is there twice"),
    (
        extra('"' + "x" * 2000 + '"'),
        "holds 2,0.. characters, more than --max-row-chars",
    ),
    (extra(f'["{"x" * 600}", "{"é" * 600}"]'), "characters, more than --max-row-chars"),
    (extra('"' + "x" * 20_000 + '"'), "more characters than --max-row-chars 1,000"),
]
LIMIT = {"max_row_chars": 1000}


@pytest.mark.parametrize(("row", "said"), ROWS)
@pytest.mark.parametrize("ending", [".jsonl", ".json", ".array_record", ".jsonl.zst"])
def test_a_bad_row_is_named_and_counted(ending, row, said, tmp_path):
    path = tmp_path / f"rows{ending}"
    rows = [GOOD, GOOD, row, GOOD]
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
    told = sentence(path, **LIMIT)
    assert told.startswith(f":{line}: ") and told.endswith(MEND)
    assert re.search(said, told), told
    assert counts(path, **LIMIT) == (3, 4)


# of lines alone: in a list no one knows where the next row begins
LINES = [
    (b"{", "is not JSON"),
    (b'{"prompt": "\xff"}', "is not JSON .not UTF-8: byte 13"),
    (b"\0\0\0", "is not JSON"),
    (b"'prompt'", "is not JSON"),
    (b"[1]", "is not a JSON object"),
    (b"null", "is not a JSON object"),
    (b'{"prompt": "a\tb"}', "is not JSON .Invalid control character"),
    (GOOD.encode() + GOOD.encode(), "is not JSON .Extra data"),
    ("\ufeff".encode("utf-16-le") + GOOD.encode("utf-16-le"), "is not JSON"),
]


@pytest.mark.parametrize(("line", "said"), LINES)
def test_a_bad_line_is_named_and_counted(line, said, tmp_path):
    path = tmp_path / "rows.jsonl"
    line = line.replace(b"\n", b"")
    path.write_bytes(b"\n".join([GOOD.encode(), b"", line, GOOD.encode()]))
    told = sentence(path)
    assert told.startswith(":3: ")
    assert re.search(said, told), told
    assert counts(path) == (2, 3)


BOM = "\ufeff"
DATA = f'{{"data": [{GOOD}, {GOOD}]}}'
TEXTS = [
    # name, text, rows that are read
    ("a.json", f"[{GOOD}, {GOOD}]", 2),
    ("a.json", BOM + f" \r\n[\r\n{GOOD}\r\n]\r\n", 1),
    ("a.json", f"{GOOD}\n\n{GOOD}\n", 2),
    ("a.json", DATA, 2),
    ("a.json", json.dumps(json.loads(DATA), indent=1), 2),
    ("a.json", f'{{"version": "1", "rows": [{GOOD}], "license": null}}', 1),
    ("a.json", f'{{"examples": [\n{GOOD},\n{GOOD}\n]\n}}\n', 2),
    ("a.json", GOOD, 1),
    ("a.json", json.dumps(PAIR, indent=2), 1),
    ("A.JSON", f"[{GOOD}]", 1),
    ("a.jsonl", f"[{GOOD}, {GOOD}]", 2),
    ("a.jsonl", json.dumps([PAIR] * 3, indent=2), 3),
    ("a.jsonl", "\n".join([json.dumps(PAIR, indent=2)] * 3), 3),
    ("a.jsonl", DATA, 2),
    ("a.ndjson", BOM + f"{GOOD}\r\n{GOOD}", 2),
    ("a.jsonl", f'{{"data": [{{"k": 1}}], {GOOD[1:]}\n' * 2, 2),
    ("a.csv", "prompt,chosen,rejected\na,b,c\n", 1),
    ("a.csv", BOM + 'prompt,chosen,rejected\r\n"a, ""b""\nc",b,c\r\n\r\n', 1),
    ("a.csv", ",prompt,chosen,rejected,margin\n0,42,7,8,\n1,q,a,b,0.5\n", 2),
    ("A.TSV", 'prompt\tchosen\trejected\n"a\tb"\tc\td', 1),
    (
        "a.csv",
        'chosen,rejected\n"[{""role"": ""user"", ""content"": ""q""}, {""role"": '
        '""assistant"", ""content"": ""a""}]","[{""role"": ""user"", ""content"": '
        '""q""}, {""role"": ""assistant"", ""content"": ""b""}]"\n',
        1,
    ),
]


@pytest.mark.parametrize(("name", "text", "count"), TEXTS)
def test_content_decides_what_a_file_is(name, text, count, tmp_path):
    path = tmp_path / name
    path.write_bytes(text.encode())
    records, report = readers.read(path, Preference)
    assert (len(records), report.total) == (count, count)
    for record in records:
        line = int(record.location.rpartition(":")[2])
        assert text.split("\n")[line - 1].strip().strip(BOM)


def test_cells_of_csv_are_text_but_for_typed_fields(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("prompt,chosen,rejected,margin\n42,true,1e5,0.5\n")
    ((pair,), _) = readers.read(path, Preference)
    assert (pair.prompt[0]["content"], pair.chosen, pair.rejected) == (
        "42",
        "true",
        "1e5",
    )
    assert pair.margin == 0.5


OPEN = DATA[:-1].encode()
CSV = b"prompt,chosen,rejected\n"
FILES = [
    # name, bytes, what is said after the file's name
    ("a.json", b"[" + GOOD.encode() + b",]", ":1: is not JSON (Expecting value)"),
    ("a.json", b"[\n" + GOOD.encode() + b"\n", ":3: is not JSON (expecting ','"),
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
    ("a.jsonl", GOOD.encode("utf-16"), " is UTF-16 or UTF-32: save it as UTF-8"),
    ("a.jsonl", GOOD.encode("utf-16-be"), " is UTF-16 or UTF-32: save it as UTF-8"),
    ("a.json", f"[{GOOD}]".encode("utf-16-le"), " is UTF-16 or UTF-32: save it"),
    ("a.csv", (CSV * 2).decode().encode("utf-16"), " is UTF-16 or UTF-32: save it"),
    ("a.jsonl", GOOD.encode().replace(b" ", b"\r"), ":1: lines end in CR alone"),
    ("a.jsonl", (GOOD + "\r").encode() * 3, ":1: lines end in CR alone"),
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
    ("a.array_record", GOOD.encode(), " is not a valid ArrayRecord file: "),
    ("a.txt", b"", " has the ending '.txt'; expected .jsonl, "),
    ("a.jsonl.zip", b"", " has the ending '.zip'; expected .jsonl, "),
    ("a.parquet.gz", b"", " has the ending '.gz'; expected .jsonl, "),
    ("a.gz", b"", " has the ending '.gz'; expected .jsonl, "),
    ("a.pkl", b"", " has the ending '.pkl'; expected .jsonl, "),
    ("jsonl", b"", " has no ending; expected .jsonl, "),
    ("a.", b"", " has the ending '.'; expected .jsonl, "),
    (".jsonl", b"", " holds no usable Preference rows: 0 of 0 rows"),
]


@pytest.mark.parametrize(("name", "data", "said"), FILES)
def test_a_bad_file_is_named(name, data, said, tmp_path):
    path = tmp_path / name
    path.write_bytes(data)
    assert sentence(path).startswith(said)


@pytest.mark.parametrize("ending", COMPRESS)
@pytest.mark.parametrize("damage", ["cut", "zero", "other", "empty"])
def test_damaged_compression_is_named(ending, damage, tmp_path):
    if (damage, ending) == ("zero", ".zst"):
        pytest.skip("pyarrow writes no checksum, so that nothing can tell")
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
        data = bytearray(GOOD.encode() if damage == "other" else b"")
    path.write_bytes(data)
    said = sentence(path, skip_bad_rows=True)
    if damage == "empty" and "is not a complete" not in said:
        assert said.endswith("0 of 0 rows")
    else:
        assert re.match(r":\d+: is not a complete ", said), said


def table(**columns):
    """A table of pairs with these columns besides."""
    (count,) = {len(column) for column in columns.values()}
    texts = {name: pa.array([name] * count) for name in PAIR}
    return pa.table(texts | columns)


def raw_text(*texts):
    """An array of text from bytes that no one checks."""
    lengths = np.cumsum([0, *map(len, texts)]).astype(np.int32)
    buffers = [None, pa.py_buffer(lengths.tobytes()), pa.py_buffer(b"".join(texts))]
    return pa.Array.from_buffers(pa.string(), len(texts), buffers)


FAR = pa.array([0, 2**62], pa.timestamp("ms"))
COLUMNS = [
    # a column whose second value is bad, and what is said of it
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
@pytest.mark.parametrize(("column", "said"), COLUMNS)
def test_a_bad_value_of_a_table_is_named_and_counted(ending, column, said, tmp_path):
    path = write_table(tmp_path / f"rows{ending}", table(x=column))
    told = sentence(path, **LIMIT)
    assert told.startswith(":2: ") and told.endswith(MEND)
    assert re.search(said, told), told
    assert counts(path, **LIMIT) == (1, 2)


def write_table(path, rows, **settings):
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(rows, path, **settings)
        return path
    with pa.ipc.new_file(path, rows.schema) as writer:
        writer.write_table(rows)
    return path


def test_values_that_json_has_not_are_kept_as_it_would_write_them(tmp_path):
    path = write_table(
        tmp_path / "rows.parquet",
        table(
            margin=pa.array([decimal.Decimal("1.50")]),
            when=pa.array([datetime.datetime(2024, 1, 2, 3, 4, 5)]),
            precise=pa.array([10**18 + 1], pa.timestamp("ns")),
            day=pa.array([datetime.date(2024, 1, 2)]),
            chosen=pa.array([b"bytes"]),
        ),
    )
    ((pair,), _) = readers.read(path, Preference)
    assert (pair.margin, pair.chosen) == (1.5, "bytes")
    ((_, row),) = files.read_rows(path)
    assert (row["when"], row["day"]) == ("2024-01-02T03:04:05", "2024-01-02")
    assert row["precise"] == "2001-09-09T01:46:40"


def test_a_column_that_is_there_twice_is_named(tmp_path):
    columns = [pa.array(["a"])] * 4
    names = ["prompt", "chosen", "rejected", "chosen"]
    path = write_table(
        tmp_path / "rows.arrow", pa.Table.from_arrays(columns, names=names)
    )
    assert "the column 'chosen' is there twice" in sentence(path)


@pytest.mark.parametrize("ending", [".parquet", ".arrow"])
@pytest.mark.parametrize("damage", ["cut", "zero"])
def test_a_damaged_table_is_named(ending, damage, tmp_path):
    rng = np.random.default_rng(0)
    texts = pa.array([rng.bytes(40).hex() for _ in range(4000)])
    path = write_table(
        tmp_path / f"rows{ending}",
        table(x=texts),
        **{"row_group_size": 1000, "write_page_checksum": True},
    )
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    if damage == "cut":
        del data[middle:]
    else:
        data[middle : middle + 5000] = bytes(5000)
    path.write_bytes(data)
    said = sentence(path, skip_bad_rows=True) if damage == "cut" else ""
    assert damage != "cut" or "is not a valid " in said
    if damage == "zero" and ending == ".parquet":
        assert ": after row 1000: " in sentence(path) or "after row 2000" in sentence(
            path
        )


def test_a_line_too_long_takes_no_memory(tmp_path):
    """50 MB take 6 GB where they are parsed and tokenised; here two buffers of 1.2."""
    path = tmp_path / "rows.jsonl"
    row = extra('"' + "x" * 50_000_000 + '"')
    path.write_text(f"{GOOD}\n{row}\n{GOOD}\n")
    array = tmp_path / "rows.json"
    array.write_text(f"[{GOOD},\n{row},\n{GOOD}]\n")
    for each in (path, array):
        tracemalloc.start()
        assert counts(each, max_row_chars=100_000) == (2, 3)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 20_000_000
        assert sentence(each, max_row_chars=100_000).startswith(":2: holds more char")


@pytest.mark.parametrize("ending", [".gz", ".zst"])
def test_what_a_small_file_expands_to_takes_no_memory(ending, tmp_path):
    path = tmp_path / f"rows.jsonl{ending}"
    path.write_bytes(COMPRESS[ending](GOOD.encode() + b"\n" + b"x" * 100_000_000))
    assert path.stat().st_size < 300_000
    tracemalloc.start()
    assert counts(path, max_row_chars=100_000) == (1, 2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000


BOMB = """
import resource, sys
import pyarrow as pa, pyarrow.parquet as pq
from jaxalign.data import readers
from jaxalign.data.records import Preference
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
_, report = readers.read(sys.argv[1], Preference, skip_bad_rows=True)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(report.usable, report.total, (after - before) // 1024)
"""


@pytest.mark.slow
def test_a_value_that_a_table_repeats_takes_no_memory(tmp_path):
    """20 MB, stored once, in 100 of 101 rows: 2 GB as text."""
    path = tmp_path / "rows.parquet"
    long = pa.array(["x" * 20_000_000, "short"])
    indices = pa.array([0] * 100 + [1], pa.int8())
    column = pa.DictionaryArray.from_arrays(indices, long)
    write_table(path, table(x=column), store_schema=False, compression="zstd")
    assert path.stat().st_size < 100_000
    done = subprocess.run(
        [sys.executable, "-c", BOMB, path], capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    kept, read, megabytes = map(int, done.stdout.split())
    assert (kept, read) == (1, 101) and megabytes < 1300


@pytest.mark.parametrize("limit", [0, -1, 10**20])
def test_a_limit_out_of_bounds_is_refused(limit, tmp_path):
    path = write(tmp_path / "rows.jsonl", [PAIR])
    with pytest.raises(ValueError, match=f"--max-row-chars is {limit}; expected 1 to"):
        readers.read(path, Preference, max_row_chars=limit)


def test_empty_lines_without_end_are_refused(tmp_path):
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress(b"\n" * 3_000_000))
    assert sentence(path) == ":1000001: 1,000,001 consecutive empty lines"


def test_rows_of_tensorflow_datasets_are_checked_too():
    rows = [{key: key.encode() for key in PAIR} | {"x": x} for x in (b"a", b"\xff")]
    with pytest.raises(ValueError, match="tf:1: field 'x' holds bytes that are not"):
        readers.from_tfds(rows, Preference, name="tf")
    rows = [PAIR, PAIR | {"prompt": "\ud800"}, PAIR | {"x": "y" * 2000}]
    _, report = readers.from_tfds(rows, Preference, skip_bad_rows=True, **LIMIT)
    assert (report.usable, report.total) == (1, 3)


# files of ../shared/cases/bad whose fault is of a file or a line, not of a field's
# meaning: what is said, and rows kept and read where such rows are skipped
CASES = {
    "badutf8.parquet": (":1: field 'prompt' cannot be read", (0, 10)),
    "binary.parquet": (":1: field 'prompt' holds bytes that are not", (0, 10)),
    "corrupt2.jsonl.gz": (":1: is not a complete gzip file", None),
    "corruptfooter.parquet": (" is not a valid Parquet file", None),
    "corruptpage.parquet": (" is not a valid Parquet file: after row 0", None),
    "cr-only.jsonl": (":1: lines end in CR alone", None),
    "cut.parquet": (" is not a valid Parquet file", None),
    "deep-tree.jsonl": (":6: field 'prompt.replies", (20, 21)),
    "duplicate-keys.jsonl": (":6: field 'chosen' is there twice", (20, 21)),
    "empty-file.jsonl": (" holds no usable Preference rows", None),
    "empty.array_record": (" is not a valid ArrayRecord file", None),
    "empty.json": (" holds no usable Preference rows", None),
    "empty.parquet": (" holds no usable Preference rows", None),
    "emptyarray.json": (" holds no usable Preference rows", None),
    "garbage.array_record": (" is not a valid ArrayRecord file", None),
    "garbage.jsonl": (":1: is not JSON (not UTF-8", None),
    "huge-int-5000-digits.jsonl": (":6: field 'margin' is an integer of", (20, 21)),
    "lone-surrogate-chosen.jsonl": (":6: field 'chosen' holds a lone", (20, 21)),
    "lone-surrogate.jsonl": (":6: field 'prompt' holds a lone", (20, 21)),
    "margin-1e400-int.jsonl": (":6: field 'margin' is an integer of", (20, 21)),
    "margin-inf.jsonl": (
        ":6: field 'margin' is NaN or infinite; expected",
        (20, 21),
    ),
    "margin-nan.jsonl": (
        ":6: field 'margin' is NaN or infinite; expected",
        (20, 21),
    ),
    "nul-bytes.jsonl": (":6: is not JSON", (20, 21)),
    "nul-in-text.jsonl": (":6: field 'prompt' holds the NUL", (20, 21)),
    "only-newlines.jsonl": (" holds no usable Preference rows", None),
    "pairs.jsonl.zst": (":1: is not a complete zstd file", None),
    "pairs.txt": (" has the ending '.txt'; expected .jsonl", None),
    "pairsnoext": (" has no ending; expected .jsonl", None),
    "plain.jsonl.gz": (":1: is not a complete gzip file", None),
    "row-is-null.jsonl": (":6: is not a JSON object", (20, 21)),
    "row-is-number.jsonl": (":6: is not a JSON object", (20, 21)),
    "row-is-string.jsonl": (":6: is not a JSON object", (20, 21)),
    "scalar.json": (":1: is not a JSON object", (0, 1)),
    "text.parquet": (" is not a valid Parquet file", None),
    "timestamp.parquet": (":1: field 'when' cannot be read", (0, 10)),
    "trailing.json": (":1: is not JSON (Expecting value)", None),
    "truncated.jsonl.gz": (":207: is not a complete gzip file", None),
    "truncated-line.jsonl": (":6: is not JSON", (20, 21)),
    "two.json": (":1: is not JSON (text follows the list)", None),
    "utf16.jsonl": (" is UTF-16 or UTF-32", None),
    "wrong-utf8.jsonl": (":6: is not JSON (not UTF-8", (20, 21)),
    "x.parquet": (" is not a valid Parquet file", None),
}
READ = {
    "PAIRS.JSONL": 20,
    "bom.jsonl": 20,
    "crlf.jsonl": 20,
    "json-as-jsonl.jsonl": 20,
    "json-pretty-as-jsonl.jsonl": 20,
    "jsonl-as-json.json": 20,
    "object.json": 20,
    "ok.parquet": 20,
    "one-row.jsonl": 1,
    "pairs.csv": 1,
    "two-rows.jsonl": 2,
}


@pytest.mark.parametrize("name", CASES)
def test_cases_that_are_refused(name, cases):
    said, kept = CASES[name]
    path = cases / "bad" / name
    assert sentence(path).startswith(said)
    if kept is None:
        sentence(path, skip_bad_rows=True)
    elif kept[0]:
        assert counts(path) == kept
    else:
        assert f"0 of {kept[1]} rows" in sentence(path, skip_bad_rows=True)


@pytest.mark.parametrize("name", READ)
def test_cases_that_are_read(name, cases):
    records, report = readers.read(cases / "bad" / name, Preference)
    assert len(records) == report.usable == report.total == READ[name]


@pytest.mark.parametrize("kind", [Preference, Demonstration])
def test_all_cases_are_records_or_one_sentence(kind, cases):
    for path in sorted((cases / "bad").iterdir()):
        for skip in (False, True):
            try:
                records, _ = readers.read(path, kind, skip_bad_rows=skip)
            except (ValueError, OSError):
                sentence(path, kind, skip_bad_rows=skip)
            else:
                assert records


def test_gzip_members_one_after_the_other_are_read(tmp_path):
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress(f"{GOOD}\n".encode()) * 3)
    assert counts(path) == (3, 3)
