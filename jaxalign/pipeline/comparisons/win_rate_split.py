"""Win rates against a baseline for each value of a field of the judged rows."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxalign.evaluation import by_field
from jaxalign.evaluation.by_field import Groups, RowMetric
from jaxalign.evaluation.page import Section
from jaxalign.pipeline.comparisons.comparison_rows import Comparison
from jaxalign.pipeline.comparisons.win_rate_report import Measurement
from jaxalign.pipeline.evaluation import row_fields

Tables = dict[str, list[dict[str, Any]]]
TEXT = "Raw win rates in percent, with 95 % intervals over instructions."


def split_groups(
    by_model: Mapping[str, Sequence[Comparison]], fields: Sequence[str]
) -> dict[str, Groups]:
    """The groups of each model's comparisons that the judge decided.

    Numbers are divided at the quantiles of all models' comparisons together.

    Raises:
      ValueError: as `by_field.field_groups`.
    """
    rows = [(name, each) for name, several in by_model.items() for each in several]
    groups = by_field.group_rows([each.fields for _, each in rows], fields)
    decided = np.array([not np.isnan(each.win_probability) for _, each in rows])
    models = np.array([name for name, _ in rows])
    return {
        name: by_field.select(groups, (models == name) & decided) for name in by_model
    }


def split_tables(measured: Measurement, groups: Groups, *, seed: int) -> Tables:
    """One model's raw win rate (%) and its comparisons in each group, by field."""
    rate = RowMetric(100 * measured.arrays.probability, has_interval=True)
    return by_field.group_tables(
        *(groups, {"win_rate": rate}),
        units=measured.arrays.units,
        seed=seed,
        count="n",
    )


def split_sections(tables: Mapping[str, Tables]) -> list[Section]:
    """A section for each field, with the rows of all models."""
    together: Tables = {}
    for model, of_model in tables.items():
        for field, rows in of_model.items():
            own = [{"group": row["group"], "model": model, **row} for row in rows]
            together.setdefault(field, []).extend(own)
    for rows in together.values():
        rows.sort(key=lambda row: by_field.group_key(row["group"]))
    return row_fields.split_sections(together, TEXT)


def split_numbers(
    measured: Mapping[str, Measurement], tables: Mapping[str, Tables]
) -> dict[str, dict[str, Any]]:
    """By model its win rate, in all and by group, as numbers.json has them."""
    return {
        name: {
            "win_rate": measured[name].interval,
            **by_field.named_numbers(of_model),
        }
        for name, of_model in tables.items()
    }
