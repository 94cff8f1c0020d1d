"""The values of learning curves: metrics by step from the rows of a run's log.

A row is a line of metrics.jsonl: `step`, and metrics by name; lines of held-out
evaluations have the same names after `eval/`. Rows may have other places on the
horizontal axis too, such as `epoch`, `tokens` or `seconds` so far.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Row = Mapping[str, Any]
HELD_OUT = "eval/"
PLACES = ("step", "epoch", "tokens", "seconds")


def curve(
    rows: Sequence[Row], name: str, x: str = "step"
) -> tuple[np.ndarray, np.ndarray]:
    """A metric over the rows that have it; values that are not finite are left out.

    Returns:
      Places [N] and values [N], float64.

    >>> curve([{"step": 0, "loss": 2.0}, {"step": 1, "loss": None}], "loss")
    (array([0.]), array([2.]))
    """
    pairs = [
        (row[x], row[name]) for row in rows if is_number(row.get(name)) and x in row
    ]
    places, values = np.array(pairs, np.float64).reshape(-1, 2).T
    return places, values


def is_number(value: Any) -> bool:
    """Whether a value of a row is a finite number."""
    return isinstance(value, int | float) and math.isfinite(value)


def smooth(values: np.ndarray, weight: float | None = None) -> np.ndarray:
    """The debiased exponential moving average of a curve.

    m_t = weight m_(t-1) + (1 - weight) x_t, m_0 = 0;  result_t = m_t / (1 - weight^t)

    Args:
      values: [N].
      weight: from 0 (the values themselves) to below 1; by default it depends on the
        number of values, see `default_smoothing`.

    Reference: Kingma and Ba 2014, arXiv:1412.6980, section 3 (the same correction).

    >>> smooth(np.array([1.0, 3.0]), 0.5)  # (0.25 * 1 + 0.5 * 3) / 0.75
    array([1.        , 2.33333333])
    """
    weight = default_smoothing(len(values)) if weight is None else weight
    mean, result = 0.0, np.empty(len(values))
    for t, value in enumerate(values):
        mean = weight * mean + (1 - weight) * value
        result[t] = mean / (1 - weight ** (t + 1))
    return result


def default_smoothing(count: int) -> float:
    """The weight whose average spans about a twentieth of so many points.

    >>> default_smoothing(10), default_smoothing(40), default_smoothing(2000)
    (0.0, 0.5, 0.99)
    """
    return 1 - 1 / max(1.0, count / 20)


def metric_names(rows: Sequence[Row]) -> list[str]:
    """The names of all metrics that are numbers, held-out ones without `eval/`."""
    names = dict.fromkeys(
        name.removeprefix(HELD_OUT)
        for row in rows
        for name, value in row.items()
        if is_number(value)
    )
    return [name for name in names if name not in PLACES]


def common_places(
    curves: Sequence[tuple[np.ndarray, np.ndarray]],
) -> tuple[np.ndarray, np.ndarray]:
    """Curves at common places, interpolated where they have others.

    The places are those of the first curve that lie in the range of all.

    Returns:
      Places [N], and the values of each curve [C N].
    """
    first = curves[0][0]
    low = max(places.min() for places, _ in curves)
    high = min(places.max() for places, _ in curves)
    inside = first[(first >= low) & (first <= high)]
    places = inside if len(inside) else first
    return places, np.array([np.interp(places, *each) for each in curves])
