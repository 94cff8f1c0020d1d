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

from jaxalign.data import opening
from jaxalign.data.json_text import (
    ESCAPED,
    Fault,
    Window,
    array,
    malformed,
    parse,
    unique,
)
from jaxalign.data.row_checks import Malformed
from jaxalign.data.row_limits import Rows, too_long

EMPTY_LINES = 1_000_000  # on end: what a small file expands to, and no data
HEAD = 1 << 16  # bytes that tell what is in a file
LISTS = ("data", "rows", "examples", "instances", "records")
SPLITS = ("train", "training", "validation", "valid", "val", "dev", "test", "eval")
# fields that say how rows are trained, which must not stand beside the list of rows
ROW_FIELDS = (
    "prompt messages conversations instruction question system tools chosen rejected "
    "completion output answer response label weight"
).split()
PRETTY = re.compile(r'\{[ \t\r]*\n\s*"')
WRAPPED = re.compile(rf'\{{\s*"({"|".join((*LISTS, *SPLITS))})"\s*:\s*\[')


def rows(path: str, max_row_chars: int, *, document: bool = False) -> Rows:
    """The rows of a JSON file, each with the line that it begins on.

    A row that cannot be parsed comes as a `Malformed`.

    Args:
      document: the name promises one JSON text, rather than lines (.json).

    Raises:
      ValueError: a file that is not UTF-8, or in which no next row can be found.
    """
    head = opening.head(path, HEAD)
    refuse_encodings(path, head)
    kind = layout(head.decode("utf-8-sig", "ignore"), document)
    with opening.binary(path) as file:
        if kind == "lines":
            yield from lines(path, file, max_row_chars)
        else:
            window = Window(path, file, ESCAPED * max_row_chars)
            yield from (whole_list if kind == "list" else objects)(window)


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


def layout(head: str, document: bool) -> str:
    """`lines`, `list` or `objects`, by the beginning of the text.

    >>> layout('[{"a": 1},', False), layout('{"a": 1}', True)
    ('list', 'objects')
    """
    text = head.lstrip(" \t\r\n")
    first, _, rest = text.partition("\n")
    complete = is_json(first)
    if complete and rest.strip():
        return "lines"
    if text.startswith("["):
        return "list"
    one_object = document or complete or PRETTY.match(text) or WRAPPED.match(text)
    return "objects" if text.startswith("{") and one_object else "lines"


def is_json(text: str) -> bool:
    """Whether a text is a JSON value."""
    try:
        json.loads(text)
    except (ValueError, RecursionError) as error:
        return "Exceeds the limit" in str(error)  # of an integer's digits
    return True


def lines(path: str, file: Any, max_row_chars: int) -> Rows:
    """The objects on the lines of a file; empty lines are counted, and left out."""
    limit = ESCAPED * max_row_chars
    number = empty = 0
    try:
        while line := file.readline(limit):
            number += 1
            empty = 0 if line.strip() else empty + 1
            if empty > EMPTY_LINES:
                raise ValueError(f"{path}:{number}: {empty:,} lines are empty on end")
            where = f"{path}:{number}"
            if len(line) == limit and not line.endswith(b"\n"):
                while (more := file.readline(limit)) and not more.endswith(b"\n"):
                    pass
                yield where, too_long(max_row_chars)
            elif line.strip():
                yield where, parse(line)
    except opening.Damaged as error:
        raise ValueError(f"{path}:{number + 1}: {error.fault}") from error


def whole_list(window: Window) -> Rows:
    """The entries of the one list in a file."""
    yield from array(window)
    if window.peek():
        raise window.refuse("text follows the list")


def objects(window: Window) -> Rows:
    """The objects of a file, or the rows that its one object holds."""
    while window.peek():
        where, begin = window.where, window.passed
        found: dict[str, Any] = {}
        if not window.take("{"):
            raise window.refuse("expecting an object")
        wrapper = ""
        for name in names(window):
            if window.peek() == "[" and is_list_of_objects(window):
                if name in SPLITS:
                    raise ValueError(
                        f"{window.path} holds the split {name!r} of a data set inside "
                        f"one object: write each split to a file, such as {name}.jsonl"
                    )
                if name in LISTS:
                    refuse_both(window.path, wrapper, name)
                    wrapper = name
                    yield from array(window)
                    continue
            found[name] = window.value()
            if window.passed - begin > window.limit:
                found = {"": too_long(window.limit // ESCAPED)}
        if not wrapper:
            yield where, row_of(found)
            continue
        for name in found:
            if name in ROW_FIELDS:
                refuse_both(window.path, wrapper, name)
        if window.peek():
            raise window.refuse(f"text follows the object that holds {wrapper!r}")


def names(window: Window) -> Iterator[str]:
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


def row_of(found: dict[str, Any]) -> Any:
    """An object as a row; the first `Malformed` of its values, if there is one."""
    for value in found.values():
        if isinstance(value, Malformed):
            return value
    try:
        return unique(list(found.items()))
    except Fault as error:
        return malformed(error)


def is_list_of_objects(window: Window) -> bool:
    """Whether the list that follows holds objects, or nothing."""
    window.fill(256)
    return re.match(r"\[\s*[{\]]", window.text[window.at : window.at + 256]) is not None


def refuse_both(path: str, wrapper: str, name: str) -> None:
    """Refuses an object of which nobody knows whether it is a row or holds rows.

    Raises:
      ValueError: names both fields, if there is a wrapper.
    """
    if wrapper:
        raise ValueError(
            f"{path}: the fields {wrapper!r} and {name!r} stand side by side: either "
            "may be the data; write the rows as JSON lines"
        )
