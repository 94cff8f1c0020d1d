"""Rates of a red-team run for each value of a field of the prompts' rows."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxalign.evaluation import by_field
from jaxalign.evaluation.page import Section
from jaxalign.evaluation.safety import attack_metrics
from jaxalign.evaluation.safety.attack_metrics import Outcomes
from jaxalign.pipeline.evaluation import row_fields
from jaxalign.pipeline.red_team.report import table_row
from jaxalign.pipeline.red_team.suites import SuitePrompt

Tables = dict[str, list[dict[str, Any]]]
TEXT = (
    "Of all prompts, safe ones too; attack success is of the unsafe ones among them, "
    "and absent where a group has none."
)


def split_groups(
    prompts: Sequence[SuitePrompt], fields: Sequence[str]
) -> by_field.Groups:
    """The groups of prompts by fields of their rows, or by their `suite`.

    Raises:
      ValueError: as `by_field.field_groups`.
    """
    rows = [{**one.prompt.fields, "suite": one.suite} for one in prompts]
    return by_field.group_rows(rows, fields, "prompt")


def split_tables(outcomes: Outcomes, groups: by_field.Groups, *, seed: int) -> Tables:
    """The rates of the answers of each group, a table a field.

    Args:
      groups: of the answers.
      seed: of the bootstrap.
    """
    tables: Tables = {}
    for field, of_answers in groups.items():
        tables[field] = []
        for group in by_field.group_order(of_answers):
            part = outcomes.select(np.flatnonzero(of_answers == group))
            rates = attack_metrics.rates(part, seed)
            if np.isnan(part.success).all():
                del rates["attack_success"]
            tables[field].append({"group": group, **rates})
    return tables


def split_sections(tables: Tables) -> list[Section]:
    """A section for each field."""
    named = {
        field: [table_row({}, row) for row in rows] for field, rows in tables.items()
    }
    return row_fields.split_sections(named, TEXT)
