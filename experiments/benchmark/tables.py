"""The benchmark's tables: every variant, and each loss at its best beta."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.benchmark.plots import Row, group_rows, mean_of
from jaxalign.evaluation.intervals import Gain, Interval, interval_over_seeds


def seed_interval(rows: Sequence[Row], name: str, than: Sequence[Row] = ()) -> Interval:
    """The mean of a metric with its interval, over seeds and, if known, over prompts.

    Args:
      rows: the last rows of runs, one per seed.
      than: those of other runs with the same seeds, whose metric is subtracted.
    """
    values = [values_of(row, name) for row in rows]
    if than:
        pairs = zip(values, than, strict=True)
        values = [value - values_of(row, name) for value, row in pairs]
    return interval_over_seeds(
        values, units=[row.get("prompt", "each") for row in rows]
    )


def values_of(row: Row, name: str) -> np.ndarray:
    """A metric of a run: for each prompt [P], or, in an exact world, its mean [1]."""
    return row["each"][name] if "each" in row else np.array([row[name]])


def final_points(last: Sequence[Row]) -> dict[str, list[tuple[float, Interval]]]:
    """KL and reward of each loss, from its largest beta to its smallest."""
    points = {}
    for loss, rows in group_rows(last, "loss").items():
        betas = sorted(group_rows(rows, "beta").items(), reverse=True)
        points[loss] = [
            (mean_of(r, "kl"), seed_interval(r, "reward")) for _, r in betas
        ]
    return points


def variant_rows(last: Sequence[Row]) -> list[dict[str, Any]]:
    """One row per variant, with its metrics and their intervals."""
    rows = []
    for (loss, beta), group in group_rows(last, "loss", "beta").items():
        row = {"loss": loss, "beta": f"{beta:g}"}
        row |= {name: seed_interval(group, name) for name in ("reward", "kl")}
        for name in ("regret", "chosen", "rejected"):
            known = all(r.get(name) is not None for r in group)
            values = [np.array([r[name]]) for r in group] if known else []
            row[name] = (
                interval_over_seeds(values, units=["each"] * len(values))
                if known
                else None
            )
        rows.append(row)
    return rows


def best_beta_rows(last: Sequence[Row]) -> list[dict[str, Any]]:
    """Each loss at its beta of most reward, and its paired lead on the first loss.

    Betas are selected on one half of the runs (`seed_half`) and reported on the other;
    a single beta is reported on all.
    """
    if len(group_rows(last, "beta")) == 1:
        selecting, reported = last, last
    else:
        selecting, reported = seed_half(last, 0), seed_half(last, 1)
    rows: list[dict[str, Any]] = []
    first: list[Row] = []
    for loss, group in group_rows(selecting, "loss").items():
        betas = group_rows(group, "beta")
        beta = max(betas, key=lambda beta: mean_of(betas[beta], "reward"))
        rows_at_best = group_rows(reported, "loss", "beta")[loss, beta]
        lead = Gain(*seed_interval(rows_at_best, "reward", first)) if first else None
        first = first or rows_at_best
        row = {
            "loss": loss,
            "best beta": f"{beta:g}",
            "reward": seed_interval(rows_at_best, "reward"),
        }
        rows.append(
            row
            | {f"over {last[0]['loss']}": lead, "kl": seed_interval(rows_at_best, "kl")}
        )
    return rows


def seed_half(last: Sequence[Row], which: int) -> list[Row]:
    """The runs of the first half of the seeds (0), or of the rest (1).

    Runs that answered the same prompts with the same noise share what a beta gains on
    them by chance, whatever the seed: so each half has half of the prompts, too.

    Raises:
      ValueError: there is only one prompt.
    """
    seeds = sorted(group_rows(last, "seed"))
    middle = len(seeds) // 2
    half = set([seeds[:middle], seeds[middle:]][which])
    rows = [row for row in last if row["seed"] in half]
    if "each" not in last[0]:
        return rows
    distinct, prompt = np.unique(last[0]["prompt"], return_inverse=True)
    in_half = prompt % 2 == which
    if len(distinct) < 2:
        raise ValueError(
            "betas are selected on some held-out prompts and reported on others: one "
            "prompt is too few"
        )
    halved = []
    for row in rows:
        each = {name: values[in_half] for name, values in row["each"].items()}
        means = {name: float(values.mean()) for name, values in each.items()}
        halved.append(row | means | {"each": each, "prompt": row["prompt"][in_half]})
    return halved
