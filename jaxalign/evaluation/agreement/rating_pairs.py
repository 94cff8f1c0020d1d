"""How well ratings by others order the items that an annotator rated differently."""

import math

import numpy as np

from jaxalign.evaluation.intervals import Interval
from jaxalign.evaluation.resampling import bootstrap_statistic

MAX_ITEMS = 1500  # pairs of items are held as a matrix


def leave_one_out_pairs(ratings: np.ndarray, *, seed: int = 0) -> Interval:
    """The accuracy of the mean rating of the other annotators on an annotator's pairs.

    A pair is two items that one annotator rated differently; the others are right where
    their mean orders them likewise, half right where it is equal. Of m annotators it is
    what a model that knows the mean of m - 1 reaches on single annotators' pairs: a
    lower bound of the best accuracy of a reward model.

    Args:
      ratings: of each item by each annotator, NaN where there is none [U R]. Of more
        than 1500 items as many are drawn.

    Returns:
      The share with its bootstrap interval over items; NaN where there are no pairs.
    """
    ratings = np.asarray(ratings, np.float64)
    if len(ratings) > MAX_ITEMS:
        rows = np.random.default_rng(seed).permutation(len(ratings))[:MAX_ITEMS]
        ratings = ratings[np.sort(rows)]
    right, pairs = np.zeros((2, len(ratings), len(ratings)))
    for annotator in range(ratings.shape[1]):
        own = ratings[:, annotator]
        others = mean_of_others(ratings, annotator)
        sides = np.sign(own[:, None] - own)
        guess = np.sign(others[:, None] - others)
        valid = (sides != 0) & np.isfinite(sides) & np.isfinite(guess)
        right += np.where(valid, (1 + sides * guess) / 2, 0.0)
        pairs += valid
    if not pairs.any():
        return Interval(math.nan, math.nan, math.nan)
    each = lambda w, matrix: np.sum((w @ matrix) * w, axis=1)

    def share(weights: np.ndarray) -> np.ndarray:
        total = each(weights, pairs)
        return each(weights, right) / np.where(total > 0, total, np.nan)

    return bootstrap_statistic(share, len(ratings), seed=seed)


def mean_of_others(ratings: np.ndarray, annotator: int) -> np.ndarray:
    """The mean rating of an item by all annotators but one [U]; NaN of none."""
    others = np.delete(ratings, annotator, axis=1)
    number = np.isfinite(others).sum(axis=1)
    return np.where(number, np.nansum(others, axis=1), np.nan) / np.maximum(number, 1)
