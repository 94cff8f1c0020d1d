"""Sizes of a study's shorter runs, --quick and --smoke."""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

C = TypeVar("C")


def with_size(config: C, *, smoke: Mapping[str, Any], quick: Mapping[str, Any]) -> C:
    """The configuration of --smoke or --quick; a flag that was given keeps its value.

    One that equals its default counts as not given.

    Args:
      config: a dataclass with the fields `smoke` and `quick`, or one of them.
      smoke, quick: values of fields that are at their defaults otherwise.
    """
    is_smoke, is_quick = (getattr(config, x, False) for x in ("smoke", "quick"))
    sizes = smoke if is_smoke else quick if is_quick else {}
    fields = {field.name: field for field in dataclasses.fields(config)}  # type: ignore[arg-type]
    unset = {
        name: value
        for name, value in sizes.items()
        if getattr(config, name) == fields[name].default
    }
    return dataclasses.replace(config, **unset)  # type: ignore[type-var]
