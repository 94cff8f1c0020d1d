"""Tables of sweeps: a row for each variant of a method, with intervals over seeds."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxalign.evaluation.intervals import Interval, interval_over_seeds

# The metrics of a table, where none are named: the first that all variants have, and
# those of training only where nothing was held out.
NAMES = (
    *("reward", "kl", "forward_kl", "reverse_kl"),
    *("accuracy", "margin", "length", "perplexity"),
)
MOST_METRICS = 4
Variants = Sequence[tuple[Mapping[str, str], Sequence[Mapping[str, float]]]]


def seed_interval(values: Sequence[float]) -> Interval:
    """The mean over seeds with Student's t interval; NaN bounds for a single seed.

    mean ± t_(0.975, S - 1) * standard deviation / sqrt(S)

    >>> str(seed_interval([0.0, 1.0]))  # 12.706 * 0.7071 / 1.4142
    '0.500 ± 6.353'
    """
    groups = [np.array([value]) for value in values]
    return interval_over_seeds(groups, units=["each"] * len(groups))


def select_metrics(variants: Variants) -> list[str]:
    """The metrics that a table has by default: held-out ones, if there are any.

    >>> select_metrics([({}, [{"eval/reward": 1.0, "eval/loss": 2.0, "pairs": 8}])])
    ['eval/reward']
    >>> select_metrics([({}, [{"train/loss": 2.0}])])
    ['train/loss']
    """
    numbers = [one for _, seeds in variants for one in seeds]
    known = set.intersection(*map(set, numbers)) if numbers else set()
    for prefix in ("eval/", "train/"):
        for names in (NAMES, ("loss",)):
            found = [prefix + name for name in names if prefix + name in known]
            if found:
                return found[:MOST_METRICS]
    return sorted(known)[:MOST_METRICS]


def rows(variants: Variants, metrics: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of a table: the varied values, the number of seeds, and the metrics.

    Args:
      variants: the varied values, and the numbers of each finished seed.
      metrics: names of numbers; unknown where no seed has it.
    """
    table: list[dict[str, Any]] = []
    for variant, seeds in variants:
        row: dict[str, Any] = {**variant, "seeds": len(seeds)}
        for name in metrics:
            values = [numbers[name] for numbers in seeds if name in numbers]
            row[name] = seed_interval(values) if values else None
        table.append(row)
    return table
