"""Files that failed once: an error of one line, or all records."""

import pytest

from jaxalign.data import readers
from jaxalign.data.records import Demonstration, Preference
from tests.data.bad_files import error_message, row_counts

# file -> message, and (usable, total) rows if malformed rows are skipped
REFUSED = {
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


@pytest.mark.parametrize("name", REFUSED)
def test_malformed_files_are_refused(name, cases):
    message, expected_counts = REFUSED[name]
    path = cases / "bad" / name
    assert error_message(path).startswith(message)
    if expected_counts is None:
        error_message(path, skip_bad_rows=True)
    elif expected_counts[0]:
        assert row_counts(path) == expected_counts
    else:
        assert f"0 of {expected_counts[1]} rows" in error_message(
            path, skip_bad_rows=True
        )


@pytest.mark.parametrize("name", READ)
def test_well_formed_files_are_read(name, cases):
    records, report = readers.read(cases / "bad" / name, Preference)
    assert len(records) == report.usable == report.total == READ[name]


@pytest.mark.parametrize("kind", [Preference, Demonstration])
def test_every_file_gives_records_or_one_error(kind, cases):
    for path in sorted((cases / "bad").iterdir()):
        for skip in (False, True):
            try:
                records, _ = readers.read(path, kind, skip_bad_rows=skip)
            except (ValueError, OSError):
                error_message(path, kind, skip_bad_rows=skip)
            else:
                assert records
