"""Cells of a study: each arm measured with each seed, kept as they are made."""

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxalign.evaluation.intervals import Gain, Interval, interval_over_seeds
from jaxalign.evaluation.proportions import wilson_interval
from jaxalign.runtime import distributed, run_settings
from jaxalign.runtime.report_run import json_value

FILE = "measured.json"

# Values of a metric: one per prompt, the same prompts in every arm and seed, or one.
Values = Mapping[str, Sequence[float] | np.ndarray | float]
Measure = Callable[[str, int, Path], Values]
Cells = dict[str, list[dict[str, np.ndarray]]]  # arm -> seeds -> metric -> values


def measure_cells(
    folder: Path,
    arms: Sequence[str],
    seeds: Iterable[int],
    measure: Measure,
    *,
    settings: Mapping[str, Any],
    resume: bool,
) -> Cells:
    """Measures every arm with every seed, seed by seed; keeps each in a file.

    The cell of an arm and seed has the folder FOLDER/seed-SEED/ARM, in which `measure`
    may train, and where `measured.json` holds its values. What arms of a seed share,
    such as an SFT policy, belongs beside them.

    Args:
      measure: (arm, seed, folder of the cell) -> values by metric.
      settings: JSON values that the numbers depend on, but for arm and seed.
      resume: whether cells that were measured with these settings are read.

    Raises:
      ValueError: with `resume`, a cell was measured with other settings.
    """
    cells: Cells = {arm: [] for arm in arms}
    settings = json.loads(json.dumps(json_value(dict(settings))))
    for seed in seeds:
        for arm in arms:
            cell = folder / f"seed-{seed}" / arm
            values = read_cell(cell / FILE, settings) if resume else None
            if values is None:
                values = dict(measure(arm, seed, cell))
                if distributed.is_first():
                    cell.mkdir(parents=True, exist_ok=True)
                    kept = {"settings": settings, "values": json_value(values)}
                    run_settings.write_json(cell / FILE, kept)
            # in a file NaN is null, which is NaN again as a float
            floats = {k: np.asarray(v, float) for k, v in values.items()}
            cells[arm].append({k: np.atleast_1d(v) for k, v in floats.items()})
    return cells


def read_cell(path: Path, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """The values of a cell that was measured; None where there is none.

    Raises:
      ValueError: it was measured with other settings; names one.
    """
    if not path.exists():
        return None
    kept = run_settings.read_object(path, "the values of a cell")
    before = kept["settings"]
    for name in dict.fromkeys([*settings, *before]):
        if settings.get(name) != before.get(name):
            raise ValueError(
                f"{path} was measured with {name} {before.get(name)}, now "
                f"{settings.get(name)}: choose another --out, or delete its folder"
            )
    values: dict[str, Any] = kept["values"]
    return values


def summarize_cells(
    cells: Cells, shares: Collection[str] = ()
) -> dict[str, dict[str, Interval]]:
    """The mean of each metric, with its 95 % interval over seeds and prompts, by arm.

    See `interval_over_seeds`: the spread of the seeds' means by Student's t, and with
    values per prompt also that of the prompts, which the seeds share.

    Args:
      shares: metrics whose values lie in [0, 1]. Their intervals are clipped, and of a
        single seed with values of 0 and 1 alone they are Wilson's.
    """
    return {
        arm: {
            name: over_seeds([seed[name] for seed in seeds], share=name in shares)
            for name in seeds[0]
            if all(name in seed for seed in seeds)
        }
        for arm, seeds in cells.items()
    }


def compare_cells(cells: Cells, arm: str, other: str) -> dict[str, Gain]:
    """An arm's values less those of another, paired by seed and prompt, by metric."""
    pairs = list(zip(cells[arm], cells[other], strict=True))
    return {
        name: Gain(*over_seeds([ours[name] - theirs[name] for ours, theirs in pairs]))
        for name in pairs[0][0]
        if all(name in ours and name in theirs for ours, theirs in pairs)
    }


def over_seeds(groups: Sequence[np.ndarray], *, share: bool = False) -> Interval:
    """The interval of one metric; seeds share their prompts.

    Values that are NaN, of prompts where a metric is not defined, are left out, and so
    are seeds that have no other; without any seed the interval is NaN.

    Args:
      share: as `shares` of `summarize_cells`.
    """
    groups = [group for group in groups if not np.isnan(group).all()]
    if not groups:
        return Interval(np.nan, np.nan, np.nan)
    finite = [~np.isnan(group) for group in groups]
    values = [group[rows] for group, rows in zip(groups, finite, strict=True)]
    if share and len(values) == 1 and np.isin(values[0], (0.0, 1.0)).all():
        return wilson_interval(float(values[0].sum()), len(values[0]))
    return interval_over_seeds(
        values, units=[np.flatnonzero(rows) for rows in finite], share=share
    )


def cell_rows(
    summary: Mapping[str, Mapping[str, Interval]], metrics: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Rows of a table, one per arm.

    Args:
      summary: of `summarize_cells`.
      metrics: columns, metric -> heading.
    """
    return [
        {"arm": arm}
        | {title: values[name] for name, title in metrics.items() if name in values}
        for arm, values in summary.items()
    ]
