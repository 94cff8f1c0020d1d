"""Agreement of scores with preferences."""

import numpy as np

from jaxalign.evaluation.intervals import Interval, Units, bootstrap


def agreement(better: np.ndarray, worse: np.ndarray) -> np.ndarray:
    """1 where the better answer scores higher, 0 where lower, 0.5 on a tie [R].

    Raises:
      ValueError: a score is NaN.

    >>> agreement(np.array([2.0, 1.0]), np.array([1.0, 1.0])).tolist()
    [1.0, 0.5]
    """
    better, worse = np.asarray(better), np.asarray(worse)
    if np.isnan(better).any() or np.isnan(worse).any():
        row = int(np.argmax(np.isnan(better) | np.isnan(worse)))
        raise ValueError(f"a score of row {row} is NaN")
    return (better > worse) + 0.5 * (better == worse)


def accuracy(
    chosen: np.ndarray, rejected: np.ndarray, *, units: Units, seed: int = 0
) -> Interval:
    """The accuracy of scores on pairs; a tie counts as half correct.

    Args:
      chosen, rejected: scores of both answers [R].
      units: the prompt of each pair [R], the unit of the bootstrap, since pairs of one
        prompt share answers and difficulty.
    """
    right = agreement(chosen, rejected)
    return bootstrap(right, units=units, seed=seed, share=True)


def bayes_accuracy(p_chosen: np.ndarray) -> float:
    """The best accuracy that any model can have on sampled preferences.

    mean of max(p, 1 - p)

    Args:
      p_chosen: probability of each preference [R].

    >>> bayes_accuracy(np.array([0.75, 0.25]))
    0.75
    """
    return float(np.mean(np.maximum(p_chosen, 1.0 - p_chosen)))
