"""Configurations from the values of a file: each field by its name, types checked."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

from jaxalign import messages
from jaxalign.runtime import flags

Config = TypeVar("Config", bound=flags.ValidatedConfig)
NAMES = {int: "a whole number", float: "a number", str: "text", Path: "a path"}
NAMES |= {bool: "true or false", type(None): "null"}


def read_yaml(path: Path, flag: str) -> dict[str, Any]:
    """The mapping in a YAML or JSON file.

    Args:
      flag: that names the file, for messages.

    Raises:
      ValueError: no such file, no YAML, or no mapping of names to values.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{flag} {path}: {error.strerror or error}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = messages.one_line(error)
        raise ValueError(f"{flag} {path} is no YAML file: {reason}") from error
    if not isinstance(values, dict) or not values:
        raise ValueError(f"{flag} {path} holds no names with values, `name: value`")
    return values


def from_values(
    config: type[Config], values: Mapping[str, Any], where: str, **settings: Any
) -> Config:
    """A configuration from values by field name.

    Dashes in names are underscores, and lists are tuples.

    Args:
      where: the place of the values, for messages, such as "suite.yaml: compare".
      **settings: values that stand whatever the file says.

    Raises:
      ValueError: a field that does not exist, or a value of another type or range;
        names the place and the field.
    """
    kind: Any = config  # a dataclass
    fields = {field.name: field for field in dataclasses.fields(kind) if field.init}
    hints = typing.get_type_hints(config)
    checked = {}
    for key, value in values.items():
        name = str(key).replace("-", "_")
        if name not in fields:
            unknown = messages.unknown_name("field", name, fields)
            raise ValueError(f"{where}: {unknown}")
        if isinstance(value, list):
            value = tuple(value)
        if not has_type(value, hints[name]):
            raise ValueError(
                f"{where}.{name} is {value!r}; expected {describe(hints[name])}"
            )
        checked[name] = value
    missing = [
        name
        for name, field in fields.items()
        if field.default is field.default_factory is dataclasses.MISSING
        and name not in checked | settings
    ]
    if missing:
        raise ValueError(f"{where}: {', '.join(missing)} is missing")
    with flags.prefix_errors(where):
        return config(**(checked | settings))


def has_type(value: Any, hint: Any) -> bool:
    """Whether a value from a file fits a field's type."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(has_type(value, one) for one in inner)
    if origin is Literal:
        return value in inner
    if origin is tuple:
        return isinstance(value, tuple) and all(has_type(x, inner[0]) for x in value)
    if hint is float:
        return type(value) in (int, float)
    if hint is Path:
        return isinstance(value, str | Path)
    return hint is Any or type(value) is hint


def describe(hint: Any) -> str:
    """A type in words.

    >>> describe(int | None), describe(tuple[str, ...]), describe(Literal["a", "b"])
    ('a whole number or null', 'a list, of each text', 'a or b')
    """
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(describe, inner))
    if origin is Literal:
        return " or ".join(map(str, inner))
    if origin is tuple:
        return f"a list, of each {describe(inner[0])}"
    return NAMES.get(hint, getattr(hint, "__name__", str(hint)))
