"""Rows of files: JSON, CSV, Parquet, Arrow and ArrayRecord, by the endings of names.

Files lie on this machine, or wherever fsspec has a file system for: gs://, s3://,
hf://datasets/... Rows are read one after the other; no file is held as a whole.
"""

import functools
import os
import re
from collections.abc import Callable, Sequence
from typing import Any

import fsspec
from array_record.python import array_record_module

from jaxalign.data.formats import (
    csv_rows,
    file_io,
    json_rows,
    json_window,
    row_limits,
    table_rows,
)
from jaxalign.data.formats.file_io import file_system
from jaxalign.data.formats.row_limits import MAX_ROW_CHARS, Rows, row_too_long

MAX_LIMIT = 10**8  # characters: such a row takes some 10 GB
# what data sets and runs leave beside their rows
METADATA_FILES = frozenset(
    "dataset_info.json dataset_infos.json dataset_dict.json state.json metadata.json "
    "features.json config.json data.json numbers.json metrics.jsonl samples.jsonl "
    "package.json".split()
)
UNSUPPORTED_HINTS = {
    ".zip .tar .tgz .7z .rar": "unpack it",
    ".gz .bz2 .xz .zst": "name what is inside, such as .jsonl.gz, or decompress it",
    ".pkl .pickle .pt .pth .joblib": "it may run code when it is read",
    ".xls .xlsx .ods": "save it as .csv",
    ".txt .md": 'write lines of {"text": ...} as .jsonl',
    ".tfrecord .riegeli .npy .npz .h5 .orc .avro .db .sqlite .yaml .yml .xml": (
        "convert it to .parquet or .jsonl"
    ),
}


def read_array_record(path: str, max_row_chars: int) -> Rows:
    """The records of an ArrayRecord file, each the JSON of a row."""
    system, at = file_system(path)
    # its reader knows this machine's files alone
    local = (
        at if "file" in system.protocol else fsspec.open_local(f"simplecache::{path}")
    )
    try:
        reader = array_record_module.ArrayRecordReader(local)
        for number in range(reader.num_records()):
            (record,) = reader.read([number])
            fits = len(record) <= json_window.MAX_ESCAPED_LENGTH * max_row_chars
            row = (
                json_window.parse_json_bytes(record)
                if fits
                else row_too_long(max_row_chars)
            )
            yield f"{path}:{number + 1}", row
        reader.close()
    except (RuntimeError, ValueError, IndexError) as error:
        raise ValueError(f"{path} is not an ArrayRecord file: {error}") from error


Paths = str | os.PathLike[str] | Sequence[str]
RowReader = Callable[[str, int], Rows]
TEXT_READERS: dict[str, RowReader] = {
    ".jsonl": json_rows.read_json_rows,
    ".ndjson": json_rows.read_json_rows,
    ".json": functools.partial(json_rows.read_json_rows, document=True),
    ".csv": csv_rows.read_csv_rows,
    ".tsv": functools.partial(csv_rows.read_csv_rows, delimiter="\t"),
}
READERS: dict[str, RowReader] = TEXT_READERS | {
    ".parquet": table_rows.read_parquet,
    ".arrow": table_rows.read_arrow,
    ".feather": table_rows.read_arrow,
    ".array_record": read_array_record,
}
ENDINGS = (*READERS, *(t + c for t in TEXT_READERS for c in file_io.COMPRESSIONS))
ENDINGS_BY_LENGTH = sorted(ENDINGS, key=len, reverse=True)


def file_ending(name: str) -> str:
    """The ending of a file's name, which says what its rows are, in small letters.

    TensorFlow's shards have their number after it.

    Raises:
      ValueError: it is none that can be read.

    >>> file_ending("PAIRS.JSONL"), file_ending("train.array_record-00000-of-00002")
    ('.jsonl', '.array_record')
    """
    lower = re.sub(r"-\d+-of-\d+$", "", name.lower())
    for each in ENDINGS_BY_LENGTH:
        if lower.endswith(each):
            return each
    last = os.path.splitext(lower.rpartition("/")[2])[1]
    hints = (hint for ends, hint in UNSUPPORTED_HINTS.items() if last in ends.split())
    raise ValueError(
        f"{name} should end in {', '.join(READERS)} (texts also in "
        f"{', '.join(file_io.COMPRESSIONS)}), not in {last[:20]!r}: "
        f"{next(hints, 'name it by what is in it') if last else 'it has no ending'}"
    )


def is_data_file(name: str) -> bool:
    """Whether a file of a folder holds rows, by its name."""
    base = name.rpartition("/")[2].lower()
    if base in METADATA_FILES or base.startswith("."):
        return False
    try:
        return bool(file_ending(base))
    except ValueError:
        return False


def list_all_files(path: Paths) -> list[str]:
    """`list_files`, of a path or of each of several."""
    if isinstance(path, str | os.PathLike):
        return list_files(path)
    return [file for each in path for file in list_files(each)]


def describe_paths(path: Paths) -> str:
    """A path, or the first of several and their number."""
    if isinstance(path, str | os.PathLike):
        return str(path)
    more = f" and {len(path) - 1} more" if len(path) > 1 else ""
    return f"{path[0]}{more}"


def list_files(path: str | os.PathLike[str]) -> list[str]:
    """The file, or the files of the folder, in the order of names and numbers.

    Raises:
      FileNotFoundError: no such file, or nothing in the folder that can be read.
      ValueError: a file whose name says nothing that can be read, or a place that
        cannot be reached.
    """
    name = str(path)
    if not is_folder(name):
        file_ending(name)
        return [name]
    inside = [each for each, folder in list_folder(name).items() if not folder]
    found = sorted(filter(is_data_file, inside), key=natural_sort_key)
    if not found:
        raise FileNotFoundError(f"the folder {name} holds no {', '.join(READERS)}")
    return [f"{name.rstrip('/')}/{each}" for each in found]


def natural_sort_key(name: str) -> list[str | int]:
    """A sorting key: names, and the numbers in them by value.

    >>> sorted(["b-10", "b-9", "a-11"], key=natural_sort_key)
    ['a-11', 'b-9', 'b-10']
    """
    parts = re.split(r"(\d+)", name)
    return [int(part) if i % 2 else part for i, part in enumerate(parts)]


def is_folder(path: str) -> bool:
    """Whether a path, which must be there, is a folder.

    Raises:
      FileNotFoundError: there is nothing.
      ValueError: a place that cannot be reached.
    """
    system, at = file_system(path)
    try:
        folder, there = system.isdir(at), system.exists(at)
    except OSError:
        raise
    except Exception as error:  # each file system has its own
        raise ValueError(f"{path} cannot be reached: {error}") from error
    if not there:
        raise FileNotFoundError(f"no such file: {path}")
    return bool(folder)


def list_folder(folder: str) -> dict[str, bool]:
    """The names of what is in a folder, and whether each is a folder."""
    system, at = file_system(folder)
    entries = system.ls(at, detail=True)
    is_folder = lambda entry: (
        entry["type"] == "directory"
        or (
            entry["type"] == "other" and system.isdir(entry["name"])  # a link to one
        )
    )
    return {e["name"].rstrip("/").rpartition("/")[2]: is_folder(e) for e in entries}


def read_rows(
    path: str | os.PathLike[str], *, max_row_chars: int = MAX_ROW_CHARS
) -> Rows:
    """Rows with where they stand, `path:line` or `path:row`, counted from 1.

    A row that cannot be used comes as a `Malformed`.

    Raises:
      ValueError: a file whose name says nothing that can be read, or in which no
        further row can be found; a limit out of bounds.
    """
    name = str(path)
    if not 1 <= max_row_chars <= MAX_LIMIT:
        raise ValueError(
            f"--max-row-chars should be from 1 to {MAX_LIMIT:,}, not {max_row_chars}"
        )
    rows = READERS[uncompressed_ending(name)](name, max_row_chars)
    return row_limits.check_rows(rows, max_row_chars)


def uncompressed_ending(name: str) -> str:
    """The ending of what a file holds when it is decompressed."""
    found: Any = file_ending(name)
    for each in file_io.COMPRESSIONS:
        found = found.removesuffix(each)
    return str(found)
