"""All agreement numbers of annotations: coefficients, pairs, annotators, rankings."""

import collections
import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxalign.evaluation.agreement import coefficients as agreement
from jaxalign.evaluation.agreement import label_ceiling, rankings, rater_pairs
from jaxalign.evaluation.agreement.rating_pairs import (
    leave_one_out_pairs,
    mean_of_others,
)
from jaxalign.evaluation.intervals import Interval, bootstrap, proportion_interval
from jaxalign.evaluation.resampling import bootstrap_statistic
from jaxalign.pipeline.annotations.reading import Annotations

MOST_LABELS = 10  # of a scale whose best accuracy on exact labels means something
MOST_PAIRS = 200  # of annotators, whose numbers have intervals of as many resamples
FEW_RESAMPLES = 200
Row = dict[str, Any]


def coefficients(
    annotations: Annotations, *, seed: int
) -> tuple[dict[str, Interval], dict[str, str]]:
    """Agreement coefficients of all annotators, with intervals over items.

    Returns:
      The coefficients by name, and the reasons of those that are not reported.
    """
    counts, scale = annotations.counts(), annotations.scale
    of = lambda f: bootstrap_statistic(f, len(counts), seed=seed)

    def alpha(level: agreement.Level) -> Callable[[np.ndarray], np.ndarray]:
        return lambda w: agreement.krippendorff_alpha(
            counts, level=level, values=scale.values, weights=w
        )

    found = {
        "observed agreement": proportion_interval(
            of(lambda w: agreement.observed_agreement(counts, weights=w)),
            int(np.sum(counts.sum(axis=1) > 1)),
        ),
        "Krippendorff's alpha, nominal": of(alpha("nominal")),
    }
    if scale.ordered:
        found["Krippendorff's alpha, ordinal"] = of(alpha("ordinal"))
    if scale.values is not None:
        found["Krippendorff's alpha, interval"] = of(alpha("interval"))
    if scale.level == "ratio":
        found["Krippendorff's alpha, ratio"] = of(alpha("ratio"))
    reasons = {}
    try:
        agreement.fleiss_kappa(counts)
        found["Fleiss' kappa"] = of(lambda w: agreement.fleiss_kappa(counts, weights=w))
    except ValueError as error:
        reasons["Fleiss' kappa"] = str(error)
    found["Gwet's AC1"] = of(lambda w: agreement.gwet_ac1(counts, weights=w))
    return found, reasons


def pair_rows(
    annotations: Annotations, *, least: int, seed: int
) -> tuple[list[Row], int]:
    """Agreement of every two annotators, with intervals over their common items.

    Args:
      least: of items that both labeled; pairs with fewer are left out.

    Returns:
      The rows, those with most items first, and how many pairs were left out.
    """
    matrix, names = annotations.matrix(), annotations.annotators
    given = np.isfinite(matrix)
    common = given.T.astype(np.int64) @ given
    pairs = list(itertools.combinations(range(len(names)), 2))
    chosen = [pair for pair in pairs if common[pair] >= max(least, 2)]
    chosen.sort(key=lambda pair: -common[pair])
    rows = []
    for a, b in chosen:
        both = given[:, a] & given[:, b]
        first, second = matrix[both][:, [a, b]].T.astype(np.int64)
        row: Row = {"first": names[a], "second": names[b], "items": len(first)}
        many = len(chosen) > MOST_PAIRS
        rows.append(row | pair_numbers(first, second, annotations, many, seed))
    return rows, len(pairs) - len(chosen)


def pair_numbers(
    first: np.ndarray,
    second: np.ndarray,
    annotations: Annotations,
    many: bool,
    seed: int,
) -> Row:
    """Agreement and kappas of two annotators; of scales weighted ones, and tau-b."""
    scale = annotations.scale
    options: dict[str, Any] = {"resamples": FEW_RESAMPLES} if many else {}

    def kappa(kind: rater_pairs.KappaWeights) -> Interval:
        statistic = lambda w: rater_pairs.cohen_kappa(
            first, second, labels=len(scale.names), kind=kind, weights=w
        )
        return bootstrap_statistic(statistic, len(first), seed=seed, **options)

    same = (first == second).astype(np.float64)
    row: Row = {
        "agreement": bootstrap(same, units="each", seed=seed, share=True),
        "Cohen's kappa": kappa("unweighted"),
    }
    if scale.level != "nominal":
        row["linear kappa"] = kappa("linear")
        row["quadratic kappa"] = kappa("quadratic")
        row["tau-b"] = rater_pairs.kendall_tau_b(
            first, second, seed=seed, interval=not many
        )
    return row


def annotator_rows(annotations: Annotations, *, seed: int) -> list[Row]:
    """Each annotator against the others: agreement with their majority, bias, labels.

    Returns:
      Rows with the most labels first. `with the majority` is over items that others
      labeled; of scales `bias` is the mean difference from the mean of the others.
    """
    counts, scale = annotations.counts(), annotations.scale
    matrix, numbers = annotations.matrix(), rating_matrix(annotations)
    ordered = scale.level != "nominal"
    rows = []
    for a, name in enumerate(annotations.annotators):
        rated = np.flatnonzero(np.isfinite(matrix[:, a]))
        own = matrix[rated, a].astype(np.int64)
        others = counts[rated].copy()
        others[np.arange(len(rated)), own] -= 1
        some = others.sum(axis=1) > 0
        top = others.max(axis=1, keepdims=True)
        right = (others[np.arange(len(rated)), own] == top[:, 0]) / np.sum(
            others == top, axis=1
        )
        row: Row = {"annotator": name, "labels": len(rated)}
        row["with the majority"] = mean_interval(right[some], seed, share=True)
        if ordered:
            gap = (numbers[:, a] - mean_of_others(numbers, a))[rated]
            row["bias"] = mean_interval(gap[np.isfinite(gap)], seed, share=False)
        if len(scale.names) <= 5:
            shares = np.bincount(own, minlength=len(scale.names)) / len(own)
            named = zip(scale.names, shares.tolist(), strict=True)
            row |= {f"share {label}": share for label, share in named}
        rows.append(row)
    return sorted(rows, key=lambda row: -row["labels"])


def rating_matrix(annotations: Annotations) -> np.ndarray:
    """Each annotator's rating of each item, NaN where missing [U A].

    Words have their places in their order, from 0.
    """
    matrix, scale = annotations.matrix(), annotations.scale
    values = np.arange(len(scale.names)) if scale.values is None else scale.values
    return np.where(
        np.isfinite(matrix), values[np.nan_to_num(matrix).astype(int)], np.nan
    )


def mean_interval(values: np.ndarray, seed: int, *, share: bool) -> Interval:
    """The mean with its interval over items; NaN of none."""
    if not len(values):
        return Interval(math.nan, math.nan, math.nan)
    return bootstrap(values, units="each", seed=seed, share=share)


def best_accuracies(
    annotations: Annotations, *, seed: int
) -> tuple[list[Row], Interval, dict[str, str]]:
    """The best accuracy that a model can have on single labels, and on majorities.

    Returns:
      Rows: of all labels, and where some are ties of those that are none, which are a
      reward model's; of ratings also the order of two items. Then the best accuracy of
      a reward model, of the last row: the estimate, or of ratings the lower bound. Then
      the reasons of what is not there.
    """
    counts, scale = annotations.counts(), annotations.scale
    rows: list[Row] = []
    reasons = {}
    best = Interval(math.nan, math.nan, math.nan)
    parts = {"all labels": counts}
    if scale.tie is not None:
        parts = {"all labels, ties too": counts}
        parts["without ties (a reward model)"] = np.delete(counts, scale.tie, axis=1)
    if len(scale.names) > MOST_LABELS:
        reasons["best accuracy on labels"] = (
            f"{len(scale.names)} different labels: exact equality says little"
        )
        parts = {}
    for name, part in parts.items():
        try:
            ceiling = label_ceiling.label_ceiling(part, seed=seed)
        except ValueError as error:
            reasons[f"best accuracy, {name}"] = str(error)
            continue
        row = {key.replace("_", " "): x for key, x in ceiling._asdict().items()}
        rows.append({"of": name} | row)
        if name == list(parts)[-1]:
            best = ceiling.estimate
    if scale.level != "nominal" and annotations.annotators:
        order = leave_one_out_pairs(rating_matrix(annotations), seed=seed)
        rows.append({"of": "order of two items", "leave one out": order})
        best = order
    return rows, best, reasons


def ranking_numbers(
    annotations: Annotations, *, seed: int
) -> tuple[dict[str, Interval | int], dict[str, str]]:
    """Kendall's W of ratings, and the transitivity of votes.

    Returns:
      The numbers by name, and the reasons of those that are not reported.
    """
    found: dict[str, Interval | int] = {}
    reasons = {}
    scale = annotations.scale
    if scale.level != "nominal" and annotations.annotators:
        groups = collections.defaultdict(list)
        for item, group in enumerate(annotations.groups):
            groups[group].append(item)
        complete = [
            complete_ratings(annotations.matrix()[rows]) for rows in groups.values()
        ]
        complete = [part for part in complete if min(part.shape) > 1]
        if len(complete) > 1:
            found["Kendall's W within prompts"] = rankings.mean_kendall_w(
                complete, seed=seed
            )
        elif complete:
            found["Kendall's W"] = rankings.kendall_w_interval(complete[0], seed=seed)
        else:
            reasons["Kendall's W"] = "no two annotators labeled all items"
    if scale.votes and all(sides is not None for sides in annotations.sides):
        found |= vote_transitivity(annotations, seed=seed)
    return found, reasons


def complete_ratings(ratings: np.ndarray) -> np.ndarray:
    """The ratings of the annotators who rated all items [n m]."""
    return ratings[:, np.isfinite(ratings).all(axis=0)]


def vote_transitivity(
    annotations: Annotations, *, seed: int
) -> dict[str, Interval | int]:
    """Transitivity of all votes within each prompt, and of each annotator's votes.

    Nothing where no three answers are compared with each other.
    """
    last = len(annotations.scale.names) - 1
    by_prompt, by_annotator = (collections.defaultdict(list) for _ in range(2))
    for item, annotator, label in zip(
        annotations.item, annotations.annotator, annotations.label, strict=True
    ):
        sides = annotations.sides[item]
        assert sides is not None
        vote = (*sides, 1.0 - label / last)
        group = annotations.groups[item]
        by_prompt[group].append(vote)
        by_annotator[(group, annotator)].append(vote)
    majority = [rankings.count_triples(votes) for votes in by_prompt.values()]
    single: dict[int, list[rankings.Triples]] = collections.defaultdict(list)
    for (_, annotator), votes in by_annotator.items():
        single[annotator].append(rankings.count_triples(votes))
    own = [
        rankings.Triples(*(sum(part) for part in zip(*parts, strict=True)))
        for parts in single.values()
    ]
    found: dict[str, Interval | int] = {}
    for name, parts in (("majority votes", majority), ("each annotator's votes", own)):
        if triples := sum(part.triples for part in parts):
            found[f"transitivity of {name}"] = rankings.transitivity(parts, seed=seed)
            found[f"triples of {name}"] = triples
    return found
