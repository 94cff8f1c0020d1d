"""The benchmark's tables: every variant, and each loss at its best beta."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.benchmark.plots import Row, group_rows, mean_of
from jaxalign.evaluation.intervals import Gain, Interval, interval_over_seeds


def seed_interval(rows: Sequence[Row], name: str, than: Sequence[Row] = ()) -> Interval:
    """A number of runs, one a seed, over seeds; and over prompts, where they are known.

    Args:
      than: other runs, of the same seeds, whose number is taken off.
    """
    values = [values_of(row, name) for row in rows]
    if than:
        pairs = zip(values, than, strict=True)
        values = [value - values_of(row, name) for value, row in pairs]
    return interval_over_seeds(
        values, units=[row.get("prompt", "each") for row in rows]
    )


def values_of(row: Row, name: str) -> np.ndarray:
    """A number of a run: of each prompt [P], or, in an exact world, its mean [1]."""
    return row["each"][name] if "each" in row else np.array([row[name]])


def final_points(last: Sequence[Row]) -> dict[str, list[tuple[float, Interval]]]:
    """KL and reward of each loss, from its largest beta to its smallest."""
    found = {}
    for loss, rows in group_rows(last, "loss").items():
        betas = sorted(group_rows(rows, "beta").items(), reverse=True)
        found[loss] = [(mean_of(r, "kl"), seed_interval(r, "reward")) for _, r in betas]
    return found


def variant_rows(last: Sequence[Row]) -> list[dict[str, Any]]:
    """One row a variant; what is of training or of exact worlds alone is over seeds."""
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
    """Each loss at its beta of most reward, and its lead on the first, pair by pair.

    Betas are chosen on one half of the runs (`seed_half`) and reported on the other; where
    there is one alone, it is reported on all.
    """
    alone = len(group_rows(last, "beta")) == 1
    choosing, reported = (
        (last, last) if alone else (seed_half(last, 0), seed_half(last, 1))
    )
    rows: list[dict[str, Any]] = []
    first: list[Row] = []
    for loss, group in group_rows(choosing, "loss").items():
        betas = group_rows(group, "beta")
        beta = max(betas, key=lambda beta: mean_of(betas[beta], "reward"))
        best = group_rows(reported, "loss", "beta")[loss, beta]
        lead = Gain(*seed_interval(best, "reward", first)) if first else None
        first = first or best
        row = {
            "loss": loss,
            "best beta": f"{beta:g}",
            "reward": seed_interval(best, "reward"),
        }
        rows.append(
            row | {f"over {last[0]['loss']}": lead, "kl": seed_interval(best, "kl")}
        )
    return rows


def seed_half(last: Sequence[Row], which: int) -> list[Row]:
    """The runs of the first half of the seeds, or of the rest (1).

    Of runs that answered the same prompts with the same noise, what a beta gains on
    these by chance is common to all seeds: so each half has half of the prompts.

    Raises:
      ValueError: there is one prompt alone.
    """
    seeds = sorted(group_rows(last, "seed"))
    few = [set(seeds[: len(seeds) // 2]), set(seeds[len(seeds) // 2 :])][which]
    rows = [row for row in last if row["seed"] in few]
    if "each" not in last[0]:
        return rows
    different, prompt = np.unique(last[0]["prompt"], return_inverse=True)
    where = prompt % 2 == which
    if len(different) < 2:
        raise ValueError(
            "betas are chosen on some held-out prompts, reported on others"
        )
    kept = []
    for row in rows:
        each = {name: values[where] for name, values in row["each"].items()}
        means = {name: float(values.mean()) for name, values in each.items()}
        kept.append(row | means | {"each": each, "prompt": row["prompt"][where]})
    return kept
