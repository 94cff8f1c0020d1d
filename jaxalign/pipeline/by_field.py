"""Held-out metrics for each value of a row field, such as a category."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxalign.data.examples import Example, example_prompt_hashes
from jaxalign.evaluation import intervals
from jaxalign.runtime.config import RunConfig

MISSING = "(none)"  # the value of rows without the field
MAX_VALUES = 100  # more are no categories


def field_values(examples: Sequence[Example], field: str) -> np.ndarray:
    """The field's value of each example as text [R]; `(none)` where a row has none.

    Raises:
      ValueError: no row has the field (names the fields that exist), or it has more
        than `MAX_VALUES` values.
    """
    values = [str(example.fields.get(field, MISSING)) for example in examples]
    distinct = set(values)
    if distinct <= {MISSING}:
        known = sorted({name for example in examples for name in example.fields})
        raise ValueError(
            f"--split-by {field}: no held-out row has this field; there "
            f"{'is' if len(known) == 1 else 'are'} {', '.join(known) or 'none'}"
        )
    if len(distinct) > MAX_VALUES:
        raise ValueError(
            f"--split-by {field}: {len(distinct)} different values, more than "
            f"{MAX_VALUES}"
        )
    return np.array(values)


def check_field(config: RunConfig, field: str | None, examples: Any) -> None:
    """Refuses a field that the held-out rows do not have, before training.

    Raises:
      ValueError: as `field_values`; or rows are cached as tokens, without fields.
    """
    if field is None:
        return
    if config.token_cache is not None:
        raise ValueError("--split-by needs fields of rows, which --token-cache has not")
    field_values(examples, field)


def metrics_by_value(
    field: str | None,
    examples: Sequence[Example],
    name: str,
    numbers: np.ndarray,
    *,
    seed: int = 0,
    share: bool = False,
) -> dict[str, float]:
    """The mean of a metric over the rows of each value, its 95 % interval, and counts.

    Args:
      field: whose values group the rows; without one the result is empty.
      name: of the metric.
      numbers: the metric of each row, float [R].
      seed: of the bootstrap.
      share: the numbers are shares in [0, 1], see `intervals.bootstrap`.

    Returns:
      By name, for example `accuracy/helpful`, `accuracy/helpful_low`,
      `accuracy/helpful_high` and `rows/helpful`.
    """
    if field is None:
        return {}
    values, units = field_values(examples, field), example_prompt_hashes(examples)
    metrics: dict[str, float] = {}
    for value in np.unique(values):
        rows = values == value
        mean = intervals.bootstrap(
            numbers[rows], units=units[rows], seed=seed, share=share
        )
        metrics |= mean.to_dict(f"{name}/{value}") | {f"rows/{value}": int(rows.sum())}
    return metrics
