"""Checks of the values of row fields, with their error messages."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from jaxalign.data.row_errors import MalformedRow, UnsupportedField

FLOAT32_MAX = 3.4028234663852886e38
TRUE_VALUES, FALSE_VALUES = (1, "true", "1", "1.0"), (0, "false", "0", "0.0")


class Row(dict[str, Any]):
    """A row that records which of its fields were read, by `[]` or `get`.

    >>> row = Row(prompt="2 + 2?", id=7)
    >>> row["prompt"], row.unread()
    ('2 + 2?', {'id': 7})
    """

    def __init__(self, *args: Any, **fields: Any) -> None:
        super().__init__(*args, **fields)
        self.read_names: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        self.read_names.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        """The value of a field, or the default."""
        return self[name] if name in self else default

    def peek(self, name: str) -> Any:
        """The value of a field, or None, without marking the field as read."""
        return super().get(name)

    def unread(self) -> dict[str, Any]:
        """The fields that were not read."""
        return {name: v for name, v in self.items() if name not in self.read_names}


def require_text(value: Any, field: str) -> str:
    """Return a text, or raise.

    Raises:
      MalformedRow: the value is not a text.
    """
    if not isinstance(value, str):
        raise MalformedRow(f"field {field!r} is {json_type(value)}; expected text")
    return value


def require_number(value: Any, field: str) -> float:
    """Return a finite number in the range of float32, or raise; booleans are refused.

    Raises:
      MalformedRow: the value is not such a number.
    """
    if not is_number(value):
        raise MalformedRow(
            f"field {field!r} is {preview(value)}; expected a finite number"
        )
    return float(value)


def parse_bool(value: Any) -> bool | None:
    """Parse a boolean as JSON, Parquet and CSV files write it; None if it is not one.

    >>> parse_bool(0.0), parse_bool("True"), parse_bool(2)
    (False, True, None)
    """
    value = value.lower() if isinstance(value, str) else value
    if not isinstance(value, str | int | float):
        return None
    return True if value in TRUE_VALUES else False if value in FALSE_VALUES else None


def is_empty(value: Any) -> bool:
    """Whether a value is null or empty, which means the same as a missing field."""
    return value is None or (isinstance(value, str | list | dict) and not value)


def is_number(value: Any) -> bool:
    """Whether a value is a finite number in the range of float32."""
    return type(value) in (int, float) and -FLOAT32_MAX <= value <= FLOAT32_MAX


def json_type(value: Any) -> str:
    """Name of the JSON type of a value, with its article.

    >>> json_type([1]), json_type(None), json_type("x")
    ('a list', 'null', 'text')
    """
    if value is None:
        return "null"
    names = {bool: "a boolean", list: "a list", str: "text"}
    if isinstance(value, Mapping):
        return "an object"
    return names.get(type(value), "a number")


def preview(value: Any) -> str:
    """Beginning of a value, for an error message.

    >>> preview(10**5000), preview("yes"), preview(float("nan")), preview(None)
    ('1000000000000000000... (a number)', "'yes'", 'NaN', 'null')
    """
    if type(value) is int and abs(value) >= 10**40:
        while abs(value) >= 10**40:
            value //= 10**20
        return f"{str(value)[:19]}... (a number)"
    if value is None or isinstance(value, bool | float):
        return json.dumps(value)
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:50]}... ({json_type(value)})"


def first_field(row: Mapping[str, Any], *fields: str) -> str:
    """Name of the first of these fields that the row has.

    Raises:
      MalformedRow: the row has none of them.
    """
    for field in fields:
        if field in row:
            return field
    others = f" (or {', '.join(fields[1:])})" if len(fields) > 1 else ""
    raise MalformedRow(f"field {fields[0]!r}{others} is missing")


def fields_with_values(row: Row, fields: Iterable[str]) -> list[str]:
    """Names of the fields that are not empty, without marking them as read."""
    return [f for f in fields if f in row and not is_empty(row.peek(f))]


def refuse_fields(
    row: Mapping[str, Any], fields: Iterable[str], prefix: str, reason: str
) -> None:
    """Refuse a row or message with a value in one of the fields; false is no value.

    Args:
      prefix: beginning of the error message, before the field's name.
      reason: end of the error message, after the field's name.

    Raises:
      UnsupportedField: names the field.
    """
    for field in fields:
        if field in row:
            value = row.peek(field) if isinstance(row, Row) else row[field]
            if value is not False and not is_empty(value):
                raise UnsupportedField(field, f"{prefix}{field!r} {reason}")


def parse_json(value: Any, name: str) -> Any:
    """Parse a text as JSON; return any other value unchanged.

    Args:
      name: name of the value in the error message.

    Raises:
      MalformedRow: the text is not JSON.
    """
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise MalformedRow(f"{name} is {preview(value)}; expected JSON") from error


def require_objects(value: Any, field: str) -> list[Mapping[str, Any]]:
    """Return a list of objects, or raise; an object of equal-length lists, as TFDS
    has them, is transposed.

    Raises:
      MalformedRow: the value is neither.
    """
    if isinstance(value, Mapping) and all(isinstance(v, list) for v in value.values()):
        if len({len(column) for column in value.values()}) > 1:
            raise MalformedRow(f"field {field!r} has lists of different lengths")
        value = [
            dict(zip(value, column, strict=True))
            for column in zip(*value.values(), strict=True)
        ]
    if not isinstance(value, list) or not all(isinstance(v, Mapping) for v in value):
        raise MalformedRow(f"field {field!r} is not a list of objects")
    return value
