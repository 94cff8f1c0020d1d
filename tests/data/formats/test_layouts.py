"""Layouts of JSON and CSV files by their content, and values of tables."""

import datetime
import decimal
import gzip
import json

import pyarrow as pa
import pytest

from jaxalign.data import readers
from jaxalign.data.formats import files
from jaxalign.data.records import Preference
from tests.data.bad_files import PAIR, PAIR_JSON, pair_table, row_counts, write_table

BOM = "\ufeff"
DATA = f'{{"data": [{PAIR_JSON}, {PAIR_JSON}]}}'
TEXTS = [
    # file name, text, number of rows
    ("a.json", f"[{PAIR_JSON}, {PAIR_JSON}]", 2),
    ("a.json", BOM + f" \r\n[\r\n{PAIR_JSON}\r\n]\r\n", 1),
    ("a.json", f"{PAIR_JSON}\n\n{PAIR_JSON}\n", 2),
    ("a.json", DATA, 2),
    ("a.json", json.dumps(json.loads(DATA), indent=1), 2),
    ("a.json", f'{{"version": "1", "rows": [{PAIR_JSON}], "license": null}}', 1),
    ("a.json", f'{{"examples": [\n{PAIR_JSON},\n{PAIR_JSON}\n]\n}}\n', 2),
    ("a.json", PAIR_JSON, 1),
    ("a.json", json.dumps(PAIR, indent=2), 1),
    ("A.JSON", f"[{PAIR_JSON}]", 1),
    ("a.jsonl", f"[{PAIR_JSON}, {PAIR_JSON}]", 2),
    ("a.jsonl", json.dumps([PAIR] * 3, indent=2), 3),
    ("a.jsonl", "\n".join([json.dumps(PAIR, indent=2)] * 3), 3),
    ("a.jsonl", DATA, 2),
    ("a.ndjson", BOM + f"{PAIR_JSON}\r\n{PAIR_JSON}", 2),
    ("a.jsonl", f'{{"data": [{{"k": 1}}], {PAIR_JSON[1:]}\n' * 2, 2),
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
def test_the_layout_is_detected_by_content(name, text, count, tmp_path):
    path = tmp_path / name
    path.write_bytes(text.encode())
    records, report = readers.read(path, Preference)
    assert (len(records), report.total) == (count, count)
    for record in records:
        line = int(record.location.rpartition(":")[2])
        assert text.split("\n")[line - 1].strip().strip(BOM)


def test_csv_cells_are_text_except_in_typed_fields(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("prompt,chosen,rejected,margin,label_prob\n42,true,1e5,0.5,0.75\n")
    ((pair,), _) = readers.read(path, Preference)
    assert (pair.prompt[0]["content"], pair.chosen, pair.rejected) == (
        "42",
        "true",
        "1e5",
    )
    assert (pair.margin, pair.label_prob) == (0.5, 0.75)


def test_values_of_tables_are_converted_to_json(tmp_path):
    path = write_table(
        tmp_path / "rows.parquet",
        pair_table(
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


def test_consecutive_gzip_members_are_read(tmp_path):
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress(f"{PAIR_JSON}\n".encode()) * 3)
    assert row_counts(path) == (3, 3)
