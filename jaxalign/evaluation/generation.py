"""Numbers about sampled answers: win rates, and best-of-n."""

import math

import numpy as np

from jaxalign.evaluation.intervals import Interval, bootstrap
from jaxalign.evaluation.preference import agreement


def win_rate(ours: np.ndarray, theirs: np.ndarray, *, seed: int = 0) -> Interval:
    """The share of prompts on which ours is better; a tie is half a win.

    win rate = (wins + ties / 2) / prompts

    Args:
      ours, theirs: rewards of one answer each to the same prompts [P].

    Reference: Zheng et al. 2023, arXiv:2306.05685 (FastChat's adjusted win rate).
    """
    return bootstrap(agreement(ours, theirs), seed=seed)


def best(scores: np.ndarray) -> np.ndarray:
    """The index of each prompt's best answer [P], of scores [P N]; the first on ties.

    >>> best(np.array([[0.0, 2.0, 1.0]])).tolist()
    [1]
    """
    return np.argmax(scores, axis=1)


def expected_best_of(scores: np.ndarray, rewards: np.ndarray, n: int) -> np.ndarray:
    """The expected reward of the best of n by score, from N >= n samples, unbiased [P].

    sum over i = n..N of C(i - 1, n - 1) / C(N, n) * rewards_(i)

    with rewards in rising order of score: the i-th is the best of a random n-subset if
    the n - 1 others are below it. Ties in score go by place.

    Args:
      scores: by which the best is chosen [P N].
      rewards: what is reported [P N].

    Raises:
      ValueError: more are wanted than were sampled.

    >>> expected_best_of(np.array([[1.0, 2.0]]), np.array([[0.0, 1.0]]), 1).tolist()
    [0.5]
    """
    total = scores.shape[1]
    if not 1 <= n <= total:
        raise ValueError(f"best of {n} needs {n} samples a prompt; there are {total}")
    order = np.argsort(scores, axis=1, kind="stable")
    rising = np.take_along_axis(rewards, order, axis=1)
    ways = [math.comb(i, n - 1) / math.comb(total, n) for i in range(total)]
    return rising @ np.array(ways)


def kl_best_of_n(n: int) -> float:
    """KL(best of n || policy) in nats; an upper bound where answers repeat.

    KL = log n - (n - 1) / n

    Reference: Stiennon et al. 2020, arXiv:2009.01325, appendix G.3; Beirami et al.
    2024, arXiv:2401.01879 (the bound).

    >>> round(kl_best_of_n(2), 4)
    0.1931
    """
    return math.log(n) - (n - 1) / n
