"""Held-out numbers for each value of a field of the rows, such as their category."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxalign.data import loader
from jaxalign.data.examples import example_prompt_hashes
from jaxalign.evaluation import intervals
from jaxalign.runtime.config import RunConfig

MISSING = "(none)"
MAX_VALUES = 100  # values; more are no categories


def field_values(examples: Sequence[loader.Example], field: str) -> np.ndarray:
    """The field's value of each example as text [R]; `(none)` where a row has none.

    Raises:
      ValueError: no row has it, with the fields that there are; or it has too many
        values.
    """
    found = [str(example.fields.get(field, MISSING)) for example in examples]
    different = set(found)
    if different <= {MISSING}:
        known = sorted({name for example in examples for name in example.fields})
        raise ValueError(
            f"--split-by {field}: no held-out row has this field; there "
            f"{'is' if len(known) == 1 else 'are'} {', '.join(known) or 'none'}"
        )
    if len(different) > MAX_VALUES:
        raise ValueError(
            f"--split-by {field}: {len(different)} different values, more than {MAX_VALUES}"
        )
    return np.array(found)


def check_field(config: RunConfig, field: str | None, examples: Any) -> None:
    """Refuses a field that the held-out rows do not have, before anything trains.

    Raises:
      ValueError: as `field_values`; or rows are kept as tokens, which have no fields.
    """
    if field is None:
        return
    if config.token_cache is not None:
        raise ValueError("--split-by needs fields of rows, which --token-cache has not")
    field_values(examples, field)


def metrics_by_value(
    field: str | None,
    examples: Sequence[loader.Example],
    name: str,
    numbers: np.ndarray,
    *,
    seed: int = 0,
    share: bool = False,
) -> dict[str, float]:
    """The mean over the rows of each value, its 95 % interval, and how many there are.

    By name, such as `accuracy/helpful`, `accuracy/helpful_low`, `accuracy/helpful_high`
    and `rows/helpful`; nothing without a field.

    Args:
      numbers: of each row [R].
      share: the numbers are shares, see `intervals.bootstrap`.
    """
    if field is None:
        return {}
    groups, units = field_values(examples, field), example_prompt_hashes(examples)
    found: dict[str, float] = {}
    for group in np.unique(groups):
        at = groups == group
        over = intervals.bootstrap(numbers[at], units=units[at], seed=seed, share=share)
        found |= over.named(f"{name}/{group}") | {f"rows/{group}": int(at.sum())}
    return found
