"""Rows of files in all formats, by the ending of the file name.

Files are local, or anywhere that fsspec has a file system for: gs://, s3://,
hf://datasets/... Rows are read one after the other; no file is held in memory.
"""

import functools
import os
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import fsspec
from array_record.python import array_record_module

from jaxalign import lazy
from jaxalign.data.formats import (
    csv_rows,
    file_io,
    json_rows,
    json_window,
    row_limits,
)
from jaxalign.data.formats.file_io import file_system
from jaxalign.data.formats.row_limits import MAX_ROW_CHARS, Rows, row_too_long

if TYPE_CHECKING:
    from jaxalign.data.formats import table_rows
else:
    table_rows = lazy.module("jaxalign.data.formats.table_rows")  # and pyarrow

MAX_LIMIT = 10**8  # characters; parsing such a row takes about 10 GB
# files beside the rows that data sets and runs write
METADATA_FILES = frozenset(
    "dataset_info.json dataset_infos.json dataset_dict.json state.json metadata.json "
    "features.json config.json data.json numbers.json metrics.jsonl samples.jsonl "
    "timing.jsonl package.json config.yaml prepare.json removed.jsonl report.json "
    "notes.json".split()
)
UNSUPPORTED_HINTS = {
    ".zip .tar .tgz .7z .rar": "unpack it",
    ".gz .bz2 .xz .zst": "name the format, such as .jsonl.gz, or decompress it",
    ".pkl .pickle .pt .pth .joblib": "reading it may run code",
    ".xls .xlsx .ods": "save it as .csv",
    ".txt .md": 'write lines of {"text": ...} as .jsonl',
    ".tfrecord .riegeli .npy .npz .h5 .orc .avro .db .sqlite .yaml .yml .xml": (
        "convert it to .parquet or .jsonl"
    ),
}


def read_array_record(path: str, max_row_chars: int) -> Rows:
    """Read an ArrayRecord file whose records are rows as JSON.

    Raises:
      ValueError: not an ArrayRecord file, or a damaged one.
    """
    system, local = file_system(path)
    if "file" not in system.protocol:  # the reader opens local files only
        local = fsspec.open_local(f"simplecache::{path}")
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
        raise ValueError(f"{path} is not a valid ArrayRecord file: {error}") from error


Paths = str | os.PathLike[str] | Sequence[str]
RowReader = Callable[[str, int], Rows]
"""(path, max_row_chars) -> rows."""
TEXT_READERS: dict[str, RowReader] = {
    ".jsonl": json_rows.read_json_rows,
    ".ndjson": json_rows.read_json_rows,
    ".json": functools.partial(json_rows.read_json_rows, is_document=True),
    ".csv": csv_rows.read_csv_rows,
    ".tsv": functools.partial(csv_rows.read_csv_rows, delimiter="\t"),
}
READERS: dict[str, RowReader] = TEXT_READERS | {
    ".parquet": lambda path, limit: table_rows.read_parquet(path, limit),
    ".arrow": lambda path, limit: table_rows.read_arrow(path, limit),
    ".feather": lambda path, limit: table_rows.read_arrow(path, limit),
    ".array_record": read_array_record,
}
ENDINGS = (*READERS, *(t + c for t in TEXT_READERS for c in file_io.COMPRESSIONS))
ENDINGS_BY_LENGTH = sorted(ENDINGS, key=len, reverse=True)


def file_ending(name: str) -> str:
    """Ending of a file name that identifies the format, in lower case.

    The shard number that TensorFlow appends is ignored.

    Raises:
      ValueError: not a supported format; says what to do.

    >>> file_ending("PAIRS.JSONL"), file_ending("train.array_record-00000-of-00002")
    ('.jsonl', '.array_record')
    """
    lower = re.sub(r"-\d+-of-\d+$", "", name.lower())
    for ending in ENDINGS_BY_LENGTH:
        if lower.endswith(ending):
            return ending
    last = os.path.splitext(lower.rpartition("/")[2])[1]
    hints = (hint for ends, hint in UNSUPPORTED_HINTS.items() if last in ends.split())
    hint = next(hints, "give it the ending of its format")
    raise ValueError(
        f"{name} has {f'the ending {last[:20]!r}' if last else 'no ending'}; expected "
        f"{', '.join(READERS)} (text formats also with "
        f"{', '.join(file_io.COMPRESSIONS)}): {hint}"
    )


def is_data_file(name: str) -> bool:
    """Whether a file in a folder holds rows, by its name."""
    base = name.rpartition("/")[2].lower()
    if base in METADATA_FILES or base.startswith("."):
        return False
    try:
        return bool(file_ending(base))
    except ValueError:
        return False


def list_all_files(path: Paths) -> list[str]:
    """`list_files` of a path, or of each of several."""
    if isinstance(path, str | os.PathLike):
        return list_files(path)
    return [file for each in path for file in list_files(each)]


def describe_paths(path: Paths) -> str:
    """A path; of several, the first and their number."""
    if isinstance(path, str | os.PathLike):
        return str(path)
    more = f" and {len(path) - 1} more" if len(path) > 1 else ""
    return f"{path[0]}{more}"


def list_files(path: str | os.PathLike[str]) -> list[str]:
    """The file itself, or the data files of a folder in natural order of names.

    Raises:
      FileNotFoundError: no such file, or no data file in the folder.
      ValueError: a file in an unsupported format, or a file system that fails.
    """
    name = str(path)
    if not is_folder(name):
        file_ending(name)
        return [name]
    names = [entry for entry, is_dir in list_folder(name).items() if not is_dir]
    data_files = sorted(filter(is_data_file, names), key=natural_sort_key)
    if not data_files:
        raise FileNotFoundError(f"the folder {name} holds no {', '.join(READERS)}")
    return [f"{name.rstrip('/')}/{file}" for file in data_files]


def natural_sort_key(name: str) -> list[str | int]:
    """Sort key that compares the numbers in names by value.

    >>> sorted(["b-10", "b-9", "a-11"], key=natural_sort_key)
    ['a-11', 'b-9', 'b-10']
    """
    parts = re.split(r"(\d+)", name)
    return [int(part) if i % 2 else part for i, part in enumerate(parts)]


def is_folder(path: str) -> bool:
    """Whether an existing path is a folder.

    Raises:
      FileNotFoundError: the path does not exist.
      ValueError: the file system fails.
    """
    system, inner = file_system(path)
    try:
        is_dir, exists = system.isdir(inner), system.exists(inner)
    except OSError:
        raise
    except Exception as error:  # every file system has its own classes
        raise ValueError(f"{path} cannot be reached: {error}") from error
    if not exists:
        raise FileNotFoundError(f"no such file: {path}")
    return bool(is_dir)


def list_folder(folder: str) -> dict[str, bool]:
    """Names of the entries of a folder -> whether each is a folder."""
    system, inner = file_system(folder)

    def is_directory(entry: dict[str, Any]) -> bool:
        is_link = entry["type"] == "other"
        return entry["type"] == "directory" or is_link and system.isdir(entry["name"])

    return {
        entry["name"].rstrip("/").rpartition("/")[2]: is_directory(entry)
        for entry in system.ls(inner, detail=True)
    }


def read_rows(
    path: str | os.PathLike[str], *, max_row_chars: int = MAX_ROW_CHARS
) -> Rows:
    """Read the rows of a file in any format.

    Returns:
      (location, row) pairs. The location is `path:line` or `path:row`, from 1. A
      `MalformedRow` stands in place of a row that cannot be read.

    Raises:
      ValueError: an unsupported format, a file that cannot be read on, or a limit out
        of range.
    """
    name = str(path)
    if not 1 <= max_row_chars <= MAX_LIMIT:
        raise ValueError(
            f"--max-row-chars is {max_row_chars}; expected 1 to {MAX_LIMIT:,}"
        )
    rows = READERS[uncompressed_ending(name)](name, max_row_chars)
    return row_limits.check_rows(rows, max_row_chars)


def uncompressed_ending(name: str) -> str:
    """Ending of a file name without that of the compression: .jsonl of x.jsonl.gz."""
    ending: Any = file_ending(name)
    for compression in file_io.COMPRESSIONS:
        ending = ending.removesuffix(compression)
    return str(ending)
