"""Rank correlations along a curve, and among answers that a proxy has selected."""

import math

import numpy as np

from jaxalign.evaluation import rank_correlations
from jaxalign.evaluation.sample_metrics import kl_best_of_n


def test_rank_correlations_of_rising_falling_and_equal_curves():
    kl = np.array([kl_best_of_n(n) for n in (1, 2, 4, 8)])
    rising = np.arange(4.0)[:, None] + np.zeros((4, 5))
    assert rank_correlations.trend(kl, rising) == (1.0, 1.0, 1.0)
    assert rank_correlations.trend(kl, -rising) == (-1.0, -1.0, -1.0)
    assert math.isnan(rank_correlations.trend(kl, 0 * rising).mean)
    # ranks 1.5, 1.5, 3 and 1, 2, 3: 1.5 / sqrt(1.5 * 2)
    tied = rank_correlations.rank_correlation(np.array([4.0, 4.0, 5.0]), np.arange(3.0))
    np.testing.assert_allclose(tied, 1.5 / math.sqrt(3.0))


def test_selection_makes_the_proxy_say_less():
    rng = np.random.default_rng(0)
    gold = rng.normal(size=(100, 64))
    heavy = rng.standard_t(2, size=gold.shape)  # errors with heavy tails: Goodhart
    by_n = rank_correlations.selected_correlation(gold, gold + heavy, [1, 8, 64])
    assert by_n[0] > by_n[1] > by_n[2]
