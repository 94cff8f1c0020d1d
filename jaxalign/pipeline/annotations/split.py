"""Agreement of annotators for each value of a field of the annotated rows."""

from typing import Any

import numpy as np

from jaxalign.evaluation import by_field
from jaxalign.pipeline.annotations import agreement_numbers
from jaxalign.pipeline.annotations.reading import Annotations

Tables = dict[str, list[dict[str, Any]]]


def item_groups(annotations: Annotations, fields: tuple[str, ...]) -> by_field.Groups:
    """The group of each item by fields of its first row.

    Raises:
      ValueError: as `by_field.field_groups`.
    """
    return by_field.group_rows(annotations.rows, fields)


def split_tables(
    annotations: Annotations, groups: by_field.Groups, *, seed: int
) -> Tables:
    """Observed agreement and alpha over the items of each group, a table a field.

    Without the coefficients where no item of a group has two labels, and without alpha
    where all labels are equal.
    """
    name = f"Krippendorff's alpha, {annotations.scale.level}"
    tables: Tables = {}
    for field, of_items in groups.items():
        tables[field] = []
        for group in by_field.group_order(of_items):
            part = select_items(annotations, of_items == group)
            row: dict[str, Any] = {"group": group, "items": len(part.items)}
            if part.counts().sum(axis=1).max() > 1:
                found, _ = agreement_numbers.coefficients(part, seed=seed)
                row["agreement"] = found["observed agreement"]
                if len(np.unique(part.label)) > 1:
                    row[f"alpha_{annotations.scale.level}"] = found[name]
            tables[field].append(row)
    return tables


def select_items(annotations: Annotations, mask: np.ndarray) -> Annotations:
    """The annotations of some items.

    Args:
      mask: which, bool [U].
    """
    rows = mask[annotations.item]
    place = np.cumsum(mask) - 1  # of each item among those that stay
    take = lambda values: [values[i] for i in np.flatnonzero(mask)]
    return annotations._replace(
        items=take(annotations.items),
        item=place[annotations.item[rows]],
        annotator=annotations.annotator[rows],
        label=annotations.label[rows],
        groups=take(annotations.groups),
        sides=take(annotations.sides),
        rows=take(annotations.rows),
    )
