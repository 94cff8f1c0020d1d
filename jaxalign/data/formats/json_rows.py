"""Rows of JSON files, by what is in them: lines, a list, or one object with the list.

lines    {"prompt": ...}\n{"prompt": ...}     an object on each line
list     [{"prompt": ...}, ...]
object   {"data": [{"prompt": ...}, ...]}     or rows, examples, instances, records
objects  one after the other, each on lines of its own ("pretty-printed")

The ending of the name (.json, .jsonl, .ndjson) decides where the content does not. No
file is held as a whole: lines and values longer than any row may be are not parsed.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from jaxalign.data.formats import file_io
from jaxalign.data.formats.json_window import (
    MAX_ESCAPED_LENGTH,
    RefusedJSON,
    Window,
    build_object,
    malformed_row,
    parse_json_bytes,
    read_array,
)
from jaxalign.data.formats.row_limits import Rows, row_too_long
from jaxalign.data.schemas.checks import MalformedRow

MAX_EMPTY_LINES = 1_000_000  # on end: what a small file expands to, and no data
HEAD_BYTES = 1 << 16  # bytes that tell what is in a file
LIST_FIELDS = ("data", "rows", "examples", "instances", "records")
SPLIT_FIELDS = (
    "train",
    "training",
    "validation",
    "valid",
    "val",
    "dev",
    "test",
    "eval",
)
# fields that say how rows are trained, which must not stand beside the list of rows
ROW_FIELDS = (
    "prompt messages conversations instruction question system tools chosen rejected "
    "completion output answer response label weight"
).split()
PRETTY_PRINTED = re.compile(r'\{[ \t\r]*\n\s*"')
WRAPPED_LIST = re.compile(
    rf'\{{\s*"({"|".join((*LIST_FIELDS, *SPLIT_FIELDS))})"\s*:\s*\['
)


def read_json_rows(path: str, max_row_chars: int, *, document: bool = False) -> Rows:
    """The rows of a JSON file, each with the line that it begins on.

    A row that cannot be parsed comes as a `MalformedRow`.

    Args:
      document: the name promises one JSON text, rather than lines (.json).

    Raises:
      ValueError: a file that is not UTF-8, or in which no next row can be found.
    """
    head = file_io.read_head(path, HEAD_BYTES)
    refuse_encodings(path, head)
    kind = detect_layout(head.decode("utf-8-sig", "ignore"), document)
    with file_io.open_binary(path) as file:
        if kind == "lines":
            yield from read_lines(path, file, max_row_chars)
        else:
            window = Window(path, file, MAX_ESCAPED_LENGTH * max_row_chars)
            yield from (read_list if kind == "list" else read_objects)(window)


def refuse_encodings(path: str, head: bytes) -> None:
    """Refuses UTF-16 and UTF-32, and lines that end in CR alone.

    Raises:
      ValueError: says which, and what to do.
    """
    wide = head[:2] in (b"\xff\xfe", b"\xfe\xff")
    if wide or len(set(head[:4])) > 1 and b"\0\0" in (head[:4:2], head[1:4:2]):
        raise ValueError(f"{path} is UTF-16 or UTF-32: save it as UTF-8")
    if b"\r" in head.strip() and b"\n" not in head:
        raise ValueError(f"{path}:1: lines end in CR alone: end them in LF or CR LF")


def detect_layout(head: str, document: bool) -> str:
    """`read_lines`, `list` or `read_objects`, by the beginning of the text.

    >>> detect_layout('[{"a": 1},', False), detect_layout('{"a": 1}', True)
    ('list', 'objects')
    """
    text = head.lstrip(" \t\r\n")
    first, _, rest = text.partition("\n")
    complete = is_json(first)
    if complete and rest.strip():
        return "lines"
    if text.startswith("["):
        return "list"
    one_object = (
        document or complete or PRETTY_PRINTED.match(text) or WRAPPED_LIST.match(text)
    )
    return "objects" if text.startswith("{") and one_object else "lines"


def is_json(text: str) -> bool:
    """Whether a text is a JSON value."""
    try:
        json.loads(text)
    except (ValueError, RecursionError) as error:
        return "Exceeds the limit" in str(error)  # of an integer's digits
    return True


def read_lines(path: str, file: Any, max_row_chars: int) -> Rows:
    """The objects on the lines of a file; empty lines are counted, and left out."""
    limit = MAX_ESCAPED_LENGTH * max_row_chars
    number = empty = 0
    try:
        while line := file.readline(limit):
            number += 1
            empty = 0 if line.strip() else empty + 1
            if empty > MAX_EMPTY_LINES:
                raise ValueError(f"{path}:{number}: {empty:,} lines are empty on end")
            where = f"{path}:{number}"
            if len(line) == limit and not line.endswith(b"\n"):
                while (more := file.readline(limit)) and not more.endswith(b"\n"):
                    pass
                yield where, row_too_long(max_row_chars)
            elif line.strip():
                yield where, parse_json_bytes(line)
    except file_io.DamagedFile as error:
        raise ValueError(f"{path}:{number + 1}: {error.fault}") from error


def read_list(window: Window) -> Rows:
    """The entries of the one list in a file."""
    yield from read_array(window)
    if window.peek():
        raise window.refuse("text follows the list")


def read_objects(window: Window) -> Rows:
    """The objects of a file, or the rows that its one object holds."""
    while window.peek():
        where, begin = window.where, window.passed
        found: dict[str, Any] = {}
        if not window.take("{"):
            raise window.refuse("expecting an object")
        wrapper = ""
        for name in read_field_names(window):
            if window.peek() == "[" and is_list_of_objects(window):
                if name in SPLIT_FIELDS:
                    raise ValueError(
                        f"{window.path} holds the split {name!r} of a data set inside "
                        f"one object: write each split to a file, such as {name}.jsonl"
                    )
                if name in LIST_FIELDS:
                    refuse_ambiguous_lists(window.path, wrapper, name)
                    wrapper = name
                    yield from read_array(window)
                    continue
            found[name] = window.value()
            if window.passed - begin > window.limit:
                found = {"": row_too_long(window.limit // MAX_ESCAPED_LENGTH)}
        if not wrapper:
            yield where, build_row(found)
            continue
        for name in found:
            if name in ROW_FIELDS:
                refuse_ambiguous_lists(window.path, wrapper, name)
        if window.peek():
            raise window.refuse(f"text follows the object that holds {wrapper!r}")


def read_field_names(window: Window) -> Iterator[str]:
    """The names of an object's fields; the window stands before each one's value."""
    seen = set()
    if window.take("}"):
        return
    while True:
        name = window.value() if window.peek() == '"' else None
        if not isinstance(name, str) or not window.take(":"):
            raise window.refuse("expecting a field's name and ':'")
        if name in seen:
            raise ValueError(f"{window.where}: field {name[:80]!r} is there twice")
        seen.add(name)
        yield name
        if window.take("}"):
            return
        if not window.take(","):
            raise window.refuse("expecting ',' or '}'")


def build_row(found: dict[str, Any]) -> Any:
    """An object as a row; the first `MalformedRow` of its values, if there is one."""
    for value in found.values():
        if isinstance(value, MalformedRow):
            return value
    try:
        return build_object(list(found.items()))
    except RefusedJSON as error:
        return malformed_row(error)


def is_list_of_objects(window: Window) -> bool:
    """Whether the list that follows holds objects, or nothing."""
    window.fill(256)
    return re.match(r"\[\s*[{\]]", window.text[window.at : window.at + 256]) is not None


def refuse_ambiguous_lists(path: str, wrapper: str, name: str) -> None:
    """Refuses an object of which nobody knows whether it is a row or holds rows.

    Raises:
      ValueError: names both fields, if there is a wrapper.
    """
    if wrapper:
        raise ValueError(
            f"{path}: the fields {wrapper!r} and {name!r} stand side by side: either "
            "may be the data; write the rows as JSON lines"
        )
