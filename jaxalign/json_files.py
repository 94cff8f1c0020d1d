"""JSON settings in folders from strangers: bounded in size, each fault one sentence."""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

LARGEST = 64 * 2**20  # bytes; indexes of the largest public models have 2 MB
FLOAT = 2**1023
COUNT = 2**31 - 1  # largest size of an axis


class Kind(NamedTuple):
    """The values that a field may have.

    Attributes:
      words: what they are, for messages.
      fits: whether a value is one of them.
    """

    words: str
    fits: Callable[[Any], bool]

    def __or__(self, other: "Kind") -> "Kind":
        """Values of either kind."""
        fits = lambda x: self.fits(x) or other.fits(x)
        return Kind(f"{self.words} or {other.words}", fits)


def is_int(value: Any) -> bool:
    """Whether it is a whole number; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Whether it is a finite number, of float64's range."""
    if is_int(value):
        return -FLOAT <= value <= FLOAT
    return isinstance(value, float) and math.isfinite(value)


def list_of(kind: Kind) -> Kind:
    """Lists of such values."""
    fits = lambda x: isinstance(x, list) and all(map(kind.fits, x))
    return Kind(f"a list of {kind.words}", fits)


def object_of(kind: Kind) -> Kind:
    """Objects whose fields all have such values."""
    fits = lambda x: isinstance(x, dict) and all(map(kind.fits, x.values()))
    return Kind(f"an object whose fields are {kind.words}", fits)


def one_of(*values: Any) -> Kind:
    """These values, told apart by type too: 1 is not true."""
    same = lambda x, y: type(x) is type(y) and x == y
    words = " or ".join(json.dumps(value) for value in values)
    return Kind(words, lambda x: any(same(x, value) for value in values))


NULL = one_of(None)
BOOL = Kind("true or false", lambda x: isinstance(x, bool))
TEXT = Kind("a text", lambda x: isinstance(x, str))
OBJECT = Kind("an object", lambda x: isinstance(x, dict))
SIZE = Kind(
    f"a whole number from 1 to {COUNT}", lambda x: is_int(x) and 1 <= x <= COUNT
)
INDEX = Kind("a whole number, 0 or more", lambda x: is_int(x) and 0 <= x <= COUNT)
INTEGER = Kind("a whole number", is_int)
NUMBER = Kind("a number", is_number)
POSITIVE = Kind("a number above 0", lambda x: is_number(x) and x > 0)
NOT_NEGATIVE = Kind("a number, 0 or more", lambda x: is_number(x) and x >= 0)
SHARE = Kind("a number above 0, at most 1", lambda x: is_number(x) and 0 < x <= 1)


def read(path: Path, *, largest: int = LARGEST) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
      ValueError: it is too large, not JSON, no object, or holds a NaN or an infinity;
        one sentence that names the file.
    """
    if not path.is_file():
        raise ValueError(f"{path} is not a file")
    if path.stat().st_size > largest:
        raise ValueError(f"{path} has more than {largest >> 20} MiB: no settings do")
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
    """The values that are neither objects nor lists, with the path to each."""
    parts: Any = tree.items() if isinstance(tree, dict) else ()
    parts = enumerate(tree) if isinstance(tree, list) else parts
    if not isinstance(tree, dict | list):
        yield name, tree
    for key, part in parts:
        yield from leaves(part, f"{name}.{key}" if name else str(key))


def check(
    settings: Mapping[str, Any], kinds: Mapping[str, Kind], where: str, within: str = ""
) -> None:
    """Refuses a field whose value is of another kind than it must be.

    Args:
      kinds: by the name of the field; other fields are not looked at.
      where: the file.
      within: the field whose object these settings are.

    Raises:
      ValueError: names the file and the field.
    """
    for name, kind in kinds.items():
        if name in settings and not kind.fits(settings[name]):
            shown = shortened(json.dumps(settings[name], default=repr))
            field = f"{within}.{name}" if within else name
            raise ValueError(f"{where}: field {field!r} is {shown}, not {kind.words}")


def one_line(error: object, length: int = 300) -> str:
    """What an exception says, in one line of at most so many characters."""
    text = " ".join(str(error).split()) or type(error).__name__
    return shortened(text, length)


def shortened(text: str, length: int = 60) -> str:
    """The text, cut where it is longer."""
    return text if len(text) <= length else f"{text[: length - 3]}..."
