"""Files of rows in every supported format, for tests."""

import bz2
import csv
import gzip
import io
import json
import lzma

import pyarrow as pa
import pyarrow.parquet
from array_record.python import array_record_module

from jaxalign.data.formats import files

COMPRESS = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda data: pa.compress(data, "zstd", asbytes=True),
}


def delimited(rows, delimiter):
    """Rows as CSV."""
    text = io.StringIO()
    names = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(text, names, delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def write(path, rows):
    """Write rows in the format of the path's ending, and return the path."""
    text = "".join(json.dumps(row) + "\n" for row in rows)
    ending = files.uncompressed_ending(path.name)
    if ending in (".csv", ".tsv"):
        text = delimited(rows, {".csv": ",", ".tsv": "\t"}[ending])
    elif ending == ".json":
        text = json.dumps(rows)
    if path.name.endswith(".parquet"):
        pyarrow.parquet.write_table(pa.Table.from_pylist(rows), path, row_group_size=2)
    elif ending in (".arrow", ".feather"):
        table = pa.Table.from_pylist(rows)
        new = pa.ipc.new_stream if ending == ".arrow" else pa.ipc.new_file
        with new(path, table.schema) as writer:
            writer.write_table(table)
    elif path.name.endswith(".array_record"):
        writer = array_record_module.ArrayRecordWriter(str(path), "group_size:1")
        for row in rows:
            writer.write(json.dumps(row).encode())
        writer.close()
    elif path.suffix in COMPRESS:
        path.write_bytes(COMPRESS[path.suffix](text.encode()))
    else:
        path.write_text(text)
    return path
