"""Memory for rows that are too long, small files that expand, and repeated values."""

import subprocess
import sys
import tracemalloc

import pyarrow as pa
import pytest

from tests.data.bad_files import (
    PAIR_JSON,
    error_message,
    pair_table,
    pair_with,
    row_counts,
    write_table,
)
from tests.data.row_files import COMPRESS


def test_too_long_rows_take_no_memory(tmp_path):
    """Parsing 50 MB would take 6 GB; skipping takes two buffers of 1.2 MB."""
    path = tmp_path / "rows.jsonl"
    row = pair_with('"' + "x" * 50_000_000 + '"')
    path.write_text(f"{PAIR_JSON}\n{row}\n{PAIR_JSON}\n")
    array = tmp_path / "rows.json"
    array.write_text(f"[{PAIR_JSON},\n{row},\n{PAIR_JSON}]\n")
    for each in (path, array):
        tracemalloc.start()
        assert row_counts(each, max_row_chars=100_000) == (2, 3)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 20_000_000
        assert error_message(each, max_row_chars=100_000).startswith(
            ":2: holds more char"
        )


@pytest.mark.parametrize("ending", [".gz", ".zst"])
def test_expanding_files_take_no_memory(ending, tmp_path):
    path = tmp_path / f"rows.jsonl{ending}"
    path.write_bytes(COMPRESS[ending](PAIR_JSON.encode() + b"\n" + b"x" * 100_000_000))
    assert path.stat().st_size < 300_000
    tracemalloc.start()
    assert row_counts(path, max_row_chars=100_000) == (1, 2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000


MEASURE = """
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
def test_repeated_values_of_a_table_take_no_memory(tmp_path):
    """20 MB, stored once, in 100 of 101 rows: 2 GB as text."""
    path = tmp_path / "rows.parquet"
    long = pa.array(["x" * 20_000_000, "short"])
    indices = pa.array([0] * 100 + [1], pa.int8())
    column = pa.DictionaryArray.from_arrays(indices, long)
    write_table(path, pair_table(x=column), store_schema=False, compression="zstd")
    assert path.stat().st_size < 100_000
    process = subprocess.run(
        [sys.executable, "-c", MEASURE, path],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert process.returncode == 0, process.stderr
    usable, total, megabytes = map(int, process.stdout.split())
    assert (usable, total) == (1, 101) and megabytes < 1300
