"""Rows of tables: Parquet and Arrow (Feather, and what `save_to_disk` writes).

Both are read a batch of rows at a time. A batch has as many rows as fit in memory by
the sizes that the file states; rows that no memory holds are refused.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet

from jaxalign.data.formats.row_limits import Rows, row_too_long, to_json_row
from jaxalign.data.schemas.checks import MalformedRow

BATCH_ROWS = 1024  # rows
BATCH_BYTES = 256 << 20  # bytes that a batch may take
MAX_ROW_BYTES = 256 << 20  # bytes of an average row
MAX_EXPANSION = {"UNCOMPRESSED": 1, "SNAPPY": 24}  # the most that a codec expands to
READ_ERRORS = (pa.ArrowException, ValueError, OverflowError, MemoryError, OSError)


@contextlib.contextmanager
def name_file_in_errors(path: str, kind: str) -> Iterator[None]:
    """Errors of pyarrow's, with the file that they are about.

    Raises:
      ValueError: the file is damaged, or is none of its kind.
    """
    try:
        yield
    except READ_ERRORS as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the file system, which names the file
        said = " ".join(str(error).split())[:200]
        raise ValueError(f"{path} is not a {kind} file, or damaged: {said}") from error


def read_parquet(path: str, max_row_chars: int) -> Rows:
    """The rows of a Parquet file; fields that are null are left out.

    Raises:
      ValueError: no Parquet file, a damaged one, or one of rows that no memory holds.
    """
    with (
        fsspec.open(path, "rb") as raw,
        name_file_in_errors(path, "Parquet"),
        pyarrow.parquet.ParquetFile(raw, page_checksum_verification=True) as file,
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
    """How many rows of a row group may be read at a time.

    A dictionary's value, which is stored once, may be in every row.

    Raises:
      ValueError: an average row is larger than LARGEST_ROW.
    """
    columns = [group.column(i) for i in range(group.num_columns)]
    bound = [max(c.total_uncompressed_size, 16 * c.num_values) for c in columns]
    average = sum(bound) / max(group.num_rows, 1)
    if average > MAX_ROW_BYTES:
        raise ValueError(f"its rows take {average:,.0f} bytes each")
    largest = max([average, *map(dictionary_bytes, columns)])
    return int(min(max(BATCH_BYTES // max(largest, 1), 1), BATCH_ROWS))


def dictionary_bytes(column: Any) -> int:
    """The most that a column's dictionary may take: no more than all of its chunk."""
    whole = int(column.total_uncompressed_size)
    if not column.has_dictionary_page:
        return 0
    stored = column.data_page_offset - column.dictionary_page_offset
    expands = MAX_EXPANSION.get(column.compression)
    return min(whole, expands * stored) if expands and stored > 0 else whole


def read_arrow(path: str, max_row_chars: int) -> Rows:
    """The rows of an Arrow file, in the format for streams or the one for files.

    Raises:
      ValueError: no Arrow file, or a damaged one.
    """
    with fsspec.open(path, "rb") as raw, name_file_in_errors(path, "Arrow"):
        magic = raw.read(6)
        raw.seek(0)
        if magic[:4] == b"FEA1":
            raise ValueError("version 1 of Feather: write it again with version 2")
        if magic == b"ARROW1":
            file = pa.ipc.open_file(raw)
            batches = (file.get_batch(i) for i in range(file.num_record_batches))
        else:
            file = pa.ipc.open_stream(raw)
            batches = iter(file)
        refuse_duplicate_columns(path, file.schema.names)
        yield from number_rows(path, batches, max_row_chars)


def refuse_duplicate_columns(path: str, names: list[str]) -> None:
    """Refuses a table that has a column twice.

    Raises:
      ValueError: names the column.
    """
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ValueError(f"the column {min(twice)[:80]!r} is there twice")


def number_rows(
    path: str, batches: Iterator[pa.RecordBatch], max_row_chars: int
) -> Iterator[tuple[str, Any]]:
    """The rows of batches, counted from 1.

    Raises:
      ValueError: a batch cannot be read; says after which row.
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
    """The rows of a batch; a `MalformedRow` in place of one that cannot be read.

    Offsets and texts of a file are checked here: nobody else does, and what reads them
    trusts them.
    """
    simple = not any(map(has_dictionary, batch.schema.types))
    given = (
        drop_null_fields
        if all(map(is_json_type, batch.schema.types))
        else drop_nulls_to_json
    )
    batch.validate()  # that its buffers are as large as they should be
    batch = to_microseconds(batch)
    if simple and batch.nbytes < 16 << 20:
        try:
            batch.validate(full=True)
            rows = batch.to_pylist()
        except READ_ERRORS:
            pass  # said of its row, below
        else:
            yield from map(given, rows)
            return
    for i in range(batch.num_rows):
        row = batch.slice(i, 1)
        try:
            row.validate(full=True)
            if simple and row.nbytes > 8 * max_row_chars:
                yield row_too_long(max_row_chars)
                continue
            (values,) = row.to_pylist()
        except READ_ERRORS as error:
            yield unreadable_row(row, error)
        else:
            yield given(values)


def to_microseconds(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with its columns of nanoseconds in what Python's times can hold."""
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
    """Says which column of a row cannot be read."""
    said = " ".join(str(error).split())[:160]
    for name, column in zip(row.schema.names, row.columns, strict=True):
        try:
            column.validate(full=True)
            column.to_pylist()
        except READ_ERRORS:
            return MalformedRow(f"field {name[:80]!r} cannot be read ({said})")
    return MalformedRow(f"cannot be read ({said})")


def has_dictionary(kind: pa.DataType) -> bool:
    """Whether values of a type, or values within them, are stored once for all."""
    inner = [kind.field(i).type for i in range(kind.num_fields)]
    return pa.types.is_dictionary(kind) or any(map(has_dictionary, inner))


def is_json_type(kind: pa.DataType) -> bool:
    """Whether JSON has all values of a type."""
    inner = [kind.field(i).type for i in range(kind.num_fields)]
    if inner:
        return not pa.types.is_map(kind) and all(map(is_json_type, inner))
    scalar = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    return scalar or pa.types.is_string(kind) or pa.types.is_boolean(kind)


def drop_null_fields(row: dict[str, Any]) -> dict[str, Any]:
    """A row without the columns that are null, which other rows have."""
    return {name: value for name, value in row.items() if value is not None}


def drop_nulls_to_json(row: dict[str, Any]) -> Any:
    """`drop_null_fields`, of a row whose values JSON has not."""
    return to_json_row(drop_null_fields(row))
