"""The best accuracy that any model can have on labels that people disagree about.

An item's label is drawn with probabilities q: the best prediction is its likeliest
label, and the best accuracy on single labels (Bayes accuracy, the ceiling) is

    ceiling = mean over items of max over c of q_c

of which repeated labels of each item tell. With few labels an item it is known within
bounds only: a few coins cannot tell whether all items are somewhat uncertain, or some
are certain and some are toss-ups. Hence several estimates, from low to high:

leave_one_out: how often the majority of the other annotators is right. It is a model
    that exists, so the ceiling is higher: an unbiased estimate of a lower bound.
estimate: E[max q] given an item's labels, where q varies over items as a Dirichlet
    distribution fitted to all labels. Right where q does vary so, and near it where q
    has one mode; with many labels an item the distribution does not matter. Where half
    of the items are certain and half are toss-ups it is up to 0.07 too high.
upper_bound: the highest ceiling that agrees with how often two annotators agree: that
    of items which are all equally uncertain. The smaller of this and of the next.
plug_in: mean of the largest share of an item's labels. Biased upwards: three tosses of
    a coin have a largest share of 0.75 in the mean, where 0.5 is the truth.

Tried on planted probabilities (tests/evaluation/test_label_ceiling.py).
"""

import math
from typing import NamedTuple

import numpy as np

from jaxalign.evaluation.agreement.coefficients import item_agreement
from jaxalign.evaluation.agreement.dirichlet_multinomial import (
    fit_concentration,
    largest_share,
)
from jaxalign.evaluation.intervals import Interval
from jaxalign.evaluation.resampling import (
    bootstrap_statistic,
    percentile_interval,
    resample_weights,
)

FIT_RESAMPLES = 200  # each is a fit; a bound's percentile is good to 1 %


class Ceiling(NamedTuple):
    """Estimates of the best accuracy on labels, with intervals over items.

    Attributes:
      items: with two labels or more, which alone are used.
      labels: labels of an item, in the mean.
      leave_one_out: accuracy of the majority of the other annotators (lower bound).
      estimate: of the best accuracy on single labels, by the fitted distribution.
      upper_bound: of the same.
      plug_in: mean largest share; biased upwards.
      majority: best accuracy on majority labels (the likeliest of tied ones): how often
        an item's majority label is its likeliest one.
    """

    items: int
    labels: float
    leave_one_out: Interval
    estimate: Interval
    upper_bound: Interval
    plug_in: Interval
    majority: Interval


def label_ceiling(counts: np.ndarray, *, seed: int = 0) -> Ceiling:
    """Estimates of the best accuracy that any model can have on such labels.

    Args:
      counts: how many annotators gave each label to each item [U K]. For a reward
        model, which cannot predict a tie: the two columns of the answers.

    Raises:
      ValueError: no item has two labels.

    Reference: Cover and Hart 1967, IEEE Transactions on Information Theory 13 (bounds
    from agreement); Efron 2014, Statistical Science 29 (empirical Bayes).
    """
    counts = np.asarray(counts, np.float64)
    counts = counts[counts.sum(axis=1) > 1]
    if not len(counts):
        raise ValueError("the best accuracy needs items with two labels or more")
    patterns, index = np.unique(counts, axis=0, return_inverse=True)
    index = index.reshape(-1)
    terms = np.stack(
        [
            leave_one_out_accuracy(counts),
            counts.max(axis=1) / counts.sum(axis=1),
            item_agreement(counts),
        ]
    )
    means = lambda w: w @ terms.T / w.sum(axis=1, keepdims=True)
    of_labels = counts.shape[1]
    upper = lambda w: np.minimum(
        means(w)[:, 1], largest_given(means(w)[:, 2], of_labels)
    )
    interval = lambda f: bootstrap_statistic(f, len(counts), seed=seed)
    estimate, majority = fitted_ceilings(patterns, index, seed=seed)
    return Ceiling(
        items=len(counts),
        labels=float(counts.sum() / len(counts)),
        leave_one_out=interval(lambda w: means(w)[:, 0]),
        estimate=estimate,
        upper_bound=interval(upper),
        plug_in=interval(lambda w: means(w)[:, 1]),
        majority=majority,
    )


def leave_one_out_accuracy(counts: np.ndarray) -> np.ndarray:
    """How often the majority of an item's other labels is the label left out [U].

    Tied majorities are right in proportion. Of items with two labels or more.

    >>> leave_one_out_accuracy(np.array([[3, 0], [2, 1], [1, 1]])).round(3).tolist()
    [1.0, 0.333, 0.0]
    """
    counts = np.asarray(counts, np.float64)
    right = np.zeros(len(counts))
    for c, number in enumerate(counts.T):
        others = counts.copy()
        others[:, c] -= 1
        top = others.max(axis=1)
        tied = np.sum(others == top[:, None], axis=1)
        right += number * (others[:, c] == top) / tied
    return right / counts.sum(axis=1)


def largest_given(agreement: np.ndarray, labels: int) -> np.ndarray:
    """The largest mean of max q where the mean of sum q^2 is given (two agree).

    max = (1 + sqrt((K - 1) (K agreement - 1))) / K

    where one label has this share and the others equal ones; concave, so that items
    that are all alike have the largest mean. Of two: (1 + sqrt(2 agreement - 1)) / 2.

    >>> float(largest_given(np.array(0.68), 2))  # 0.8^2 + 0.2^2
    0.8
    """
    room = np.maximum((labels - 1) * (labels * np.asarray(agreement) - 1), 0.0)
    return np.asarray((1 + np.sqrt(room)) / labels)


def fitted_ceilings(
    patterns: np.ndarray, index: np.ndarray, *, seed: int
) -> tuple[Interval, Interval]:
    """The ceilings on single and on majority labels by a fitted Dirichlet distribution.

    Args:
      patterns: different rows of counts [V K].
      index: which of them each item has [U].
    """
    weights = np.bincount(index).astype(np.float64)
    fitted = fit_concentration(patterns, weights=weights)
    estimate = posterior_ceilings(patterns, weights, fitted)
    resampled = []
    for rows in resample_weights(len(index), resamples=FIT_RESAMPLES, seed=seed):
        for row in rows:
            weights = np.bincount(index, row).astype(np.float64)
            again = fit_concentration(patterns, weights=weights, start=fitted)
            resampled.append(posterior_ceilings(patterns, weights, again))
    if len(index) < 2:
        resampled = [(math.nan, math.nan)]
    single, majority = (
        percentile_interval(value, values)
        for value, values in zip(estimate, np.array(resampled).T, strict=True)
    )
    return single, majority


def posterior_ceilings(
    patterns: np.ndarray, weights: np.ndarray, concentration: np.ndarray
) -> tuple[float, float]:
    """The mean over items of E[max q], and of P(the majority label is the likeliest).

    Args:
      patterns: different rows of counts [V K].
      weights: how many items have each [V].
      concentration: of the distribution of q over items [K].
    """
    expected, largest = largest_share(concentration + patterns)
    top = patterns == patterns.max(axis=1, keepdims=True)
    likeliest = np.max(np.where(top, largest, 0.0), axis=1)
    share = weights / weights.sum()
    return float(share @ expected), float(share @ likeliest)
