"""Rank correlations of proxy and gold reward: along a curve, and among its answers."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from jaxalign import lazy
from jaxalign.evaluation.intervals import Interval
from jaxalign.evaluation.resampling import percentile_interval, resample_weights

if TYPE_CHECKING:
    from scipy import stats
else:
    stats = lazy.module("scipy.stats")

RESAMPLES = 1000


def rank_correlation(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Spearman's correlation along the last axis; ties share their mean rank.

    NaN where all numbers of one of them are equal.

    >>> float(rank_correlation(np.array([1.0, 2.0, 9.0]), np.array([3.0, 5.0, 4.0])))
    0.5
    """
    ranks = [stats.rankdata(z, axis=-1) for z in np.broadcast_arrays(x, y)]
    left, right = (r - r.mean(axis=-1, keepdims=True) for r in ranks)
    scale = np.sqrt((left**2).sum(axis=-1) * (right**2).sum(axis=-1))
    product = (left * right).sum(axis=-1)
    return np.where(scale > 0, product / np.where(scale > 0, scale, 1.0), np.nan)


def trend(kl: np.ndarray, values: np.ndarray, *, seed: int = 0) -> Interval:
    """The rank correlation of a curve with KL, over prompts: 1 where it only rises.

    Args:
      kl: of each point [K].
      values: of each point and prompt [K P].
    """
    kl, values = np.asarray(kl, float), np.asarray(values, float)
    prompts = values.shape[1]
    estimate = float(rank_correlation(kl, values.mean(axis=1)))
    chunks = resample_weights(prompts, resamples=RESAMPLES, seed=seed)
    found = [rank_correlation(kl, weights @ values.T) for weights in chunks]
    return percentile_interval(
        estimate, np.concatenate(found) if prompts > 1 else np.array([np.nan])
    )


def selected_correlation(
    gold: np.ndarray, proxy: np.ndarray, ns: Sequence[int]
) -> list[float]:
    """The rank correlation of proxy and gold among answers that are the best of n.

    The N samples of a prompt are divided into groups of n, whose best by the proxy are
    compared: how far the proxy still tells good answers where it has selected them.

    Args:
      gold, proxy: rewards of samples [P N]; what n does not divide is left out.

    >>> gold, proxy = np.array([[0.0, 1.0, 5.0, 2.0]]), np.array([[0.0, 1.0, 3.0, 2.0]])
    >>> selected_correlation(gold, proxy, [1, 2])
    [1.0, 1.0]
    """
    found = []
    for n in ns:
        whole = gold.shape[1] // n * n
        groups = [x[:, :whole].reshape(-1, n) for x in (gold, proxy)]
        best = np.argmax(groups[1], axis=1)[:, None]
        chosen = [np.take_along_axis(x, best, axis=1)[:, 0] for x in groups]
        found.append(float(rank_correlation(*chosen)))
    return found
