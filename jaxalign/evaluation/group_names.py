"""Names of the groups of rows that have a value of a field, or lie between two."""

import json
import math
import re
from typing import Any

import numpy as np

QUANTILES = 4
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


def as_number(value: Any) -> float | None:
    """A finite number, or a text of one, as a float; None for other values.

    >>> as_number(3), as_number("1e-3"), as_number(True), as_number("nan")
    (3.0, 0.001, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str) and not NUMBER.fullmatch(value.strip()):
        return None
    number = float(value)
    return number if math.isfinite(number) else None


def label(value: Any) -> str:
    """A value as the name of its group, on one line.

    >>> label(3.0), label(True), label(["b", "a"]), label(" two  words")
    ('3', 'true', '["b", "a"]', 'two words')
    """
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return " ".join(text.split())


def quantile_groups(numbers: np.ndarray) -> list[str]:
    """The quartile of each number, named by its lowest and its highest number.

    Equal numbers are in one group; groups with equal edges are merged.

    Args:
      numbers: finite [R].

    >>> quantile_groups(np.array([1.0, 2.0, 3.0, 50.0, 60.0, 70.0, 80.0, 80.0]))
    ['1..2', '1..2', '3..50', '3..50', '60..70', '60..70', '80', '80']
    """
    cuts = np.linspace(0, 1, QUANTILES + 1)[1:-1]
    edges = np.unique(np.quantile(numbers, cuts, method="lower"))
    place = np.searchsorted(edges, numbers)
    parts = {i: numbers[place == i] for i in np.unique(place)}
    bounds = np.array([(part.min(), part.max()) for part in parts.values()])
    for digits in (4, 8, 17):  # as few as tell all bounds apart
        texts = [[number_text(x, digits) for x in pair] for pair in bounds]
        if len({text for pair in texts for text in pair}) == len(np.unique(bounds)):
            break
    names = ["..".join(dict.fromkeys(pair)) for pair in texts]
    return [dict(zip(parts, names, strict=True))[i] for i in place]


def number_text(number: float, digits: int) -> str:
    """A number as text, a whole one in full.

    >>> number_text(15910.0, 4), number_text(0.12345, 4), number_text(1e300, 4)
    ('15910', '0.1235', '1e+300')
    """
    is_whole = number.is_integer() and abs(number) < 2**53
    return str(int(number)) if is_whole else f"{number:.{digits}g}"
