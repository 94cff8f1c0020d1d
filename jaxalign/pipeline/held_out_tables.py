"""Tables of held-out evaluations: one row for each method, with confidence intervals.

Evaluations come as one dictionary for each seed, {method: Evaluation}; gains are
against the first method.
"""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxalign.data.records import Prompt
from jaxalign.evaluation import (
    best_of_n,
    by_field,
    intervals,
    preference,
    sample_metrics,
)
from jaxalign.evaluation.intervals import Gain, Interval, interval_over_seeds
from jaxalign.evaluation.safety import refusals
from jaxalign.pipeline.held_out import Evaluation
from jaxalign.runtime import tables

Row = dict[str, Any]
Seeds = Sequence[dict[str, Evaluation]]


def by_seed(seeds: Seeds, method: str, field: str) -> list[np.ndarray]:
    """A field of a method's `Evaluation` in each seed, [P] each."""
    return [getattr(evaluations[method], field) for evaluations in seeds]


def mean_over_seeds(seeds: Seeds, method: str, field: str) -> Interval | float:
    """The mean of a field over seeds and prompts, with its interval.

    Without an interval where all values are equal, as the KL of the initial model and
    the KL of best-of-n (a formula) are.
    """
    values = by_seed(seeds, method, field)
    interval = intervals.interval_over_seeds(
        values, units=by_seed(seeds, method, "prompt")
    )
    return interval if np.ptp(np.concatenate(values)) else interval.mean


def refusal_interval(seeds: Seeds, method: str, name: str) -> Interval | None:
    """One of `refusals.refusal_metrics` over seeds and prompts.

    Returns:
      The interval over the prompts that the metric is about; None if there are none.
    """
    groups, units = [], []
    for evaluations in seeds:
        evaluation = evaluations[method]
        values, mask = refusals.refusal_metrics(evaluation.reward_metrics)[name]
        if mask.any():
            groups.append(values[mask])
            units.append(evaluation.prompt[mask])
    if not groups:
        return None
    share = all(group.dtype == bool for group in groups)
    return intervals.interval_over_seeds(groups, units=units, share=share)


def reward_kl_point(seeds: Seeds, method: str) -> tuple[float, Interval]:
    """Mean KL (nats) and reward of a method, for the plot of reward against KL."""
    kl, reward, prompt = (by_seed(seeds, method, n) for n in ("kl", "reward", "prompt"))
    return float(np.concatenate(kl).mean()), intervals.interval_over_seeds(
        reward, units=prompt
    )


def reward_name(seeds: Seeds) -> str:
    """The name of the reward in tables: a rule-based one is the "true reward"."""
    evaluation = next(iter(seeds[0].values()))
    return "true reward" if "due" in evaluation.reward_metrics else "reward"


def title(data: str, seeds: Seeds) -> str:
    """The title of a table: data set, prompts, and what the intervals are over."""
    first = next(iter(seeds[0].values()))
    of_seeds = (
        "1 seed; 95 % intervals over prompts, of these models alone"
        if len(seeds) == 1
        else f"{len(seeds)} seeds; 95 % intervals (Student's t) over seeds and prompts"
    )
    return f"{data}, {len(first.texts)} held-out prompts, {of_seeds}"


def table(seeds: Seeds) -> list[Row]:
    """One row a method; gains over the first method are paired by prompt.

    Intervals are over seeds and prompts (`intervals.interval_over_seeds`); of one
    seed, over prompts alone. Each method is at its own sampling temperature.
    """
    base = next(iter(seeds[0]))
    base_rewards = by_seed(seeds, base, "reward")
    rows = []
    for method, evaluation in seeds[0].items():
        interval = functools.partial(
            intervals.interval_over_seeds, units=by_seed(seeds, method, "prompt")
        )
        rewards = by_seed(seeds, method, "reward")
        pairs = list(zip(rewards, base_rewards, strict=True))
        row: Row = {"method": method, "temperature": evaluation.temperature}
        row[reward_name(seeds)] = interval(rewards)
        row |= {
            name: interval([one[method].reward_metrics[name] for one in seeds])
            for name in evaluation.reward_metrics
            if name.startswith("rewards/")
        }
        gain = win_rate = None
        if method != base:
            gain = Gain(*interval([a - b for a, b in pairs]))
            wins = [preference.agreement(a, b) for a, b in pairs]
            win_rate = interval(wins, share=True)
        row |= {f"gain over {base}": gain, "win rate": win_rate}
        for name, field in (("KL (nats)", "kl"), ("length", "length")):
            row[name] = mean_over_seeds(seeds, method, field)
        if evaluation.score is not None:
            row["RM score"] = mean_over_seeds(seeds, method, "score")
        if "due" in evaluation.reward_metrics:
            row |= {
                n: refusal_interval(seeds, method, n)
                for n in refusals.refusal_metrics(evaluation.reward_metrics)
            }
        rows.append(row)
    return rows


def titled_tables(data: str, seeds: Seeds) -> dict[str, list[Row]]:
    """The table of all methods, and those by fields, by title; the first is `table`."""
    return {title(data, seeds): table(seeds)} | split_tables(seeds)


def split_tables(seeds: Seeds) -> dict[str, list[Row]]:
    """The reward of every method for each value of a field, a table a field, by title.

    Intervals are as in `table`; the fields are those that the evaluations keep.
    """
    tables: dict[str, list[Row]] = {}
    parts = [(i, m) for i, seed in enumerate(seeds) for m in seed]
    rows = [row for i, m in parts for row in seeds[i][m].fields]
    counts = [len(seeds[i][m].fields) for i, m in parts]
    for field in dict.fromkeys(name for row in rows for name in row):
        groups = np.split(by_field.field_groups(rows, field), np.cumsum(counts)[:-1])
        of_part = dict(zip(parts, groups, strict=True))
        title = f"{reward_name(seeds)} by {field}"
        tables[title] = [
            {field: group} | group_row(seeds, of_part, group)
            for group in by_field.group_order(np.concatenate(groups))
        ]
    return tables


def group_row(
    seeds: Seeds, groups: Mapping[tuple[int, str], np.ndarray], group: str
) -> Row:
    """The reward of each method over the prompts of a group, and their number.

    Args:
      groups: by seed and method, the group of each prompt [P].
    """
    row: Row = {}
    count = 0
    for method in seeds[0]:
        masks = [groups[i, method] == group for i in range(len(seeds))]
        some = [i for i, mask in enumerate(masks) if mask.any()]
        rewards = by_seed(seeds, method, "reward")
        units = by_seed(seeds, method, "prompt")
        row[method] = intervals.interval_over_seeds(
            [rewards[i][masks[i]] for i in some],
            units=[units[i][masks[i]] for i in some],
        )
        count = sum(int(mask.sum()) for mask in masks)
    return row | {"prompts": count}


def write_answers(
    out: Path, prompts: Sequence[Prompt], evaluations: dict[str, Evaluation]
) -> None:
    """Write OUT/samples.md: some prompts with the answers of each method."""
    texts = {name: evaluation.texts for name, evaluation in evaluations.items()}
    tables.write_answers(out, [prompt.messages for prompt in prompts], texts)


def best_of_line(
    sampled: Sequence[Evaluation], samples: int
) -> list[tuple[float, Interval]]:
    """KL (nats) and reward of best-of-n for n = 1, 2, 4, ..., over all seeds.

    Args:
      sampled: of each seed, `samples` answers to each prompt.
    """
    ns = best_of_n.powers_of_two(samples)
    scored = [evaluation for evaluation in sampled if evaluation.score is not None]
    curves = [
        best_of_n.best_of_n_rewards(
            evaluation.reward.reshape(-1, samples),
            np.asarray(evaluation.score).reshape(-1, samples),
            ns,
        )
        for evaluation in scored
    ]
    units = [evaluation.prompt[::samples] for evaluation in scored]
    return [
        (
            sample_metrics.kl_best_of_n(n),
            interval_over_seeds([curve[i] for curve in curves], units=units),
        )
        for i, n in enumerate(ns)
    ]
