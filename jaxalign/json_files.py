"""Validation of JSON files from untrusted folders: size, syntax and field types."""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jaxalign.messages import one_line, shorten

MAX_BYTES = 64 * 2**20  # bytes; indexes of the largest public models have 2 MB
MAX_FLOAT = 2**1023
MAX_COUNT = 2**31 - 1  # largest size of an axis


class FieldType(NamedTuple):
    """A type of field values.

    Attributes:
      words: its description in messages.
      accepts: whether a value has this type.
    """

    words: str
    accepts: Callable[[Any], bool]

    def __or__(self, other: "FieldType") -> "FieldType":
        """Values of either type."""
        fits = lambda x: self.accepts(x) or other.accepts(x)
        return FieldType(f"{self.words} or {other.words}", fits)


def is_int(value: Any) -> bool:
    """Whether a value is an integer, and no bool."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Whether a value is a finite number within float64's range."""
    if is_int(value):
        return -MAX_FLOAT <= value <= MAX_FLOAT
    return isinstance(value, float) and math.isfinite(value)


def list_of(kind: FieldType) -> FieldType:
    """Lists whose elements have this type."""
    fits = lambda x: isinstance(x, list) and all(map(kind.accepts, x))
    return FieldType(f"a list of {kind.words}", fits)


def object_of(kind: FieldType) -> FieldType:
    """Objects whose fields all have this type."""
    fits = lambda x: isinstance(x, dict) and all(map(kind.accepts, x.values()))
    return FieldType(f"an object whose fields are {kind.words}", fits)


def one_of(*values: Any) -> FieldType:
    """These values alone, compared by type as well: 1 is not true."""
    same = lambda x, y: type(x) is type(y) and x == y
    words = " or ".join(json.dumps(value) for value in values)
    return FieldType(words, lambda x: any(same(x, value) for value in values))


NULL = one_of(None)
BOOL = FieldType("true or false", lambda x: isinstance(x, bool))
TEXT = FieldType("a text", lambda x: isinstance(x, str))
OBJECT = FieldType("an object", lambda x: isinstance(x, dict))
SIZE = FieldType(
    f"a whole number from 1 to {MAX_COUNT}", lambda x: is_int(x) and 1 <= x <= MAX_COUNT
)
INDEX = FieldType(
    "a whole number, 0 or more", lambda x: is_int(x) and 0 <= x <= MAX_COUNT
)
INTEGER = FieldType("a whole number", is_int)
NUMBER = FieldType("a number", is_number)
POSITIVE = FieldType("a number above 0", lambda x: is_number(x) and x > 0)
NOT_NEGATIVE = FieldType("a number, 0 or more", lambda x: is_number(x) and x >= 0)
FRACTION = FieldType(
    "a number above 0, at most 1", lambda x: is_number(x) and 0 < x <= 1
)


def read_object(path: Path, *, max_bytes: int = MAX_BYTES) -> dict[str, Any]:
    """Reads the JSON object in a file.

    Raises:
      ValueError: it is too large, not JSON, no object, or holds a NaN or an infinity;
        one sentence that names the file.
    """
    if not path.is_file():
        raise ValueError(f"{path} is not a file")
    if path.stat().st_size > max_bytes:
        raise ValueError(f"{path} has more than {max_bytes >> 20} MiB: no settings do")
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        values = list(leaves(settings))
    except RecursionError:
        raise ValueError(f"{path} is nested too deep") from None
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {one_line(error)}") from error
    if not isinstance(settings, dict):
        raise ValueError(f"{path} is not a JSON object")
    for name, value in values:
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{path}: field {name!r} is {value}, not a finite number")
    return settings


def leaves(tree: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The scalar values of a JSON tree, each with its path."""
    parts: Any = tree.items() if isinstance(tree, dict) else ()
    parts = enumerate(tree) if isinstance(tree, list) else parts
    if not isinstance(tree, dict | list):
        yield name, tree
    for key, part in parts:
        yield from leaves(part, f"{name}.{key}" if name else str(key))


def check_fields(
    settings: Mapping[str, Any],
    kinds: Mapping[str, FieldType],
    where: str,
    within: str = "",
) -> None:
    """Checks the type of each field.

    Args:
      kinds: required types by field name; other fields are ignored.
      where: the file, for messages.
      within: the name of the enclosing field, where these settings are nested.

    Raises:
      ValueError: a field has another type; names the file and the field.
    """
    for name, kind in kinds.items():
        if name in settings and not kind.accepts(settings[name]):
            shown = shorten(json.dumps(settings[name], default=repr))
            field = f"{within}.{name}" if within else name
            raise ValueError(f"{where}: field {field!r} is {shown}, not {kind.words}")
