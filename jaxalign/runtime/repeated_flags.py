"""Flags of lists that a command line has twice: their values are joined.

`--filter a --filter b` is `--filter a b`, as people expect; the parser would take the
last alone, and not say so. Of other flags the last one counts, as everywhere.
"""

import dataclasses
import typing
from collections.abc import Sequence
from typing import Any


def list_flags(kind: Any, prefix: str = "--") -> set[str]:
    """The flags of a configuration that take any number of values.

    Args:
      kind: a dataclass of flags; those of inner ones have its field's name before
        theirs.
    """
    hints = typing.get_type_hints(kind, include_extras=True)
    found = set()
    for field in dataclasses.fields(kind):
        hint, name = hints[field.name], prefix + field.name.replace("_", "-")
        if dataclasses.is_dataclass(hint):
            found |= list_flags(hint, f"{name}.")
        elif typing.get_origin(hint) is tuple and Ellipsis in typing.get_args(hint):
            found.add(name)
    return found


def join_repeated(kind: Any, arguments: Sequence[str]) -> list[str]:
    """A command line in which each flag of a list is there once, with all its values.

    Args:
      kind: the dataclass of the program's flags.
    """
    lists = list_flags(kind)
    joined: list[list[str]] = []  # each flag with the words after it
    place: dict[str, int] = {}
    for word in arguments:
        flag, equals, value = word.partition("=")
        name = flag.replace("_", "-")
        if not word.startswith("--") and joined:
            joined[-1].append(word)
        elif name not in lists:
            joined.append([word])
        elif name not in place:
            place[name] = len(joined)
            joined.append([name, value] if equals else [name])
        else:  # what follows belongs to the first; it comes last to go on from there
            words = [*joined[place[name]], *([value] if equals else [])]
            joined[place[name]] = []
            place[name] = len(joined)
            joined.append(words)
    return [word for words in joined for word in words]
