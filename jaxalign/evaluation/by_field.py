"""Numbers for the rows of each value of a field, such as a category.

Each field divides the rows: every row is in one group, rows without the field are the
group `(none)`, and the mean over all rows is the mean of the groups' means, weighted by
their counts. A name with dots is a field of an object in the row: `meta.category`.

Numbers with more than `MAX_LEVELS` different values, or more than one for two rows, are
divided at their quartiles; the group `12..80` has the rows from 12 to 80.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxalign import messages
from jaxalign.evaluation import intervals
from jaxalign.evaluation.group_names import (
    QUANTILES,
    as_number,
    label,
    quantile_groups,
)
from jaxalign.evaluation.intervals import Interval, Units

MISSING = "(none)"  # the group of rows without the field
MAX_VALUES = 100  # texts of more values are no categories
MAX_LEVELS = 20  # numbers of more values are divided at their quantiles

Row = Mapping[str, Any]
TableRow = dict[str, Any]
Groups = dict[str, np.ndarray]
"""By the name of a field, the group of each row as text [R]."""


class RowMetric(NamedTuple):
    """A metric that is a mean over rows.

    Attributes:
      values: of each row; NaN where a row does not count for it, float [R].
      has_interval: whether it is given with its 95 % interval.
      share: the values lie in [0, 1], see `intervals.bootstrap`.
      weights: of the rows in the mean [R]; by default all the same.
    """

    values: np.ndarray
    has_interval: bool = False
    share: bool = False
    weights: np.ndarray | None = None


def field_value(row: Row, field: str) -> Any:
    """The value of a field; None where it is missing, NaN, or a blank text.

    >>> field_value({"meta": {"kind": "sum"}}, "meta.kind"), field_value({}, "kind")
    ('sum', None)
    """
    value: Any = row.get(field)
    if field not in row:
        first, dot, rest = field.partition(".")
        inner = row.get(first) if dot else None
        return field_value(inner, rest) if isinstance(inner, Mapping) else None
    is_blank = isinstance(value, str) and not value.strip()
    is_nan = isinstance(value, float) and math.isnan(value)
    return None if is_blank or is_nan else value


def known_fields(rows: Iterable[Row]) -> list[str]:
    """The names of all fields of the rows, those of objects in them with dots.

    >>> known_fields([{"id": 1, "meta": {"kind": "sum"}}])
    ['id', 'meta.kind']
    """
    names: set[str] = set()
    for row in rows:
        for name, value in row.items():
            inner = known_fields([value]) if isinstance(value, Mapping) else []
            names |= {f"{name}.{one}" for one in inner} or {str(name)}
    return sorted(names)


def group_rows(rows: Sequence[Row], fields: Sequence[str], what: str = "row") -> Groups:
    """The group of each row by each field.

    Args:
      rows: R rows, or their fields.
      fields: of `--split-by`.
      what: the rows, in the words of an error.

    Raises:
      ValueError: as `field_groups`.
    """
    return {field: field_groups(rows, field, what) for field in fields}


def field_groups(rows: Sequence[Row], field: str, what: str = "row") -> np.ndarray:
    """The group of each row by a field, str [R].

    Raises:
      ValueError: no row has the field (names the fields that there are), its values are
        objects, or texts of more than `MAX_VALUES` values.
    """
    values = [field_value(row, field) for row in rows]
    present = [value for value in values if value is not None]
    if not present:
        raise unknown_field(rows, field, what)
    if any(isinstance(value, Mapping) for value in present):
        inner = known_fields([{field: v} for v in present if isinstance(v, Mapping)])
        raise ValueError(
            f"--split-by {field}: its values are objects; name a field in them: "
            f"{', '.join(inner)}"
        )
    numbers = [as_number(value) for value in present]
    most = min(MAX_LEVELS, max(len(present) // 2, QUANTILES))
    if None not in numbers and len(set(numbers)) > most:
        labels = iter(quantile_groups(np.array(numbers, np.float64)))
    else:
        labels = iter([label(value) for value in present])
    groups = [MISSING if value is None else next(labels) for value in values]
    if (count := len(set(groups) - {MISSING})) > MAX_VALUES:
        raise ValueError(
            f"--split-by {field}: {count} different values, which are not all numbers, "
            f"are more than {MAX_VALUES}: no categories"
        )
    return np.array(groups)


def select(groups: Groups, rows: np.ndarray) -> Groups:
    """The groups of some rows.

    Args:
      rows: which, bool [R] or indices.
    """
    return {field: of_rows[rows] for field, of_rows in groups.items()}


def unknown_field(rows: Sequence[Row], field: str, what: str) -> ValueError:
    """The error for a field that no row has."""
    known = known_fields(rows)
    return ValueError(
        f"--split-by {field}: no {what} has this field; "
        f"{messages.did_you_mean(field, known)}"
        f"there {'is' if len(known) == 1 else 'are'} {', '.join(known) or 'none'}"
    )


def group_order(groups: np.ndarray) -> list[str]:
    """The names of the groups: numbers by size, then texts, then `(none)`.

    >>> group_order(np.array(["b", "(none)", "10", "9..9.5", "a"]))
    ['9..9.5', '10', 'a', 'b', '(none)']
    """
    return sorted(set(groups.tolist()), key=group_key)


def group_key(name: str) -> tuple[bool, bool, float, str]:
    """The place of a group in the order of groups, as a key of `sorted`."""
    number = as_number(name.partition("..")[0])
    return name == MISSING, number is None, number or 0.0, name


def group_tables(
    groups: Groups,
    metrics: Mapping[str, RowMetric],
    *,
    units: Units,
    seed: int = 0,
    count: str = "rows",
) -> dict[str, list[TableRow]]:
    """The means of metrics over the rows of each group, with intervals and counts.

    Args:
      groups: of R rows; without a field the result is empty.
      metrics: by name.
      units: the unit of each row in intervals, such as its prompt [R].
      seed: of the bootstrap.
      count: the name of the number of rows.

    Returns:
      By field, for each group its name (`group`), its metrics, and the number of its
      rows. A metric for which no row of a group counts is left out there.
    """
    tables: dict[str, list[TableRow]] = {}
    for field, of_rows in groups.items():
        tables[field] = []
        for group in group_order(of_rows):
            in_group = of_rows == group
            found: TableRow = {"group": group}
            for name, metric in metrics.items():
                counts = in_group & ~np.isnan(metric.values)
                if counts.any():
                    found[name] = group_mean(metric, counts, units, seed)
            tables[field].append(found | {count: int(in_group.sum())})
    return tables


def titled_rows(field: str, rows: Iterable[TableRow]) -> list[TableRow]:
    """The rows of a table with the field's name as the title of its first column."""
    return [
        {field: row["group"]} | {k: x for k, x in row.items() if k != "group"}
        for row in rows
    ]


def group_mean(
    metric: RowMetric, rows: np.ndarray, units: Units, seed: int
) -> Interval | float:
    """The mean of a metric over some rows, with its interval where it has one.

    Args:
      rows: which count, bool [R].
    """
    values = np.asarray(metric.values, np.float64)[rows]
    if metric.has_interval:
        own = "each" if isinstance(units, str) else np.asarray(units)[rows]
        return intervals.bootstrap(values, units=own, seed=seed, share=metric.share)
    weights = None if metric.weights is None else metric.weights[rows]
    return float(np.average(values, weights=weights))


def named_numbers(
    tables: Mapping[str, Sequence[TableRow]], columns: Iterable[str] = ()
) -> dict[str, Any]:
    """The numbers of groups by name, as numbers.json has them.

    Args:
      tables: by field, a row for each group, whose name is `group`.
      columns: those that are named; by default all.

    >>> named_numbers({"kind": [{"group": "sum", "accuracy": 0.5, "rows": 7}]})
    {'accuracy/kind=sum': 0.5, 'rows/kind=sum': 7}
    """
    wanted = set(columns)
    return {
        f"{name}/{field}={row['group']}": value
        for field, rows in tables.items()
        for row in rows
        for name, value in row.items()
        if name != "group" and (not wanted or name in wanted)
    }


def flatten(numbers: Mapping[str, Any]) -> dict[str, float]:
    """Intervals as three numbers each, see `Interval.to_dict`.

    >>> flatten({"accuracy": Interval(0.5, 0.4, 0.6), "rows": 7})
    {'accuracy': 0.5, 'accuracy_low': 0.4, 'accuracy_high': 0.6, 'rows': 7}
    """
    found: dict[str, float] = {}
    for name, value in numbers.items():
        is_interval = isinstance(value, Interval)
        found |= value.to_dict(name) if is_interval else {name: value}
    return found
