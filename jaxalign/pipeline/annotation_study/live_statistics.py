"""Agreement while a study runs: the tables that its dashboard shows beside counts.

Of pairs, two people agree as far as their signed strengths do (ordinal); of rankings,
as far as they order every two answers alike; of ratings, by the ratings themselves.
Gold items are left out, and so are repeats but for the test-retest share.
"""

import collections
import statistics
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxalign.evaluation.agreement import coefficients, label_ceiling
from jaxalign.evaluation.intervals import Interval
from jaxalign.evaluation.proportions import wilson_interval
from jaxalign.evaluation.resampling import bootstrap_statistic
from jaxalign.feedback.judgements import Item, Judgement, signed_strength
from jaxalign.feedback.progress import Table
from jaxalign.messages import shorten

RESAMPLES = 400  # the tables are computed again and again
DIVIDED = 10  # items that are named
EMPTY = "No item has two judgements yet."


class Label(NamedTuple):
    """A number that an annotator gives to a unit, such as a pair of answers."""

    unit: Hashable
    value: float


def tables(items: Mapping[str, Item], judgements: Sequence[Judgement]) -> list[Table]:
    """The tables of agreement of a study."""
    usable = [j for j in judgements if j.item in items and not j.is_gold]
    first = [j for j in usable if not j.repeat]
    labels = [label for judgement in first for label in labels_of(judgement)]
    rows = [
        *agreement_rows(labels, rated=any(j.kind == "rating" for j in first)),
        *side_rows(first),
        *retest_rows(usable),
    ]
    note = "" if rows else EMPTY
    found = [Table("Agreement", ("", "Value", "On"), rows, note)]
    if divided := divided_rows(items, first):
        columns = ("Prompt", "First better", "Tie", "Second better", "Item")
        found.append(Table("Items that divide people", columns, divided))
    return found


def labels_of(judgement: Judgement) -> Iterator[Label]:
    """The numbers in a judgement: of pairs > 0 where the first answer is better."""
    value = judgement.value
    if judgement.kind == "pair":
        strength = signed_strength(judgement)
        if strength is not None:
            yield Label(judgement.item, strength)
    elif isinstance(value, tuple) and judgement.kind == "ranking":
        for i in range(len(value)):
            for j in range(i + 1, len(value)):
                yield Label((judgement.item, i, j), float(np.sign(value[j] - value[i])))
    elif isinstance(value, tuple):
        for i, rating in enumerate(value):
            yield Label((judgement.item, i), float(rating))


def count_labels(labels: Sequence[Label]) -> np.ndarray:
    """How often each unit got each of the values that occur, float64 [U K]."""
    units = {unit: i for i, unit in enumerate({label.unit: 0 for label in labels})}
    values = sorted({label.value for label in labels})
    return coefficients.label_counts(
        np.array([units[label.unit] for label in labels], np.int64),
        np.array([values.index(label.value) for label in labels], np.int64),
        shape=(len(units), len(values)),
    )


def agreement_rows(
    labels: Sequence[Label], *, rated: bool
) -> Iterator[tuple[str, str, str]]:
    """Krippendorff's alpha, and of preferences the best accuracy of a reward model.

    Args:
      rated: the numbers are ratings, and no preferences.
    """
    counts = count_labels(labels)
    several = counts[counts.sum(axis=1) > 1] if labels else counts
    if not len(several):
        return
    on = f"{len(several)} {'answers' if rated else 'comparisons'} with two labels"
    alpha: Callable[[np.ndarray], np.ndarray] = lambda weights: (
        coefficients.krippendorff_alpha(several, level="ordinal", weights=weights)
    )
    interval = bootstrap_statistic(alpha, len(several), resamples=RESAMPLES)
    yield "Krippendorff's alpha, ordinal", str(interval), on
    if rated:
        return
    sides = count_labels(
        [x._replace(value=np.sign(x.value)) for x in labels if x.value]
    )
    pairs = sides[sides.sum(axis=1) > 1] if len(sides) else sides
    if not len(pairs) or pairs.shape[1] < 2:
        return
    best = label_ceiling.label_ceiling(pairs)
    on = f"{best.items} with two sides taken"
    yield "Two people take the same side", agreement(pairs), on
    yield "Best accuracy of a reward model, estimate", str(best.estimate), on
    low, high = best.leave_one_out.mean, best.upper_bound.mean
    yield "... between the bounds", f"{low:.3f} and {high:.3f}", on


def agreement(pairs: np.ndarray) -> str:
    """How often two labels of an item are equal, with an interval over items."""
    share = lambda weights: coefficients.observed_agreement(pairs, weights=weights)
    return str(bootstrap_statistic(share, len(pairs), resamples=RESAMPLES))


def side_rows(judgements: Sequence[Judgement]) -> Iterator[tuple[str, str, str]]:
    """How often the answer on the left is preferred; half the time without a bias."""
    left = total = 0
    for judgement in judgements:
        strength = signed_strength(judgement) if judgement.kind == "pair" else None
        if strength:
            left += (strength > 0) == (judgement.order[0] == 0)
            total += 1
    if total:
        interval = wilson_interval(left, total)
        yield "The answer on the left is preferred", str(interval), f"{total} choices"


def retest_rows(judgements: Sequence[Judgement]) -> Iterator[tuple[str, str, str]]:
    """How often the same person says the same again, sides swapped."""
    by_person = {(j.annotator, j.item, j.repeat): j for j in judgements}
    same, total = 0, 0
    for (annotator, item, repeat), again in by_person.items():
        before = by_person.get((annotator, item, 0))
        if not repeat or before is None:
            continue
        signs = [[np.sign(x.value) for x in labels_of(j)] for j in (before, again)]
        if before.kind == "rating":
            signs = [[x.value for x in labels_of(j)] for j in (before, again)]
        if signs[0] and signs[1]:
            same += signs[0] == signs[1]
            total += 1
    if total:
        interval: Interval = wilson_interval(same, total)
        yield "The same person says the same again", str(interval), f"{total} items"


def divided_rows(
    items: Mapping[str, Item], judgements: Sequence[Judgement]
) -> list[tuple[str, ...]]:
    """The pairs with the largest spread of strengths, which sides were taken."""
    by_item: dict[str, list[float]] = collections.defaultdict(list)
    for judgement in judgements:
        if judgement.kind == "pair":
            by_item[judgement.item] += [x.value for x in labels_of(judgement)]
    spread = {
        item: statistics.pstdev(values)
        for item, values in by_item.items()
        if min(values, default=0) < 0 < max(values, default=0)
    }
    rows = []
    for item in sorted(spread, key=spread.__getitem__, reverse=True)[:DIVIDED]:
        signs = [np.sign(x) for x in by_item[item]]
        prompt = str(items[item].prompt[-1]["content"])
        counts = [str(signs.count(sign)) for sign in (1, 0, -1)]
        rows.append((shorten(" ".join(prompt.split()), 80), *counts, item))
    return rows
