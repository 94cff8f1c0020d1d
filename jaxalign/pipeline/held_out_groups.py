"""The groups of a run's held-out rows by the fields of --split-by."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from jaxalign import streams
from jaxalign.evaluation import by_field
from jaxalign.evaluation.by_field import RowMetric
from jaxalign.runtime.training_config import OfflineConfig, SamplingConfig

WHAT = "held-out row"  # in the words of an error


class HasFields(Protocol):
    """A record or an example: what has the other fields of its row."""

    @property
    def fields(self) -> Mapping[str, Any]:
        """The fields, by name."""


class HeldOutGroups:
    """The groups of the rows of an evaluation, found once.

    Attributes:
      groups: by field, the group of each row [R].
      units: the prompt of each row, the unit of intervals [R].
      seed: of the bootstrap.
    """

    def __init__(
        self,
        config: OfflineConfig | SamplingConfig,
        rows: Sequence[HasFields],
        units: np.ndarray,
    ) -> None:
        """The groups of the rows by the fields of --split-by.

        Raises:
          ValueError: as `by_field.field_groups`.
        """
        fields = [row.fields for row in rows] if config.split_by else []
        self.groups = by_field.group_rows(fields, config.split_by, WHAT)
        self.units, self.seed = units, config.seed

    def metrics(self, **metrics: RowMetric) -> dict[str, float]:
        """Means, bounds of intervals and counts (`rows`) by group.

        By name, such as `accuracy/category=sums`, `accuracy/category=sums_low` and
        `rows/category=sums`.
        """
        tables = by_field.group_tables(
            self.groups, metrics, units=self.units, seed=self.seed
        )
        return by_field.flatten(by_field.named_numbers(tables))

    def sums(self, **values: np.ndarray) -> dict[str, float]:
        """The sum of whole numbers over the rows of each group, by name."""
        return {
            f"{name}/{field}={group}": int(numbers[of_rows == group].sum())
            for field, of_rows in self.groups.items()
            for group in by_field.group_order(of_rows)
            for name, numbers in values.items()
        }


def selected_indices(config: OfflineConfig | SamplingConfig, count: int) -> np.ndarray:
    """Indices of the rows that are evaluated, rising: at most --eval-rows of `count`.

    They are drawn at random, by --held-out-seed, so that no order of the data matters.
    """
    if count <= config.eval_rows:
        return np.arange(count)
    draw = streams.generator(config.held_out_seed, "evaluation rows")
    return np.sort(draw.permutation(count)[: config.eval_rows])


def check_split(
    config: OfflineConfig | SamplingConfig, held_out: Sequence[HasFields]
) -> None:
    """Refuses fields of --split-by that do not divide the rows of the evaluations.

    Called before anything is computed.

    Args:
      held_out: all held-out records or examples.

    Raises:
      ValueError: nothing is held out, rows are cached as tokens, without fields, or as
        `by_field.field_groups`.
    """
    if not config.split_by:
        return
    flag = f"--split-by {','.join(config.split_by)}"
    if not len(held_out):
        raise ValueError(
            f"{flag}: no rows are held out; set --held-out above 0, or name a file "
            "with --held-out-data"
        )
    rows = [held_out[i] for i in selected_indices(config, len(held_out))]
    cached = isinstance(config, OfflineConfig) and config.token_cache is not None
    if cached and not any(row.fields for row in rows):
        raise ValueError(f"{flag}: rows of --token-cache have no fields; leave out one")
    by_field.group_rows([row.fields for row in rows], config.split_by, WHAT)
