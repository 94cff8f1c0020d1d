"""Limits of rows in all file formats: bounded size, plain JSON values, clean text.

A row holds text, finite integers, numbers, true, false, null, lists and objects, nested
at most `MAX_DEPTH` deep. Text is Unicode without lone surrogates (which UTF-8 cannot
encode) and without NUL (which marks damaged text; no tokenizer was trained on it).
"""

import collections
import datetime
import decimal
import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from jaxalign.data.row_errors import MalformedRow

MAX_ROW_CHARS = 1_000_000
MAX_DEPTH = 100
MAX_DIGITS = 308  # of the largest integer that fits in a float64
MAX_INT = 10**MAX_DIGITS
INVALID_CHARS = re.compile("[\0\ud800-\udfff]")
Rows = Iterator[tuple[str, Any]]
"""(location, row) pairs; a `MalformedRow` in place of a row that cannot be read."""


class InvalidValue(Exception):
    """A value that no row may hold.

    Attributes:
      path: keys and indices that lead to the value, innermost first; at most the
        outermost four, so that the message fits a line.
    """

    def __init__(self, fault: str) -> None:
        super().__init__(fault)
        self.path = collections.deque[str | int](maxlen=4)

    def sentence(self) -> str:
        """The fault, with the name of the field.

        >>> invalid = InvalidValue("holds NUL")
        >>> invalid.path += ["content", 0, "messages"]
        >>> invalid.sentence()
        "field 'messages[0].content' holds NUL"
        """
        name = ""
        for key in reversed(self.path):
            name += f"[{key}]" if isinstance(key, int) else f".{key}"
        field = f"field {name.lstrip('.')!r}" if name else "the row"
        return f"{field} {self}"


def check_rows(rows: Iterable[tuple[str, Any]], max_row_chars: int) -> Rows:
    """Replace the invalid ones of (location, row) pairs by a `MalformedRow`."""
    for location, row in rows:
        if isinstance(row, Mapping):
            row = check_row(row, max_row_chars)
        yield location, row


def check_row(row: Mapping[str, Any], max_row_chars: int) -> Any:
    """Return the row, or a `MalformedRow` that names its fault."""
    try:
        length = count_chars(row)
    except InvalidValue as invalid:
        return MalformedRow(invalid.sentence())
    return row if length <= max_row_chars else row_too_long(max_row_chars, length)


def row_too_long(max_row_chars: int, length: int = 0) -> MalformedRow:
    """The error of a row that is too long.

    Args:
      length: characters of the row; 0 if it was not read to its end.
    """
    count = f"{length:,} characters, more" if length else "more characters"
    return MalformedRow(f"holds {count} than --max-row-chars {max_row_chars:,}")


def count_chars(value: Any, depth: int = 0) -> int:
    """Characters of all texts and keys in a value; any other value counts as one.

    Args:
      depth: number of lists and objects around the value.

    Raises:
      InvalidValue: a value that no row may hold.
    """
    if isinstance(value, str):
        if not value.isascii() or "\0" in value:
            check_text(value)
        return len(value)
    if isinstance(value, Mapping | list | tuple):
        if depth >= MAX_DEPTH:
            raise InvalidValue(f"is nested more than {MAX_DEPTH} levels deep")
        return count_item_chars(value, depth + 1)
    if isinstance(value, int) and abs(value) >= MAX_INT:
        raise InvalidValue(f"is an integer of more than {MAX_DIGITS} digits")
    if value is None or isinstance(value, int | float):
        return 1
    raise InvalidValue(f"is of type {type(value).__name__}, which JSON does not have")


def check_text(text: str) -> None:
    """Refuse lone surrogates and NUL.

    Raises:
      InvalidValue: names the character and its position.
    """
    if bad := INVALID_CHARS.search(text):
        code = ord(bad[0])
        kind = "a lone surrogate" if code else "the NUL character"
        raise InvalidValue(
            f"holds {kind}, U+{code:04X}, at character {bad.start() + 1}"
        )


def count_item_chars(items: Any, depth: int) -> int:
    """`count_chars` of the items of a list, or of the keys and values of an object."""
    is_object = isinstance(items, Mapping)
    length, key = 0, None
    try:
        for key, value in items.items() if is_object else enumerate(items):
            length += count_chars(value, depth)
            length += count_chars(key) if is_object else 0
    except InvalidValue as invalid:
        invalid.path.append(shorten_key(key))
        raise
    return length


def shorten_key(key: Any) -> str | int:
    """An index, or the first characters of a key."""
    return key if isinstance(key, int) else str(key)[:40]


def call_at_key(key: Any, function: Callable[..., Any], *args: Any) -> Any:
    """Call a function; add the key to the path of an `InvalidValue` that it raises."""
    try:
        return function(*args)
    except InvalidValue as invalid:
        invalid.path.append(shorten_key(key))
        raise


def to_json_row(row: Any) -> Any:
    """Convert a row of a table to JSON values, or return a `MalformedRow`."""
    try:
        return to_json_value(row)
    except InvalidValue as invalid:
        return MalformedRow(invalid.sentence())


def to_json_value(value: Any) -> Any:
    """Convert a value of a table to JSON values, at all depths.

    Bytes become UTF-8 text, times ISO 8601, durations seconds, decimals numbers.

    Raises:
      InvalidValue: bytes that are not UTF-8, such as an image.
    """
    if hasattr(value, "tolist"):  # numpy arrays and scalars
        value = value.tolist()
    if isinstance(value, Mapping):
        return {k: call_at_key(k, to_json_value, v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [call_at_key(i, to_json_value, v) for i, v in enumerate(value)]
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError as error:
            raise InvalidValue(
                f"holds bytes that are not UTF-8 ({error.reason})"
            ) from error
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, decimal.Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return str(value) if isinstance(value, uuid.UUID) else value
