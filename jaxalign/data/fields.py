"""Fields of rows, and what is said where they are not as they should be."""

from collections.abc import Mapping
from typing import Any

Row = Mapping[str, Any]


class Malformed(ValueError):
    """A row that lacks something; says which field."""


def text_of(value: Any, field: str) -> str:
    """A text, or the content of the one message there is."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, Mapping):
        value = content_of(value)
    if not isinstance(value, str):
        raise Malformed(f"field {field!r} should be text, not {name_of(value)}")
    return value


def content_of(message: Row) -> Any:
    """The content of a message; of one in parts, the texts of all."""
    content = message.get("content", message.get("value"))
    if not isinstance(content, list):
        return content
    parts = [p.get("text", p.get("value")) for p in content if isinstance(p, Mapping)]
    whole = len(parts) == len(content) and all(isinstance(p, str) for p in parts)
    return "".join(parts) if whole else content


def name_of(value: Any) -> str:
    """A JSON value's type, as people who write JSON call it."""
    if value is None:
        return "null"
    names = {bool: "true or false", dict: "an object", list: "a list", str: "text"}
    return names.get(type(value), "a number")


def needed(row: Row, *fields: str) -> str:
    """The first of these fields that the row has."""
    for field in fields:
        if field in row:
            return field
    others = f" (or {', '.join(fields[1:])})" if len(fields) > 1 else ""
    raise Malformed(f"field {fields[0]!r}{others} is missing")


def objects(value: Any, field: str) -> list[Row]:
    """A list of objects; TFDS gives them as an object of lists."""
    if isinstance(value, Mapping) and all(isinstance(v, list) for v in value.values()):
        columns = zip(*value.values(), strict=False)
        value = [dict(zip(value, column, strict=True)) for column in columns]
    if not isinstance(value, list) or not all(isinstance(v, Mapping) for v in value):
        raise Malformed(f"field {field!r} should be a list of objects")
    return value
