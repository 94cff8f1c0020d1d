"""Rows of tables: Parquet and Arrow (Feather, `save_to_disk` of `datasets`).

Both are read in batches of rows. The metadata of the file decide how many rows fit in
memory; a file whose single rows do not fit is refused.
"""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import fsspec
import pyarrow as pa

from jaxalign import lazy, messages
from jaxalign.data.formats.row_limits import Rows, row_too_long, to_json_row
from jaxalign.data.row_errors import MalformedRow

if TYPE_CHECKING:
    from pyarrow import parquet
else:
    parquet = lazy.module("pyarrow.parquet")

BATCH_ROWS = 1024  # at most
BATCH_BYTES = 256 << 20  # at most, by the file's metadata
MAX_ROW_BYTES = 256 << 20  # of an average row
MAX_EXPANSION = {"UNCOMPRESSED": 1, "SNAPPY": 24}  # largest ratio of a codec
READ_ERRORS = (pa.ArrowException, ValueError, OverflowError, MemoryError, OSError)


@contextlib.contextmanager
def name_file_in_errors(path: str, kind: str) -> Iterator[None]:
    """Convert errors of pyarrow to errors that name the file.

    Args:
      kind: name of the format.

    Raises:
      ValueError: the file is damaged, or has another format.
    """
    try:
        yield
    except READ_ERRORS as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # an error of the file system, which names the file
        reason = messages.one_line(error, 200)
        raise ValueError(f"{path} is not a valid {kind} file: {reason}") from error


def read_parquet(path: str, max_row_chars: int) -> Rows:
    """Read the rows of a Parquet file, without the fields that are null.

    Raises:
      ValueError: not a Parquet file, a damaged one, or one with too large rows.
    """
    with (
        fsspec.open(path, "rb") as raw,
        name_file_in_errors(path, "Parquet"),
        parquet.ParquetFile(raw, page_checksum_verification=True) as file,
    ):
        refuse_duplicate_columns(path, file.schema_arrow.names)
        sizes = [
            rows_per_batch(path, file.metadata.row_group(group))
            for group in range(file.num_row_groups)
        ]
        batches = (
            batch
            for group, size in enumerate(sizes)
            for batch in file.iter_batches(batch_size=size, row_groups=[group])
        )
        yield from number_rows(path, batches, max_row_chars)


def rows_per_batch(path: str, group: Any) -> int:
    """Number of rows of a row group to read at a time.

    A value of a dictionary is stored once and may be in every row, so that the size of
    the column does not bound that of its rows.

    Args:
      group: metadata of the row group.

    Raises:
      ValueError: an average row is larger than LARGEST_ROW.
    """
    columns = [group.column(i) for i in range(group.num_columns)]
    column_bytes = [max(c.total_uncompressed_size, 16 * c.num_values) for c in columns]
    average = sum(column_bytes) / max(group.num_rows, 1)
    if average > MAX_ROW_BYTES:
        raise ValueError(f"its rows have {average:,.0f} bytes each")
    largest = max([average, *map(dictionary_bytes, columns)])
    return int(min(max(BATCH_BYTES // max(largest, 1), 1), BATCH_ROWS))


def dictionary_bytes(column: Any) -> int:
    """Upper bound of the size of a column's dictionary; at most that of its chunk."""
    chunk_bytes = int(column.total_uncompressed_size)
    if not column.has_dictionary_page:
        return 0
    stored = column.data_page_offset - column.dictionary_page_offset
    ratio = MAX_EXPANSION.get(column.compression)
    return min(chunk_bytes, ratio * stored) if ratio and stored > 0 else chunk_bytes


def read_arrow(path: str, max_row_chars: int) -> Rows:
    """Read the rows of an Arrow file, in the streaming or the file format.

    Raises:
      ValueError: not an Arrow file, or a damaged one.
    """
    with fsspec.open(path, "rb") as raw, name_file_in_errors(path, "Arrow"):
        magic = raw.read(6)
        raw.seek(0)
        if magic[:4] == b"FEA1":
            raise ValueError("version 1 of Feather is not supported: write version 2")
        if magic == b"ARROW1":
            file = pa.ipc.open_file(raw)
            batches = (file.get_batch(i) for i in range(file.num_record_batches))
        else:
            file = pa.ipc.open_stream(raw)
            batches = iter(file)
        refuse_duplicate_columns(path, file.schema.names)
        yield from number_rows(path, batches, max_row_chars)


def refuse_duplicate_columns(path: str, names: list[str]) -> None:
    """Refuse a table with two columns of one name.

    Raises:
      ValueError: names the column.
    """
    duplicates = {name for name in names if names.count(name) > 1}
    if duplicates:
        raise ValueError(f"the column {min(duplicates)[:80]!r} is there twice")


def number_rows(
    path: str, batches: Iterator[pa.RecordBatch], max_row_chars: int
) -> Iterator[tuple[str, Any]]:
    """Number the rows of batches, from 1: (path:number, row) pairs.

    Raises:
      ValueError: a batch cannot be read; names the last row before it.
    """
    number = 0
    while True:
        try:
            batch = next(batches, None)
        except READ_ERRORS as error:
            raise ValueError(f"after row {number}: {error}") from error
        if batch is None:
            return
        for row in batch_to_rows(batch, max_row_chars):
            number += 1
            yield f"{path}:{number}", row


def batch_to_rows(batch: pa.RecordBatch, max_row_chars: int) -> Iterator[Any]:
    """Convert a batch to rows; a `MalformedRow` stands for one that cannot be read.

    Offsets and UTF-8 of the file are validated, because pyarrow reads them unchecked.
    """
    has_dictionaries = any(map(has_dictionary, batch.schema.types))
    is_plain_json = all(map(is_json_type, batch.schema.types))
    convert = drop_null_fields if is_plain_json else drop_nulls_to_json
    batch.validate()  # the sizes of its buffers
    batch = to_microseconds(batch)
    if not has_dictionaries and batch.nbytes < 16 << 20:
        try:
            batch.validate(full=True)
            rows = batch.to_pylist()
        except READ_ERRORS:
            pass  # the loop below names the row
        else:
            yield from map(convert, rows)
            return
    for i in range(batch.num_rows):
        row = batch.slice(i, 1)
        try:
            row.validate(full=True)
            if not has_dictionaries and row.nbytes > 8 * max_row_chars:
                yield row_too_long(max_row_chars)
                continue
            (values,) = row.to_pylist()
        except READ_ERRORS as error:
            yield unreadable_row(row, error)
        else:
            yield convert(values)


def to_microseconds(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Cast columns of nanoseconds to microseconds, which Python's types can hold."""
    for i, name in enumerate(batch.schema.names):
        kind = batch.schema.types[i]
        if getattr(kind, "unit", None) != "ns":
            continue
        if pa.types.is_timestamp(kind):
            coarser: pa.DataType = pa.timestamp("us", kind.tz)
        else:
            coarser = pa.time64("us") if pa.types.is_time(kind) else pa.duration("us")
        batch = batch.set_column(i, name, batch.column(i).cast(coarser, safe=False))
    return batch


def unreadable_row(row: pa.RecordBatch, error: Exception) -> MalformedRow:
    """The error of a row that cannot be read; names the column at fault."""
    reason = messages.one_line(error, 160)
    for name, column in zip(row.schema.names, row.columns, strict=True):
        try:
            column.validate(full=True)
            column.to_pylist()
        except READ_ERRORS:
            return MalformedRow(f"field {name[:80]!r} cannot be read ({reason})")
    return MalformedRow(f"cannot be read ({reason})")


def has_dictionary(kind: pa.DataType) -> bool:
    """Whether a type, or a type nested in it, is dictionary-encoded."""
    inner = [kind.field(i).type for i in range(kind.num_fields)]
    return pa.types.is_dictionary(kind) or any(map(has_dictionary, inner))


def is_json_type(kind: pa.DataType) -> bool:
    """Whether JSON can represent all values of a type."""
    inner = [kind.field(i).type for i in range(kind.num_fields)]
    if inner:
        return not pa.types.is_map(kind) and all(map(is_json_type, inner))
    scalar = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    return scalar or pa.types.is_string(kind) or pa.types.is_boolean(kind)


def drop_null_fields(row: dict[str, Any]) -> dict[str, Any]:
    """Remove the fields of a row that are null."""
    return {name: value for name, value in row.items() if value is not None}


def drop_nulls_to_json(row: dict[str, Any]) -> Any:
    """Remove null fields, and convert the other values to JSON values."""
    return to_json_row(drop_null_fields(row))
