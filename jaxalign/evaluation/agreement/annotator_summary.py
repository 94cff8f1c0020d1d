"""How far to trust each annotator, and which items divide people: pairs' summary."""

from typing import NamedTuple

import numpy as np

from jaxalign.evaluation.agreement.annotator_model import AnnotatorFit, fit_annotators
from jaxalign.evaluation.agreement.coefficients import (
    krippendorff_alpha,
    label_counts,
)
from jaxalign.evaluation.agreement.label_ceiling import Ceiling, label_ceiling
from jaxalign.evaluation.intervals import Interval, bootstrap
from jaxalign.evaluation.resampling import bootstrap_statistic


class AnnotatorRow(NamedTuple):
    """An annotator's numbers, with 95 % intervals.

    Attributes:
      judgements: of pairs, ties included.
      left: share of the left side among choices of a side; half is no bias.
      agreement: share of choices that agree with the majority of the others on a pair.
      sharpness, bias, lapse: see `annotator_model`; NaN without a fit.
    """

    judgements: int
    left: Interval
    agreement: Interval
    sharpness: Interval
    bias: Interval
    lapse: Interval


class Divided(NamedTuple):
    """An item that divides people: the votes for each answer, and how evenly."""

    item: int
    first: int
    second: int
    ties: int
    evenness: float


class PairSummary(NamedTuple):
    """A study of pairs.

    Attributes:
      annotators: one row each, in order of their index.
      alpha: Krippendorff's of the strengths, ordinal; NaN where no pair has two.
      ceiling: the best accuracy that a reward model can have on the choices; None where
        no pair has two.
      divided: pairs of two choices or more, the most even first.
    """

    annotators: list[AnnotatorRow]
    alpha: Interval
    ceiling: Ceiling | None
    divided: list[Divided]


UNKNOWN = Interval(float("nan"), float("nan"), float("nan"))


def summarize_pairs(
    item: np.ndarray,
    annotator: np.ndarray,
    strength: np.ndarray,
    swapped: np.ndarray,
    *,
    seed: int = 0,
    fit: bool = True,
) -> PairSummary:
    """The summary of judgements of pairs; an annotator's second look is left out first.

    Args:
      item: index from 0 of the pair of each judgement [R].
      annotator: index from 0 of who judged it [R].
      strength: how far the first answer was preferred; 0 a tie [R].
      swapped: whether the second answer was shown on the left [R].
      fit: whether to fit sharpness, bias and lapses, which takes seconds.

    Raises:
      ValueError: no judgements.
    """
    rows = annotator_rows(item, annotator, strength, swapped, seed=seed, fit=fit)
    items, side = int(np.max(item)) + 1, np.sign(strength)
    votes = np.stack(
        [np.bincount(item[side == s], minlength=items) for s in (1, 0, -1)]
    )
    counts = votes[[0, 2]].T.astype(np.float64)
    several = bool((counts.sum(axis=1) > 1).any())
    return PairSummary(
        annotators=rows,
        alpha=strength_alpha(item, strength, items, seed=seed),
        ceiling=label_ceiling(counts, seed=seed) if several else None,
        divided=divided_items(votes),
    )


def annotator_rows(
    item: np.ndarray,
    annotator: np.ndarray,
    strength: np.ndarray,
    swapped: np.ndarray,
    *,
    seed: int = 0,
    fit: bool = True,
) -> list[AnnotatorRow]:
    """Each annotator's row, in order of index; the arguments of `summarize_pairs`.

    Raises:
      ValueError: no judgements.
    """
    if not len(item):
        raise ValueError("a summary needs judgements; there are none")
    side = np.sign(strength)
    model = fit_sides(item, annotator, side, swapped) if fit and side.any() else None
    left = np.where(swapped, side < 0, side > 0)
    share = majority_agreement(item, side, int(np.max(item)) + 1)
    rows = []
    for a in range(int(np.max(annotator)) + 1):
        own = (annotator == a) & (side != 0)
        compared = own & np.isfinite(share)
        fitted = (UNKNOWN,) * 3
        if model is not None and own.any():
            fitted = model.sharpness[a], model.bias[a], model.lapse[a]
        rows.append(
            AnnotatorRow(
                int(np.sum(annotator == a)),
                share_interval(left[own], item[own], seed),
                share_interval(share[compared], item[compared], seed),
                *fitted,
            )
        )
    return rows


def fit_sides(
    item: np.ndarray, annotator: np.ndarray, side: np.ndarray, swapped: np.ndarray
) -> AnnotatorFit:
    """The annotators' model of the choices of a side; ties say nothing of it."""
    chosen = side != 0
    left = np.where(swapped, side < 0, side > 0)
    last = int(np.max(annotator))  # an annotator of ties alone keeps the prior
    fitted = fit_annotators(
        item[chosen], annotator[chosen], left[chosen], swapped[chosen]
    )
    missing = last + 1 - len(fitted.bias)
    if missing:
        more = [UNKNOWN] * missing
        fitted = fitted._replace(
            sharpness=fitted.sharpness + more,
            bias=fitted.bias + more,
            lapse=fitted.lapse + more,
        )
    return fitted


def share_interval(values: np.ndarray, units: np.ndarray, seed: int) -> Interval:
    """A share with its interval over items; NaN of none."""
    if not len(values):
        return UNKNOWN
    return bootstrap(values, units=units, seed=seed, share=True)


def majority_agreement(item: np.ndarray, side: np.ndarray, items: int) -> np.ndarray:
    """Whether each choice is that of the majority of the pair's others [R].

    Half where they are tied; NaN without others, and of a tie.

    >>> item, side = np.array([0, 0, 0, 1]), np.array([1.0, 1.0, -1.0, 1.0])
    >>> majority_agreement(item, side, 2).tolist()
    [0.5, 0.5, 0.0, nan]
    """
    others = np.bincount(item, side, items)[item] - side
    number = np.bincount(item[side != 0], minlength=items)[item] - 1
    agrees = (1 + side * np.sign(others)) / 2
    return np.where((number > 0) & (side != 0), agrees, np.nan)


def strength_alpha(
    item: np.ndarray, strength: np.ndarray, items: int, *, seed: int
) -> Interval:
    """Krippendorff's ordinal alpha of the strengths, over items."""
    levels, label = np.unique(strength, return_inverse=True)
    counts = label_counts(item, label.reshape(-1), shape=(items, len(levels)))
    counts = counts[counts.sum(axis=1) > 1]
    if not len(counts):
        return UNKNOWN
    alpha = lambda w: krippendorff_alpha(counts, level="ordinal", weights=w)
    return bootstrap_statistic(alpha, len(counts), seed=seed)


def divided_items(votes: np.ndarray) -> list[Divided]:
    """Items of two choices or more, the most even first, then those of more choices.

    evenness = 4 p (1 - p),  p the first answer's share of the choices

    Args:
      votes: for the first answer, for a tie, for the second [3 U].

    >>> divided_items(np.array([[1, 3, 4], [0, 0, 0], [1, 3, 0]]))[0]
    Divided(item=1, first=3, second=3, ties=0, evenness=1.0)
    """
    first, ties, second = votes
    total = first + second
    share = first / np.maximum(total, 1)
    evenness = 4 * share * (1 - share)
    order = np.lexsort((-total, -evenness))
    return [
        Divided(int(i), int(first[i]), int(second[i]), int(ties[i]), float(evenness[i]))
        for i in order
        if total[i] > 1
    ]
