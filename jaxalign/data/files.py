"""Rows of files: JSON lines, plain or gzipped, JSON arrays, Parquet and ArrayRecord.

Files lie on this machine, or wherever fsspec has a file system for: gs://, s3://,
hf://datasets/... Rows are read one after the other; no file is held as a whole, but
JSON arrays and one row group of Parquet.
"""

import gzip
import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet
from array_record.python import array_record_module

Rows = Iterator[tuple[str, Any]]


def files(path: str | os.PathLike[str]) -> list[str]:
    """The file, or the files of the folder, in the order of their names.

    Raises:
      FileNotFoundError: no such file, or nothing in the folder that can be read.
      ValueError: a file whose name says nothing that can be read, or a place that
        cannot be reached.
    """
    name = str(path)
    system, at = file_system(name)
    try:
        is_folder, is_there = system.isdir(at), system.exists(at)
    except OSError:
        raise
    except Exception as error:  # each file system has its own
        raise ValueError(f"{name} cannot be reached: {error}") from error
    if is_folder:
        inside = [entry.rpartition("/")[2] for entry in system.ls(at, detail=False)]
        found = sorted(each for each in inside if each.endswith(ENDINGS))
        if not found:
            raise FileNotFoundError(f"the folder {name} holds no {', '.join(ENDINGS)}")
        return [f"{name.rstrip('/')}/{each}" for each in found]
    if not is_there:
        raise FileNotFoundError(f"no such file: {name}")
    ending(name)
    return [name]


def ending(name: str) -> str:
    """The ending of a file's name, which says what its rows are.

    Raises:
      ValueError: it is none that can be read.
    """
    if not name.endswith(ENDINGS):
        raise ValueError(f"{name} should end in {', '.join(ENDINGS)}")
    return next(each for each in ENDINGS if name.endswith(each))


def file_system(path: str) -> tuple[Any, str]:
    """Where a path lies, and its name there.

    Raises:
      ValueError: a scheme for which there is no file system, or not its package.
    """
    try:
        return fsspec.core.url_to_fs(path)
    except (ImportError, ValueError) as error:
        raise ValueError(f"{path} cannot be reached: {error}") from error


def rows_of(path: str | os.PathLike[str]) -> Rows:
    """Rows with where they stand, `path:line` or `path:row`, counted from 1.

    A line that is not JSON comes as its error.

    Raises:
      ValueError: a file whose name says nothing that can be read.
    """
    name = str(path)
    return READERS[ending(name)](name)


def lines(path: str) -> Rows:
    """The lines of a file of JSON lines; empty ones are counted, and left out."""
    with fsspec.open(path, "rb") as raw:
        opened = gzip.open(raw) if path.endswith(".gz") else raw
        try:
            for number, line in enumerate(opened, 1):
                if line.strip():
                    yield f"{path}:{number}", parsed(line)
        except (EOFError, gzip.BadGzipFile) as error:
            raise ValueError(f"{path} is not a whole gzip file: {error}") from error


def parsed(line: bytes) -> Any:
    """The JSON of a line, or what is wrong with it."""
    try:
        return json.loads(line.decode("utf-8-sig"))
    except ValueError as error:  # of JSON or of UTF-8
        return error


def parquet(path: str) -> Rows:
    """The rows of a Parquet file; fields that are null are left out."""
    try:
        with fsspec.open(path, "rb") as raw, pyarrow.parquet.ParquetFile(raw) as file:
            number = 0
            for batch in file.iter_batches(batch_size=1024):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{path}:{number}", given(row)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path} is not a Parquet file: {error}") from error


def given(row: dict[str, Any]) -> dict[str, Any]:
    """A row without the columns that are null, which other rows have."""
    return {field: value for field, value in row.items() if value is not None}


def array_record(path: str) -> Rows:
    """The records of an ArrayRecord file, each the JSON of a row."""
    system, at = file_system(path)
    # its reader knows this machine's files alone
    local = (
        at if "file" in system.protocol else fsspec.open_local(f"simplecache::{path}")
    )
    try:
        reader = array_record_module.ArrayRecordReader(local)
        for number in range(reader.num_records()):
            yield f"{path}:{number + 1}", parsed(reader.read([number])[0])
        reader.close()
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"{path} is not an ArrayRecord file: {error}") from error


def entries(path: str) -> Iterator[tuple[str, Any]]:
    """The entries of a JSON array, each with the line that it begins on."""
    decoder = json.JSONDecoder()
    try:
        with fsspec.open(path, "rb") as file:
            text = file.read().decode("utf-8-sig")
        at, line = skip(text, 0, 1)
        if text[at : at + 1] != "[":
            yield f"{path}:{line}", json.loads(text)
            return
        at, line = skip(text, at + 1, line)
        more = text[at : at + 1] != "]"
        while more:
            entry, end = decoder.raw_decode(text, at)
            yield f"{path}:{line}", entry
            at, line = skip(text, end, line + text.count("\n", at, end))
            more = text[at : at + 1] == ","
            if more:
                at, line = skip(text, at + 1, line)
        end, _ = skip(text, at + 1, line)
        if text[at : at + 1] != "]" or end < len(text):
            raise json.JSONDecodeError("Expecting ',' or a last ']'", text, at)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from error


def skip(text: str, at: int, line: int) -> tuple[int, int]:
    """The next place that is not white space, and its line."""
    start = at
    while text[at : at + 1].isspace():
        at += 1
    return at, line + text.count("\n", start, at)


READERS: dict[str, Callable[[str], Rows]] = {
    ".jsonl": lines,
    ".jsonl.gz": lines,
    ".json": entries,
    ".parquet": parquet,
    ".array_record": array_record,
}
ENDINGS = tuple(READERS)
