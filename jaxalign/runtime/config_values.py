"""Configurations from the values of a file: each field by its name, types checked."""

import contextlib
import dataclasses
import datetime
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import yaml

from jaxalign import messages
from jaxalign.runtime import flags

Config = TypeVar("Config", bound=flags.ValidatedConfig)
NAMES = {int: "a whole number", float: "a number", str: "text", Path: "a path"}
NAMES |= {bool: "true or false", type(None): "null"}


class UniqueKeyLoader(yaml.SafeLoader):
    """Reads YAML, and refuses a name that a mapping has twice; YAML takes the last."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """The mapping of a node.

        Raises:
          ValueError: a name is there twice; names its line.
        """
        names = set()
        for key, _ in node.value:
            name = key.value.replace("-", "_") if isinstance(key.value, str) else None
            if name is not None and name in names:
                line = key.start_mark.line + 1
                raise ValueError(f"line {line}: {key.value} is there already")
            names.add(name)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path, flag: str) -> dict[str, Any]:
    """The mapping in a YAML or JSON file.

    Args:
      flag: that names the file, for messages.

    Raises:
      ValueError: no such file, no YAML, a name twice, or no mapping of names to values.
    """
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), Loader=UniqueKeyLoader)
    except OSError as error:
        raise ValueError(f"{flag} {path}: {error.strerror or error}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = messages.one_line(error)
        raise ValueError(f"{flag} {path} is no YAML file: {reason}") from error
    except ValueError as error:
        raise ValueError(f"{flag} {path}, {error}") from error
    if not isinstance(values, dict) or not values:
        raise ValueError(f"{flag} {path} holds no names with values, `name: value`")
    return values


def from_values(
    config: type[Config],
    values: Mapping[str, Any],
    where: str,
    *,
    default: Config | None = None,
    **settings: Any,
) -> Config:
    """A configuration from values by field name, inner configurations as mappings.

    Dashes in names are underscores, lists are tuples, and texts such as 1e-4, which
    YAML does not read as numbers, are numbers where the field is one.

    Args:
      where: the place of the values, for messages, such as "suite.yaml: compare", or
        "config.yaml:" for the file itself.
      default: gives the fields that `values` lack; by default the class does.
      **settings: values that stand whatever the file says.

    Raises:
      ValueError: a field that does not exist, or a value of another type or range;
        names the place and the field.
    """
    kind: Any = config  # a dataclass
    fields = {field.name: field for field in dataclasses.fields(kind) if field.init}
    hints = typing.get_type_hints(config)
    checked: dict[str, Any] = {}
    title = where.rstrip(":")
    for key, value in values.items():
        name = str(key).replace("-", "_")
        if name not in fields:
            unknown = messages.unknown_name("field", name, fields)
            raise ValueError(f"{title}: {unknown}")
        place = f"{where} {name}" if where.endswith(":") else f"{where}.{name}"
        before = getattr(default, name, fields[name].default)
        checked[name] = field_value(value, hints[name], place, before)
    missing = [
        name
        for name, field in fields.items()
        if field.default is field.default_factory is dataclasses.MISSING
        and name not in checked | settings
    ]
    if missing and default is None:
        raise ValueError(f"{title}: {', '.join(missing)} is missing")
    with flags.prefix_errors(title):
        if default is not None:
            values_of: Any = default  # a dataclass
            return cast(Config, dataclasses.replace(values_of, **(checked | settings)))
        return config(**(checked | settings))


def field_value(value: Any, hint: Any, place: str, default: Any) -> Any:
    """A field's value from a value of a file.

    Args:
      place: of the value, for messages.
      default: of the field; an inner configuration is this one with changes.

    Raises:
      ValueError: the value has another type; names the place and the type.
    """
    if isinstance(hint, type) and issubclass(hint, flags.ValidatedConfig):
        if not isinstance(value, Mapping):
            raise ValueError(f"{place} is {value!r}; expected fields, `name: value`")
        inner = default if isinstance(default, hint) else None
        return from_values(hint, value, place, default=inner)
    value = as_field_type(value, hint)
    if not has_type(value, hint):
        expected = describe(hint)
        if type(value) is bool:
            expected += " (YAML reads on, off, yes and no as true or false: quote it)"
        raise ValueError(f"{place} is {value!r}; expected {expected}")
    return value


def as_field_type(value: Any, hint: Any) -> Any:
    """Lists as tuples, dates as text, and 1e-4 (text in YAML) as a number.

    >>> as_field_type("1e-4", float | None), as_field_type("1e-4", str)
    (0.0001, '1e-4')
    """
    if isinstance(value, list):
        options = [h for h in (hint, *typing.get_args(hint)) if is_tuple(h)]
        inner = typing.get_args(options[0])[0] if options else Any
        return tuple(as_field_type(one, inner) for one in value)
    if hint is Path and isinstance(value, str):
        return Path(value)
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, str) and not has_type(value, hint) and has_type(0.0, hint):
        with contextlib.suppress(ValueError):
            return float(value)
    return value


def is_tuple(hint: Any) -> bool:
    """Whether a type is a tuple's."""
    return typing.get_origin(hint) is tuple


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
