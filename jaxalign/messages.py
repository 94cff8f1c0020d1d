"""Words of error messages: unknown names, an exception's first line, shortened text."""

import difflib
from collections.abc import Iterable


def nearest_names(name: str, known: Iterable[str]) -> list[str]:
    """Up to three known names that a misspelt one may stand for, the nearest first.

    >>> nearest_names("Adamw", ["sgd", "adam", "adamw"])
    ['adamw', 'adam']
    """
    return difflib.get_close_matches(name.lower(), list(known), n=3, cutoff=0.5)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A question that suggests the nearest names; empty where none is near.

    >>> did_you_mean("dop", ["dpo", "ipo", "simpo"])
    'did you mean dpo? '
    """
    near = nearest_names(name, known)
    return f"did you mean {' or '.join(near)}? " if near else ""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> ValueError:
    """The error for a name that is not among the known ones, with the nearest of them.

    Args:
      kind: what the names are of, such as "loss".

    >>> print(unknown_name("loss", "dop", ["dpo", "kto"]))
    unknown loss 'dop': did you mean dpo? expected one of dpo, kto
    """
    known = list(known)
    hint = did_you_mean(name, known)
    return ValueError(
        f"unknown {kind} {shorten(name)!r}: {hint}expected one of {', '.join(known)}"
    )


def first_line(error: object, length: int = 200) -> str:
    """The first line of an exception's message, or its type where that is empty.

    >>> first_line(ValueError("no space left\\nC++ trace: ..."))
    'no space left'
    """
    lines = str(error).strip().splitlines()
    return shorten(lines[0], length) if lines else type(error).__name__


def one_line(error: object, length: int = 300) -> str:
    """The whole message of an exception joined into one line, cut at `length`."""
    text = " ".join(str(error).split()) or type(error).__name__
    return shorten(text, length)


def shorten_middle(text: str, length: int) -> str:
    """The text without its middle where it is longer; its last 58 characters stay."""
    return text if len(text) <= length else f"{text[: length - 63]} ... {text[-58:]}"


def shorten(text: str, length: int = 60) -> str:
    """The text, cut to `length` characters with an ellipsis where it is longer."""
    return text if len(text) <= length else f"{text[: length - 3]}..."
