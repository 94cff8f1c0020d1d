"""A classifier of answers against people's labels: agreement, kappa, confusion."""

import collections
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxalign.evaluation.intervals import Interval, Units, bootstrap


class ClassifierScores(NamedTuple):
    """How far a classifier agrees with people on the same answers.

    Attributes:
      answers: number of answers.
      agreement: share of answers with the same class, in [0, 1].
      kappa: Cohen's kappa, agreement beyond chance; NaN where both have one class.
      confusion: answers by people's class, then by the classifier's.
      recall: by class, the share of people's answers that the classifier finds; NaN for
        a class that people never give.
      precision: by class, the share of the classifier's answers that people agree with;
        NaN for a class that it never gives.
    """

    answers: int
    agreement: Interval
    kappa: float
    confusion: dict[str, dict[str, int]]
    recall: dict[str, float]
    precision: dict[str, float]


def classifier_scores(
    classifier: Sequence[str],
    people: Sequence[str],
    *,
    classes: Sequence[str],
    units: Units = "each",
    seed: int = 0,
) -> ClassifierScores:
    """Agreement of a classifier with people's labels, with Cohen's kappa.

    kappa = (po - pe) / (1 - pe),  po the agreement,  pe = sum over c of p_c q_c

    of the classifier's shares p and people's shares q of the classes.

    Args:
      classifier, people: classes of the same answers [A].
      classes: all classes, in the order of the tables.
      units: the unit of each answer, such as its prompt.

    Raises:
      ValueError: no answers, different numbers of them, or a class not in `classes`.

    Reference: Cohen 1960, Educational and Psychological Measurement 20.

    >>> found = classifier_scores("aabb", "aaab", classes="ab")
    >>> found.agreement.mean, found.kappa, found.confusion["a"]  # pe = 1/2
    (0.75, 0.5, {'a': 2, 'b': 1})
    """
    if not len(classifier) or len(classifier) != len(people):
        raise ValueError(
            f"{len(classifier)} classes of the classifier and {len(people)} of people; "
            "expected one of each for every answer"
        )
    unknown = sorted({*classifier, *people} - {*classes})
    if unknown:
        raise ValueError(f"{unknown[0]!r} is no class; expected {', '.join(classes)}")
    counts = collections.Counter(zip(people, classifier, strict=True))
    table = np.array([[counts[h, c] for c in classes] for h in classes], np.float64)
    same = [h == c for h, c in zip(people, classifier, strict=True)]
    agreement = bootstrap(np.array(same), units=units, seed=seed, share=True)
    chance = table.sum(axis=0) @ table.sum(axis=1) / table.sum() ** 2
    ratio = lambda part, total: float(part / total) if total else np.nan
    totals = zip(
        classes, table.diagonal(), table.sum(axis=1), table.sum(axis=0), strict=True
    )
    shares = {
        c: (ratio(n, by_people), ratio(n, own)) for c, n, by_people, own in totals
    }
    return ClassifierScores(
        answers=len(people),
        agreement=agreement,
        kappa=ratio(agreement.mean - chance, 1 - chance),
        confusion={h: {c: counts[h, c] for c in classes} for h in classes},
        recall={c: recall for c, (recall, _) in shares.items()},
        precision={c: precision for c, (_, precision) in shares.items()},
    )
