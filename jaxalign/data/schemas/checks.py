"""Fields of rows: their values, and what is said where they are not as they should."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

FLOAT32_MAX = 3.4028234663852886e38
TRUE_VALUES, FALSE_VALUES = (1, "true", "1", "1.0"), (0, "false", "0", "0.0")


class MalformedRow(ValueError):
    """A row that lacks something; says which field."""


class UnsupportedField(MalformedRow):
    """A row with a field that would change its meaning and cannot be honoured.

    Attributes:
      field: its name, under which such rows are counted.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class Row(dict[str, Any]):
    """A row that knows which of its fields were read, by `[]` or `get`.

    >>> row = Row(prompt="2 + 2?", id=7)
    >>> row["prompt"], row.unread()
    ('2 + 2?', {'id': 7})
    """

    def __init__(self, *args: Any, **fields: Any) -> None:
        super().__init__(*args, **fields)
        self.names: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        self.names.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        """The value of a field, or the default."""
        return self[name] if name in self else default

    def peek(self, name: str) -> Any:
        """The value of a field, or None; the field does not count as read."""
        return super().get(name)

    def unread(self) -> dict[str, Any]:
        """The fields that were not read."""
        return {name: v for name, v in self.items() if name not in self.names}


def require_text(value: Any, field: str) -> str:
    """A text.

    Raises:
      Malformed: it is none.
    """
    if not isinstance(value, str):
        raise MalformedRow(f"field {field!r} should be text, not {json_type(value)}")
    return value


def require_number(value: Any, field: str) -> float:
    """A finite number of float32's range; true and false are none.

    Raises:
      Malformed: it is none.
    """
    if not is_number(value):
        raise MalformedRow(f"field {field!r} should be a number, not {preview(value)}")
    return float(value)


def parse_bool(value: Any) -> bool | None:
    """A yes or no, as JSON, Parquet and CSV files write it; None if it is neither.

    >>> parse_bool(0.0), parse_bool("True"), parse_bool(2)
    (False, True, None)
    """
    value = value.lower() if isinstance(value, str) else value
    if not isinstance(value, str | int | float):
        return None
    return True if value in TRUE_VALUES else False if value in FALSE_VALUES else None


def is_empty(value: Any) -> bool:
    """Whether a value says no more than a field that is missing: null or empty."""
    return value is None or (isinstance(value, str | list | dict) and not value)


def is_number(value: Any) -> bool:
    """Whether a value is a number of float32's range."""
    return type(value) in (int, float) and -FLOAT32_MAX <= value <= FLOAT32_MAX


def json_type(value: Any) -> str:
    """A JSON value's type, as people who write JSON call it."""
    if value is None:
        return "null"
    names = {bool: "true or false", list: "a list", str: "text"}
    if isinstance(value, Mapping):
        return "an object"
    return names.get(type(value), "a number")


def preview(value: Any) -> str:
    """A value for a message: its beginning.

    >>> preview(10**5000), preview("yes")
    ('1000000000000000000... (a number)', "'yes'")
    """
    if type(value) is int and abs(value) >= 10**40:
        while abs(value) >= 10**40:
            value //= 10**20
        return f"{str(value)[:19]}... (a number)"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:50]}... ({json_type(value)})"


def first_field(row: Mapping[str, Any], *fields: str) -> str:
    """The first of these fields that the row has."""
    for field in fields:
        if field in row:
            return field
    others = f" (or {', '.join(fields[1:])})" if len(fields) > 1 else ""
    raise MalformedRow(f"field {fields[0]!r}{others} is missing")


def fields_with_values(row: Row, fields: Iterable[str]) -> list[str]:
    """Those of the fields that the row has a value in; none counts as read."""
    return [f for f in fields if f in row and not is_empty(row.peek(f))]


def refuse_fields(
    row: Mapping[str, Any], fields: Iterable[str], at: str, why: str
) -> None:
    """Refuses a row or message in which one of the fields is not empty or false.

    Raises:
      Refused: names the field.
    """
    for field in fields:
        if field in row:
            value = row.peek(field) if isinstance(row, Row) else row[field]
            if value is not False and not is_empty(value):
                raise UnsupportedField(field, f"{at}{field!r} {why}")


def parse_json(value: Any, at: str) -> Any:
    """A value that may be written as JSON in a text.

    Raises:
      Malformed: a text that is no JSON.
    """
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise MalformedRow(f"{at} should be JSON, not {preview(value)}") from error


def require_objects(value: Any, field: str) -> list[Mapping[str, Any]]:
    """A list of objects; TFDS gives them as an object of lists."""
    if isinstance(value, Mapping) and all(isinstance(v, list) for v in value.values()):
        if len({len(column) for column in value.values()}) > 1:
            raise MalformedRow(f"field {field!r} has lists of different lengths")
        value = [
            dict(zip(value, column, strict=True))
            for column in zip(*value.values(), strict=True)
        ]
    if not isinstance(value, list) or not all(isinstance(v, Mapping) for v in value):
        raise MalformedRow(f"field {field!r} should be a list of objects")
    return value
