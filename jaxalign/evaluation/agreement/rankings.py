"""Agreement of rankings: Kendall's W, and cycles among pairwise votes."""

import math
from collections.abc import Hashable, Iterable
from typing import NamedTuple

import numpy as np
from scipy import stats

from jaxalign.evaluation.intervals import Interval, proportion_interval
from jaxalign.evaluation.resampling import (
    bootstrap_statistic,
    percentile_interval,
    resample_weights,
)

W_RESAMPLES = 500  # one after the other; a bound's percentile is good to 0.7 %


def kendall_w(ratings: np.ndarray) -> float:
    """Kendall's W, the coefficient of concordance of m rankings of n items, with ties.

    W = 12 S / (m^2 (n^3 - n) - m sum over annotators of T)

    with S the sum over items of the squared deviation of their rank sums from the mean,
    and T = sum over an annotator's groups of t tied items of (t^3 - t); tied items have
    their mean rank. From 0 (no agreement) to 1.

    Args:
      ratings: each annotator's rating or rank of each item [n m], all finite.

    Returns:
      NaN below two items or two annotators, or where all items are tied for everyone.

    Raises:
      ValueError: a rating is not finite.

    Reference: Kendall and Babington Smith 1939, Annals of Mathematical Statistics 10;
    Siegel and Castellan 1988, section 9.6 (ties).

    >>> # rank sums 2, 5, 5: S = 6; W = 72 / (4 * 24)
    >>> kendall_w(np.array([[1, 1], [2, 3], [3, 2]]))
    0.75
    """
    ratings = np.asarray(ratings, np.float64)
    if not np.isfinite(ratings).all():
        raise ValueError("Kendall's W needs a finite rating of each item by everyone")
    n, m = ratings.shape
    if n < 2 or m < 2:
        return math.nan
    ranks = stats.rankdata(ratings, axis=0)
    sums = ranks.sum(axis=1)
    spread = np.sum((sums - sums.mean()) ** 2)
    ties = 0.0
    for column in ratings.T:
        size = np.unique(column, return_counts=True)[1].astype(np.float64)
        ties += float(np.sum(size**3 - size))
    most = m**2 * (float(n) ** 3 - n) - m * ties
    return float(12 * spread / most) if most > 0 else math.nan


def kendall_w_interval(ratings: np.ndarray, *, seed: int = 0) -> Interval:
    """Kendall's W with its bootstrap interval over items.

    Args:
      ratings: each annotator's rating of each item [n m], all finite.
    """
    estimate = kendall_w(ratings)
    if math.isnan(estimate):
        return Interval(estimate, math.nan, math.nan)
    found = [
        kendall_w(np.repeat(ratings, times, axis=0))
        for counts in resample_weights(len(ratings), resamples=W_RESAMPLES, seed=seed)
        for times in counts.astype(np.int64)
    ]
    return percentile_interval(estimate, np.array(found))


def mean_kendall_w(groups: Iterable[np.ndarray], *, seed: int = 0) -> Interval:
    """The mean over prompts of Kendall's W, with its bootstrap interval over prompts.

    Args:
      groups: ratings of the answers to each prompt [n m] each; prompts whose W is
        undefined are left out.

    Returns:
      The bounds are NaN for a single prompt; all is NaN for none.
    """
    found = np.array([kendall_w(group) for group in groups])
    found = found[np.isfinite(found)]
    if not len(found):
        return Interval(math.nan, math.nan, math.nan)
    mean = lambda weights: weights @ found / weights.sum(axis=-1)
    return bootstrap_statistic(mean, len(found), seed=seed)


class Triples(NamedTuple):
    """Triples of answers with all three comparisons decided.

    Attributes:
      triples: their number.
      cycles: of them, those with a > b > c > a.
    """

    triples: int
    cycles: int


def count_triples(votes: Iterable[tuple[Hashable, Hashable, float]]) -> Triples:
    """Counts triples of compared answers, and cycles among them.

    Of each two answers the one with more votes wins; undecided pairs are left out.
    Decisions by coins would make a quarter of the triples cycles.

    Args:
      votes: (first, second, outcome) with outcome 1 where the first is better, 0 where
        the second is, 0.5 for a tie.

    Reference: Kendall and Babington Smith 1940, Biometrika 31 (circular triads).

    >>> count_triples([("a", "b", 1), ("b", "c", 1), ("a", "c", 0)])
    Triples(triples=1, cycles=1)
    """
    votes = list(votes)
    names = {name for a, b, _ in votes for name in (a, b)}
    index = {name: i for i, name in enumerate(sorted(names, key=str))}
    balance = np.zeros((len(index), len(index)))
    for a, b, outcome in votes:
        balance[index[a], index[b]] += outcome - 0.5
        balance[index[b], index[a]] -= outcome - 0.5
    beats = (balance > 0).astype(np.float64)
    decided = beats + beats.T
    triples = np.trace(decided @ decided @ decided) / 6
    cycles = np.trace(beats @ beats @ beats) / 3
    return Triples(round(triples), round(cycles))


def transitivity(groups: Iterable[Triples], *, seed: int = 0) -> Interval:
    """The share of triples without a cycle, with its bootstrap interval over prompts.

    Args:
      groups: the triples of each prompt, or annotator; those without any count not.

    >>> transitivity([Triples(3, 1), Triples(1, 0)]).mean
    0.75
    """
    found = np.array([group for group in groups if group.triples], np.float64)
    if not len(found):
        return Interval(math.nan, math.nan, math.nan)
    total, cycles = found.T
    share = lambda weights: 1.0 - weights @ cycles / (weights @ total)
    interval = bootstrap_statistic(share, len(found), seed=seed)
    return proportion_interval(interval, len(found))
