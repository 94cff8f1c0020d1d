"""Two annotators: Cohen's kappa, Kendall's tau-b; rankings: Kendall's W, cycles."""

import math

import numpy as np
import pytest
from scipy import stats

from jaxalign.evaluation.agreement.rankings import (
    Triples,
    count_triples,
    kendall_w,
    kendall_w_interval,
    mean_kendall_w,
    transitivity,
)
from jaxalign.evaluation.agreement.rater_pairs import cohen_kappa, kendall_tau_b
from jaxalign.evaluation.resampling import resample_weights

FIRST = np.array([0, 0, 1, 1, 2, 2])
SECOND = np.array([0, 1, 1, 2, 2, 0])


@pytest.mark.parametrize(
    ("kind", "kappa"),
    [
        # both use each label a third of the time; three pairs differ, by 1, 1, 2:
        # observed 3/6; by chance 6/9 of all pairs differ: 1 - (1/2) / (2/3)
        ("unweighted", 1 / 4),
        # observed (1 + 1 + 2) / 6; by chance (4 * 1 + 2 * 2) / 9 = 8/9: 1 - 3/4
        ("linear", 1 / 4),
        # observed (1 + 1 + 4) / 6 = 1; by chance (4 * 1 + 2 * 4) / 9 = 4/3: 1 - 3/4
        ("quadratic", 1 / 4),
    ],
)
def test_kappa_by_hand(kind, kappa):
    found = cohen_kappa(FIRST, SECOND, labels=3, kind=kind)
    np.testing.assert_allclose(found, kappa, rtol=1e-12)  # float64 rounding
    # other shares of labels: by the definition, with loops
    second = np.array([0, 1, 1, 2, 2, 2])
    power = {"unweighted": 0, "linear": 1, "quadratic": 2}[kind]
    gap = lambda i, j: abs(int(i) - int(j)) ** power * (i != j)
    observed = np.mean([gap(i, j) for i, j in zip(FIRST, second, strict=True)])
    expected = np.mean([gap(i, j) for i in FIRST for j in second])
    found = cohen_kappa(FIRST, second, labels=3, kind=kind)
    # float64 rounding
    np.testing.assert_allclose(found, 1 - observed / expected, rtol=1e-12)


def test_a_label_that_nobody_gave_is_a_step_of_the_scale():
    # 0, 1, 3 of a scale of four: by the definition, with loops
    step = np.array([0, 1, 3])
    first, second = step[FIRST], step[SECOND]
    observed = np.mean(np.abs(first - second))
    expected = np.mean(np.abs(first[:, None] - second))
    found = cohen_kappa(first, second, labels=4, kind="linear")
    # float64 rounding
    np.testing.assert_allclose(found, 1 - observed / expected, rtol=1e-12)


def test_kappa_of_resamples_and_degenerate_labels():
    (weights,) = resample_weights(6, resamples=5, seed=0)
    together = cohen_kappa(FIRST, SECOND, labels=3, weights=weights)
    for row, found in zip(weights.astype(int), together, strict=True):
        one = cohen_kappa(np.repeat(FIRST, row), np.repeat(SECOND, row), labels=3)
        np.testing.assert_allclose(found, one, rtol=1e-12)  # float64 rounding
    assert np.isnan(cohen_kappa(FIRST * 0, FIRST * 0, labels=3))
    assert cohen_kappa(FIRST * 0, FIRST, labels=3) == 0.0  # one of them says nothing
    assert np.isnan(cohen_kappa(FIRST[:0], FIRST[:0], labels=3))


def test_tau_b_with_ties():
    # of 15 pairs 3 are tied in the first, 3 in the second, in none both; of the other 9
    # (0,0)(1,1) (0,0)(1,2) (0,0)(2,2) (0,1)(1,2) (0,1)(2,2) (1,1)(2,2) are concordant,
    # (0,1)(2,0) (1,1)(2,0) (1,2)(2,0) discordant: (6 - 3) / 12
    found = kendall_tau_b(FIRST, SECOND)
    np.testing.assert_allclose(found.mean, 3 / 12, rtol=1e-12)
    assert found.low < found.mean < found.high
    assert math.isnan(kendall_tau_b(FIRST, FIRST * 0).mean)


def test_w_is_the_mean_rank_correlation():
    ratings = np.random.default_rng(1).normal(size=(12, 4))
    rho = stats.spearmanr(ratings).statistic
    mean = (rho.sum() - 4) / 12
    # W = (1 + (m - 1) mean rho) / m, without ties
    np.testing.assert_allclose(kendall_w(ratings), (1 + 3 * mean) / 4, rtol=1e-12)


def test_w_with_ties_by_hand():
    # ranks 1.5 1.5 3 and 1 2.5 2.5: sums 2.5, 4, 5.5: S = 4.5; T = 6 each:
    # 12 * 4.5 / (4 * 24 - 2 * 12) = 54 / 72
    ratings = np.array([[1, 1], [1, 2], [2, 2]])
    np.testing.assert_allclose(kendall_w(ratings), 0.75, rtol=1e-12)
    tied = np.array([[1, 1], [1, 1], [2, 2]])
    np.testing.assert_allclose(kendall_w(tied), 1.0, rtol=1e-12)
    assert math.isnan(kendall_w(tied[:2])) and math.isnan(kendall_w(tied[:, :1]))
    with pytest.raises(ValueError, match="finite rating"):
        kendall_w(np.array([[1.0, np.nan], [2.0, 1.0]]))


def test_intervals_of_w():
    rng = np.random.default_rng(2)
    ratings = rng.normal(size=(60, 1)) + rng.normal(size=(60, 3))
    found = kendall_w_interval(ratings)
    # correlations of 1/2, of ranks a little less: W = (1 + 2 * 0.48) / 3 = 0.65
    assert found.low < 0.65 < found.high and found.mean == kendall_w(ratings)
    parts = mean_kendall_w([ratings[:20], ratings[20:], ratings[:1]])
    both = (kendall_w(ratings[:20]) + kendall_w(ratings[20:])) / 2
    np.testing.assert_allclose(parts.mean, both, rtol=1e-12)
    assert math.isnan(mean_kendall_w([]).mean)


def test_cycles_are_counted():
    # a > b > c > a is the one cycle; d beats all: three triples more; e is only tied
    votes = [
        *(("a", "b", 1), ("b", "c", 1), ("a", "c", 0), ("d", "a", 1), ("b", "d", 0)),
        *(("d", "c", 1), ("e", "a", 0.5), ("e", "b", 1), ("e", "c", 1)),
    ]
    # e with b and c is a fifth, and the majority of two against one decides a > b
    votes += [("b", "a", 0), ("a", "b", 0)]
    assert count_triples(votes) == Triples(5, 1)
    coins = np.random.default_rng(3).integers(0, 2, 40 * 39 // 2)
    pairs = zip(*np.triu_indices(40, 1), strict=True)
    found = count_triples((a, b, c) for (a, b), c in zip(pairs, coins, strict=True))
    assert found.triples == math.comb(40, 3)
    # 1/4 of 9880, which depend on each other little: four deviations of 0.0044
    np.testing.assert_allclose(found.cycles / found.triples, 0.25, atol=0.02)


def test_transitivity_without_a_cycle_is_not_certain():
    found = transitivity([Triples(4, 0), Triples(2, 0), Triples(0, 0)])
    # of two prompts with triples: Clopper and Pearson's bound, 0.025 ** (1 / 2)
    assert found.mean == found.high == 1.0
    np.testing.assert_allclose(found.low, 0.025**0.5, rtol=1e-9)
    assert math.isnan(transitivity([Triples(0, 0)]).mean)
