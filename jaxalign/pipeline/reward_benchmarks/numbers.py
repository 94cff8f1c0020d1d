"""The numbers of a reward on benchmark rows, as they are written to a file.

Every number of a group of rows is an `Interval` over prompts; None is a score of which
rows are absent.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxalign.evaluation import by_field
from jaxalign.evaluation.by_field import Groups
from jaxalign.evaluation.intervals import Interval, bootstrap
from jaxalign.evaluation.reward_benchmarks import (
    length_bias,
    reward_bench,
    reward_bench2,
    reward_calibration,
    rm_bench,
)
from jaxalign.pipeline.reward_benchmarks import scores
from jaxalign.pipeline.reward_benchmarks.rows import BenchmarkRow
from jaxalign.pipeline.reward_benchmarks.scores import ScoredRows

Numbers = dict[str, Any]
MARGIN_LEVELS = 6  # more different margins are divided at their quantiles
QUANTILES = 4


def group_accuracy(
    results: np.ndarray, baseline: np.ndarray, units: np.ndarray, seed: int
) -> Numbers:
    """Accuracy of a group of rows, beside that of "the longer answer wins"."""
    mean = lambda values: bootstrap(values, units=units, seed=seed, share=True)
    return {
        "rows": len(results),
        "accuracy": mean(results),
        "longer wins": mean(baseline),
    }


def subset_numbers(
    scored: ScoredRows, results: np.ndarray, baseline: np.ndarray, seed: int
) -> Numbers:
    """`group_accuracy` of each subset, in the order of the rows."""
    subsets, units = scored.subsets, scored.units
    return {
        name: group_accuracy(results[mask], baseline[mask], units[mask], seed)
        for name in dict.fromkeys(subsets.tolist())
        if (mask := subsets == name).any()
    }


def pair_numbers(scored: ScoredRows, *, equal: float, seed: int) -> Numbers:
    """Accuracy of pairs by subset, and where either answer is the longer one.

    Args:
      equal: the result of equal scores.
      seed: of the bootstrap.
    """
    results = scores.pair_results(scored, equal=equal)
    lengths = scores.pair_scores(scored.lengths())
    baseline, units = length_bias.longer_wins(*lengths), scored.units
    chosen, rejected = scores.pair_scores(scored)
    by_length = length_bias.length_accuracy(results, *lengths, units=units, seed=seed)
    groups = length_bias.length_groups(*lengths)
    return {
        **group_accuracy(results, baseline, units, seed),
        "equal scores": int((chosen == rejected).sum()),
        "subsets": subset_numbers(scored, results, baseline, seed),
        "length": {
            name: {"pairs": count, "accuracy": value}
            for name, (value, count) in by_length.items()
        },
        "length groups": {
            name: group_accuracy(results[mask], baseline[mask], units[mask], seed)
            for name, mask in groups.items()
            if mask.any()
        },
    }


def reward_bench_numbers(
    scored: ScoredRows, *, equal: float, seed: int
) -> Numbers | None:
    """The sections and the overall score of RewardBench; None without its subsets.

    A section with absent subsets has the weighted mean of those that are there, and
    their names in "missing".
    """
    results, units = scores.subset_results(
        scored, scores.pair_results(scored, equal=equal)
    )
    if not any(reward_bench.section_of(subset) for subset in results):
        return None
    sections = reward_bench.section_scores(results, units=units, seed=seed)
    shared: dict[str, Any] = {"units": units, "seed": seed}
    return {
        "sections": {name: score._asdict() for name, score in sections.items()},
        "overall": reward_bench.overall_score(results, **shared),
        "overall with prior sets": reward_bench.overall_score(
            results, prior_sets=True, **shared
        ),
    }


def best_of_numbers(
    best_of: ScoredRows | None, ties: ScoredRows | None, *, seed: int
) -> Numbers:
    """The subsets and the overall score of RewardBench 2."""
    numbers: Numbers = {"subsets": {}}
    results: dict[str, np.ndarray] = {}
    units: dict[str, np.ndarray] = {}
    if best_of is not None:
        values = scores.best_of_results(best_of)
        baseline = scores.best_of_results(best_of.lengths())
        numbers["subsets"] = subset_numbers(best_of, values, baseline, seed)
        results, units = scores.subset_results(best_of, values)
        for name, of_subset in numbers["subsets"].items():
            sizes = [len(row.answers) for row in best_of.rows if row.subset == name]
            of_subset["chance"] = float(np.mean(1 / np.array(sizes)))
    if ties is not None:
        prompts = scores.ties_prompts(ties)
        if len(prompts.units):
            numbers["subsets"][reward_bench2.TIES] = ties_numbers(ties, prompts, seed)
            results[reward_bench2.TIES] = reward_bench2.ties_scores(*prompts[:2])
            units[reward_bench2.TIES] = prompts.units
        numbers["prompts of Ties with one row"] = prompts.incomplete
    missing = [name for name in reward_bench2.SUBSETS if name not in results]
    overall = reward_bench2.overall_score(results, units=units, seed=seed)
    return {**numbers, "missing": missing, "overall": overall}


def ties_numbers(ties: ScoredRows, prompts: scores.TiesPrompts, seed: int) -> Numbers:
    """The Ties score, its parts, and the score of "the longer answer wins"."""
    longer = scores.ties_prompts(ties.lengths())
    mean = lambda values: bootstrap(values, units="each", seed=seed)
    parts = reward_bench2.ties_parts(*prompts[:2])
    return {
        "rows": len(prompts.units),
        "accuracy": mean(reward_bench2.ties_scores(*prompts[:2])),
        "longer wins": mean(reward_bench2.ties_scores(*longer[:2])),
        "parts": {name: mean(values) for name, values in parts.items()},
    }


def rm_bench_numbers(scored: ScoredRows, *, equal: float, seed: int) -> Numbers:
    """The matrix of styles, and easy, normal and hard accuracy by domain."""
    results = scores.style_results(scored, equal=equal)
    longer = rm_bench.level_results(scores.style_results(scored.lengths(), equal=equal))
    levels, domains, units = (
        rm_bench.level_results(results),
        scored.subsets,
        scored.units,
    )
    return {
        "rows": len(results),
        "matrix": results.mean(axis=0),
        "styles": list(rm_bench.STYLES),
        "levels": {
            name: group_accuracy(values, longer[name], units, seed)
            for name, values in levels.items()
        },
        "domains": {
            name: rm_bench.domain_scores(values, domains, units=units, seed=seed)
            for name, values in levels.items()
        },
        "missing": [
            name
            for names in rm_bench.DOMAINS.values()
            for name in names
            if not (domains == name).any()
        ],
    }


def split_groups(rows: Sequence[BenchmarkRow], fields: Sequence[str]) -> Groups:
    """The group of each pair by its subset or other fields of its row.

    Args:
      rows: of any layout, of which the pairs count.

    Raises:
      ValueError: as `by_field.field_groups`, or there are no pairs.
    """
    pairs = [row for row in rows if row.layout == "pair"]
    if fields and not pairs:
        raise ValueError(f"--split-by {','.join(fields)}: --data has no pairs")
    values = [{**row.prompt.fields, "subset": row.subset} for row in pairs]
    return by_field.group_rows(values, fields, "pair")


def split_numbers(
    scored: ScoredRows, groups: Groups, *, equal: float, seed: int
) -> dict[str, dict[str, Numbers]]:
    """`group_accuracy` of pairs by the values of each field.

    Args:
      groups: of the pairs, see `split_groups`.
    """
    return {
        field: group_numbers(scored, of_pairs, equal, seed)
        for field, of_pairs in groups.items()
    }


def margin_numbers(
    scored: ScoredRows, *, equal: float, seed: int
) -> dict[str, Numbers] | None:
    """`group_accuracy` of pairs by rating margin; None where the data have none.

    Few different margins are levels of their own; many are divided at quartiles.
    """
    margins = np.array([row.margin for row in scored.rows])
    levels = np.unique(margins)
    if len(levels) < 2:
        return None
    if len(levels) <= MARGIN_LEVELS:
        names = np.array([f"{margin:g}" for margin in margins])
        order = [f"{level:g}" for level in levels]
    else:
        edges = np.unique(np.quantile(margins, np.linspace(0, 1, QUANTILES + 1)))
        bins = np.clip(np.searchsorted(edges, margins, "right") - 1, 0, len(edges) - 2)
        order = [
            f"{low:.3g} to {high:.3g}"
            for low, high in zip(edges[:-1], edges[1:], strict=True)
        ]
        names = np.array(order)[bins]
    found = group_numbers(scored, names, equal, seed)
    return {name: found[name] for name in order if name in found}


def group_numbers(
    scored: ScoredRows, groups: np.ndarray, equal: float, seed: int
) -> dict[str, Numbers]:
    """`group_accuracy` of the pairs of each group, in `by_field.group_order`."""
    results = scores.pair_results(scored, equal=equal)
    baseline, units = scores.pair_results(scored.lengths(), equal=0.0), scored.units
    return {
        name: group_accuracy(results[mask], baseline[mask], units[mask], seed)
        for name in by_field.group_order(groups)
        if (mask := groups == name).any()
    }


def calibration_numbers(scored: ScoredRows, *, seed: int) -> Numbers:
    """`reward_calibration.calibration_numbers` of pairs."""
    return reward_calibration.calibration_numbers(
        np.subtract(*scores.pair_scores(scored)),
        np.array([row.label_prob for row in scored.rows]),
        units=scored.units,
        seed=seed,
    )


def main_numbers(numbers: Numbers) -> dict[str, Interval | int | float]:
    """The numbers of numbers.json: overall scores, and the accuracy of pairs.

    Also of the pairs of each value of a field: `accuracy/FIELD=VALUE`.
    """
    main: dict[str, Any] = {}
    if pairs := numbers.get("pairs"):
        main |= {"accuracy": pairs["accuracy"], "longer wins": pairs["longer wins"]}
        main["pairs"] = pairs["rows"]
    for key, name in (
        ("reward_bench", "RewardBench"),
        ("reward_bench_2", "RewardBench 2"),
    ):
        if (part := numbers.get(key)) and part["overall"] is not None:
            main[name] = part["overall"]
    if part := numbers.get("rm_bench"):
        main |= {f"RM-Bench {k}": v["accuracy"] for k, v in part["levels"].items()}
    if part := numbers.get("calibration"):
        main |= {"ECE": part["ece"], "temperature": part["temperature"]}
    tables = {
        field: [{"group": name, **group} for name, group in groups.items()]
        for field, groups in numbers.get("split", {}).items()
    }
    main |= by_field.named_numbers(tables, ("accuracy", "rows"))
    return main
