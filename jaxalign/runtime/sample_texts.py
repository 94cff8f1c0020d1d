"""How the prompts, answers and numbers of samples are written for people."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.control import strip_control_codes

SMALLEST = 5e-4  # a number that is shown; KLs of a policy that has not moved are below


def prompt_text(messages: Sequence[Mapping[str, Any]]) -> str:
    """The messages of a prompt as text; the roles are shown where there are several."""
    if len(messages) == 1:
        return str(messages[0]["content"])
    return "\n".join(f"{m['role']}: {m.get('content') or ''}" for m in messages)


def cell(value: Any) -> str:
    """A value as it is shown: numbers with 3 digits, unknown ones as a dash.

    >>> cell(0.12345), cell(-1e-6), cell(True), cell(None), cell(17), cell(-1234.5)
    ('0.123', '0', 'yes', '-', '17', '-1234')
    """
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        digits = ".0f" if 1000 <= abs(value) < 1e9 else ".3g"
        return f"{value:{digits}}" if abs(value) >= SMALLEST else "0"
    return str(value)


def shorten(text: str, chars: int) -> str:
    """A text without control codes, of at most so many characters.

    >>> shorten("abcdefghij", 7)
    'ab ... j'
    >>> shorten("abc", 7)
    'abc'
    """
    text = without_controls(text)
    if len(text) <= chars:
        return text
    end = (chars - 5) // 3 + 1
    return f"{text[: chars - 4 - end]} ... {text[-end:]}"


def without_controls(text: str) -> str:
    """A text without the control codes that a terminal would follow."""
    return strip_control_codes(text).replace("\x1b", "")
