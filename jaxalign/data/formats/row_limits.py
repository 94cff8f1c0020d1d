"""What every row must be, whichever format it came from: bounded, and plain JSON.

A row holds text, finite integers, numbers, true, false, null, lists and objects, nested
at most `MAX_DEPTH` deep. Text is Unicode without lone surrogates (no UTF-8 encodes
them) and without NUL (no tokenizer was trained on it; it marks damaged text).
"""

import collections
import datetime
import decimal
import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from jaxalign.data.schemas.checks import MalformedRow

MAX_ROW_CHARS = 1_000_000
MAX_DEPTH = 100
MAX_DIGITS = 308  # of the largest integer that a float can hold
MAX_INT = 10**MAX_DIGITS
INVALID_CHARS = re.compile("[\0\ud800-\udfff]")
Rows = Iterator[tuple[str, Any]]


class InvalidValue(Exception):
    """What is wrong with a value, and the keys that lead to it, innermost first."""

    def __init__(self, fault: str) -> None:
        super().__init__(fault)
        self.path = collections.deque[str | int](maxlen=4)  # a name that fits a line

    def sentence(self) -> str:
        """The fault, with the field's name.

        >>> unfit = InvalidValue("holds NUL")
        >>> unfit.path += ["content", 0, "messages"]
        >>> unfit.sentence()
        "field 'messages[0].content' holds NUL"
        """
        name = ""
        for key in reversed(self.path):
            name += f"[{key}]" if isinstance(key, int) else f".{key}"
        field = f"field {name.lstrip('.')!r}" if name else "the row"
        return f"{field} {self}"


def check_rows(rows: Iterable[tuple[str, Any]], max_row_chars: int) -> Rows:
    """Rows, those that are unfit replaced by a `MalformedRow` that says why."""
    for where, row in rows:
        if isinstance(row, Mapping):
            row = check_row(row, max_row_chars)
        yield where, row


def check_row(row: Mapping[str, Any], max_row_chars: int) -> Any:
    """The row, or the `MalformedRow` that says why it is unfit."""
    try:
        length = count_chars(row)
    except InvalidValue as unfit:
        return MalformedRow(unfit.sentence())
    return row if length <= max_row_chars else row_too_long(max_row_chars, length)


def row_too_long(max_row_chars: int, length: int = 0) -> MalformedRow:
    """Says that a row is too long; of one that was not read to its end no length."""
    count = f"{length:,} characters, more" if length else "more characters"
    return MalformedRow(f"holds {count} than --max-row-chars {max_row_chars:,}")


def count_chars(value: Any, depth: int = 0) -> int:
    """Characters of all texts and keys in a value; any other value counts as one.

    Raises:
      Unfit: a value that no row may hold.
    """
    if isinstance(value, str):
        if (not value.isascii() or "\0" in value) and (
            bad := INVALID_CHARS.search(value)
        ):
            code = ord(bad[0])
            kind = "a lone surrogate" if code else "the NUL character"
            raise InvalidValue(
                f"holds {kind}, U+{code:04X}, at character {bad.start() + 1}"
            )
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


def count_item_chars(values: Any, depth: int) -> int:
    """`count_chars` of what is in an object, with its keys, or in a list."""
    named = isinstance(values, Mapping)
    length, key = 0, None
    try:
        for key, value in values.items() if named else enumerate(values):
            length += count_chars(value, depth) + (count_chars(key) if named else 0)
    except InvalidValue as unfit:
        unfit.path.append(shorten_key(key))
        raise
    return length


def shorten_key(key: Any) -> str | int:
    """A field's name, as far as it is shown, or an index."""
    return key if isinstance(key, int) else str(key)[:40]


def call_at_key(key: Any, function: Callable[..., Any], *args: Any) -> Any:
    """The function's value; what is unfit is said to lie under the key."""
    try:
        return function(*args)
    except InvalidValue as unfit:
        unfit.path.append(shorten_key(key))
        raise


def to_json_row(row: Any) -> Any:
    """A row of a table as JSON has it, or the `MalformedRow` that says why it has not."""
    try:
        return to_json_value(row)
    except InvalidValue as unfit:
        return MalformedRow(unfit.sentence())


def to_json_value(value: Any) -> Any:
    """A value of a table as JSON has it, wherever it is nested.

    Bytes are UTF-8 text, times ISO 8601, durations seconds, decimals numbers.

    Raises:
      Unfit: bytes that are not UTF-8, such as an image's.
    """
    if hasattr(value, "tolist"):  # numpy's
        value = value.tolist()
    if isinstance(value, Mapping):
        return {
            key: call_at_key(key, to_json_value, inner) for key, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return [call_at_key(i, to_json_value, inner) for i, inner in enumerate(value)]
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
