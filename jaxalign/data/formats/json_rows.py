"""Rows of JSON files: JSON lines, a list, or an object that holds the list.

lines    {"prompt": ...}\\n{"prompt": ...}     an object on each line
list     [{"prompt": ...}, ...]
object   {"data": [{"prompt": ...}, ...]}     or rows, examples, instances, records
objects  one after the other, each on several lines (pretty-printed)

The content decides between these; where it does not, the ending of the file name does
(.json, .jsonl, .ndjson). No file is held in memory as a whole, and lines and values
that are too long for a row are not parsed.
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
from jaxalign.data.row_errors import MalformedRow

MAX_EMPTY_LINES = 1_000_000  # in a row: a small compressed file may expand to them
HEAD_BYTES = 1 << 16  # read to detect the layout
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
# fields of rows: beside a list of rows they are ambiguous
ROW_FIELDS = (
    "prompt messages conversations instruction question system tools chosen rejected "
    "completion output answer response label weight"
).split()
PRETTY_PRINTED = re.compile(r'\{[ \t\r]*\n\s*"')
WRAPPED_LIST = re.compile(
    rf'\{{\s*"({"|".join((*LIST_FIELDS, *SPLIT_FIELDS))})"\s*:\s*\['
)


def read_json_rows(path: str, max_row_chars: int, *, is_document: bool = False) -> Rows:
    """Read the rows of a JSON file, each with the location of its first line.

    Args:
      is_document: the file name promises one JSON document (.json), not JSON lines.

    Raises:
      ValueError: a file that is not UTF-8, or in which the next row cannot be found.
    """
    head = file_io.read_head(path, HEAD_BYTES)
    refuse_encodings(path, head)
    layout = detect_layout(head.decode("utf-8-sig", "ignore"), is_document)
    with file_io.open_binary(path) as file:
        if layout == "lines":
            yield from read_lines(path, file, max_row_chars)
        else:
            window = Window(path, file, MAX_ESCAPED_LENGTH * max_row_chars)
            read = read_list if layout == "list" else read_objects
            yield from read(window)


def refuse_encodings(path: str, head: bytes) -> None:
    """Refuse UTF-16, UTF-32, and lines that end in CR alone.

    Args:
      head: first bytes of the file.

    Raises:
      ValueError: says which of them, and what to do.
    """
    has_bom = head[:2] in (b"\xff\xfe", b"\xfe\xff")
    has_zeros = len(set(head[:4])) > 1 and b"\0\0" in (head[:4:2], head[1:4:2])
    if has_bom or has_zeros:
        raise ValueError(f"{path} is UTF-16 or UTF-32: save it as UTF-8")
    if b"\r" in head.strip() and b"\n" not in head:
        raise ValueError(f"{path}:1: lines end in CR alone: end them in LF or CR LF")


def detect_layout(head: str, is_document: bool) -> str:
    """`lines`, `list` or `objects`, by the beginning of the text.

    >>> detect_layout('[{"a": 1},', False), detect_layout('{"a": 1}', True)
    ('list', 'objects')
    """
    text = head.lstrip(" \t\r\n")
    first, _, rest = text.partition("\n")
    is_complete = is_json(first)
    if is_complete and rest.strip():
        return "lines"
    if text.startswith("["):
        return "list"
    is_object = (
        is_document
        or is_complete
        or PRETTY_PRINTED.match(text)
        or WRAPPED_LIST.match(text)
    )
    return "objects" if text.startswith("{") and is_object else "lines"


def is_json(text: str) -> bool:
    """Whether a text is a JSON value."""
    try:
        json.loads(text)
    except (ValueError, RecursionError) as error:
        return "Exceeds the limit" in str(error)  # of the digits of an integer
    return True


def read_lines(path: str, file: Any, max_row_chars: int) -> Rows:
    """Read the objects on the lines of a file; empty lines are skipped.

    Raises:
      ValueError: more than `MAX_EMPTY_LINES` empty lines, or a damaged file.
    """
    limit = MAX_ESCAPED_LENGTH * max_row_chars
    number = empty = 0
    try:
        while line := file.readline(limit):
            number += 1
            empty = 0 if line.strip() else empty + 1
            if empty > MAX_EMPTY_LINES:
                raise ValueError(f"{path}:{number}: {empty:,} consecutive empty lines")
            location = f"{path}:{number}"
            if len(line) == limit and not line.endswith(b"\n"):
                while (rest := file.readline(limit)) and not rest.endswith(b"\n"):
                    pass
                yield location, row_too_long(max_row_chars)
            elif line.strip():
                yield location, parse_json_bytes(line)
    except file_io.DamagedFile as error:
        raise ValueError(f"{path}:{number + 1}: {error.fault}") from error


def read_list(window: Window) -> Rows:
    """Read the entries of the single list in a file."""
    yield from read_array(window)
    if window.peek():
        raise window.error("text follows the list")


def read_objects(window: Window) -> Rows:
    """Read the objects of a file, or the rows in the list of its single object.

    Raises:
      ValueError: an object with several lists, with splits, or with a list and other
        fields of rows.
    """
    while window.peek():
        location, begin = window.location, window.consumed
        fields: dict[str, Any] = {}
        if not window.accept("{"):
            raise window.error("expecting an object")
        list_field = ""
        for name in read_field_names(window):
            if window.peek() == "[" and is_list_of_objects(window):
                if name in SPLIT_FIELDS:
                    raise ValueError(
                        f"{window.path} holds the split {name!r} of a data set inside "
                        f"one object: write each split to a file, such as {name}.jsonl"
                    )
                if name in LIST_FIELDS:
                    refuse_ambiguous_lists(window.path, list_field, name)
                    list_field = name
                    yield from read_array(window)
                    continue
            fields[name] = window.read_value()
            if window.consumed - begin > window.limit:
                fields = {"": row_too_long(window.limit // MAX_ESCAPED_LENGTH)}
        if not list_field:
            yield location, build_row(fields)
            continue
        for name in fields:
            if name in ROW_FIELDS:
                refuse_ambiguous_lists(window.path, list_field, name)
        if window.peek():
            raise window.error(f"text follows the object that holds {list_field!r}")


def read_field_names(window: Window) -> Iterator[str]:
    """Read the field names of an object; the caller reads each value in between.

    Raises:
      ValueError: not an object, or a duplicate field.
    """
    names = set()
    if window.accept("}"):
        return
    while True:
        name = window.read_value() if window.peek() == '"' else None
        if not isinstance(name, str) or not window.accept(":"):
            raise window.error("expecting a field name and ':'")
        if name in names:
            raise ValueError(f"{window.location}: field {name[:80]!r} is there twice")
        names.add(name)
        yield name
        if window.accept("}"):
            return
        if not window.accept(","):
            raise window.error("expecting ',' or '}'")


def build_row(fields: dict[str, Any]) -> Any:
    """Build a row of an object's fields; the first `MalformedRow` of them, if any."""
    for value in fields.values():
        if isinstance(value, MalformedRow):
            return value
    try:
        return build_object(list(fields.items()))
    except RefusedJSON as error:
        return malformed_row(error)


def is_list_of_objects(window: Window) -> bool:
    """Whether the next value is a list of objects, or empty."""
    window.fill(256)
    begin = window.text[window.position : window.position + 256]
    return re.match(r"\[\s*[{\]]", begin) is not None


def refuse_ambiguous_lists(path: str, list_field: str, name: str) -> None:
    """Refuse a field beside the list of rows, which makes the object itself a row.

    Args:
      list_field: field of the list; "" if there was none yet.
      name: the other field.

    Raises:
      ValueError: names both fields, if there is a list.
    """
    if list_field:
        raise ValueError(
            f"{path}: the fields {list_field!r} and {name!r} are in one object, and "
            "either may hold the data: write the rows as JSON lines"
        )
