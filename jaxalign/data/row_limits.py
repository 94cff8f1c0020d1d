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

from jaxalign.data.row_checks import Malformed

MAX_ROW_CHARS = 1_000_000
MAX_DEPTH = 100
DIGITS = 308  # of the largest integer that a float can hold
LARGEST_INT = 10**DIGITS
UNUSABLE = re.compile("[\0\ud800-\udfff]")
Rows = Iterator[tuple[str, Any]]


class Unfit(Exception):
    """What is wrong with a value, and the keys that lead to it, innermost first."""

    def __init__(self, fault: str) -> None:
        super().__init__(fault)
        self.path = collections.deque[str | int](maxlen=4)  # a name that fits a line

    def sentence(self) -> str:
        """The fault, with the field's name.

        >>> unfit = Unfit("holds NUL")
        >>> unfit.path += ["content", 0, "messages"]
        >>> unfit.sentence()
        "field 'messages[0].content' holds NUL"
        """
        name = ""
        for key in reversed(self.path):
            name += f"[{key}]" if isinstance(key, int) else f".{key}"
        field = f"field {name.lstrip('.')!r}" if name else "the row"
        return f"{field} {self}"


def checked(rows: Iterable[tuple[str, Any]], max_row_chars: int) -> Rows:
    """Rows, those that are unfit replaced by a `Malformed` that says why."""
    for where, row in rows:
        if isinstance(row, Mapping):
            row = fit(row, max_row_chars)
        yield where, row


def fit(row: Mapping[str, Any], max_row_chars: int) -> Any:
    """The row, or the `Malformed` that says why it is unfit."""
    try:
        length = measure(row)
    except Unfit as unfit:
        return Malformed(unfit.sentence())
    return row if length <= max_row_chars else too_long(max_row_chars, length)


def too_long(max_row_chars: int, length: int = 0) -> Malformed:
    """Says that a row is too long; of one that was not read to its end no length."""
    count = f"{length:,} characters, more" if length else "more characters"
    return Malformed(f"holds {count} than --max-row-chars {max_row_chars:,}")


def measure(value: Any, depth: int = 0) -> int:
    """Characters of all texts and keys in a value; any other value counts as one.

    Raises:
      Unfit: a value that no row may hold.
    """
    if isinstance(value, str):
        if (not value.isascii() or "\0" in value) and (bad := UNUSABLE.search(value)):
            code = ord(bad[0])
            kind = "a lone surrogate" if code else "the NUL character"
            raise Unfit(f"holds {kind}, U+{code:04X}, at character {bad.start() + 1}")
        return len(value)
    if isinstance(value, Mapping | list | tuple):
        if depth >= MAX_DEPTH:
            raise Unfit(f"is nested more than {MAX_DEPTH} levels deep")
        return measure_items(value, depth + 1)
    if isinstance(value, int) and abs(value) >= LARGEST_INT:
        raise Unfit(f"is an integer of more than {DIGITS} digits")
    if value is None or isinstance(value, int | float):
        return 1
    raise Unfit(f"is of type {type(value).__name__}, which JSON does not have")


def measure_items(values: Any, depth: int) -> int:
    """`measure` of what is in an object, with its keys, or in a list."""
    named = isinstance(values, Mapping)
    length, key = 0, None
    try:
        for key, value in values.items() if named else enumerate(values):
            length += measure(value, depth) + (measure(key) if named else 0)
    except Unfit as unfit:
        unfit.path.append(short(key))
        raise
    return length


def short(key: Any) -> str | int:
    """A field's name, as far as it is shown, or an index."""
    return key if isinstance(key, int) else str(key)[:40]


def within(key: Any, function: Callable[..., Any], *args: Any) -> Any:
    """The function's value; what is unfit is said to lie under the key."""
    try:
        return function(*args)
    except Unfit as unfit:
        unfit.path.append(short(key))
        raise


def plain_row(row: Any) -> Any:
    """A row of a table as JSON has it, or the `Malformed` that says why it has not."""
    try:
        return plain(row)
    except Unfit as unfit:
        return Malformed(unfit.sentence())


def plain(value: Any) -> Any:
    """A value of a table as JSON has it, wherever it is nested.

    Bytes are UTF-8 text, times ISO 8601, durations seconds, decimals numbers.

    Raises:
      Unfit: bytes that are not UTF-8, such as an image's.
    """
    if hasattr(value, "tolist"):  # numpy's
        value = value.tolist()
    if isinstance(value, Mapping):
        return {key: within(key, plain, inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [within(i, plain, inner) for i, inner in enumerate(value)]
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError as error:
            raise Unfit(f"holds bytes that are not UTF-8 ({error.reason})") from error
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, decimal.Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return str(value) if isinstance(value, uuid.UUID) else value
