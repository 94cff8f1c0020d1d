"""Wilson's interval, pass@k and pass^k."""

import itertools

import numpy as np
import pytest
from scipy import stats

from jaxalign.evaluation import pass_at_k, proportions


@pytest.mark.parametrize("successes", [0, 1, 37, 50])
def test_wilson_is_scipys(successes):
    theirs = stats.binomtest(successes, 50).proportion_ci(method="wilson")
    found = proportions.wilson_interval(successes, 50)
    # the same formula, in float64
    np.testing.assert_allclose(found, [successes / 50, *theirs], rtol=1e-9, atol=1e-15)


def test_wilson_covers_as_it_says():
    for p in (0.02, 0.3):
        total = 200
        k = np.arange(total + 1)
        bounds = [proportions.wilson_interval(int(i), total) for i in k]
        inside = np.array([b.low <= p <= b.high for b in bounds])
        # exact: the coverage of a discrete distribution varies around 95 %
        assert 0.92 < stats.binom.pmf(k, total, p)[inside].sum() < 0.98


@pytest.mark.parametrize(("successes", "total"), [(3, 2), (-1, 2), (1, -1)])
def test_impossible_counts_are_refused(successes, total):
    with pytest.raises(ValueError, match="not from 0 to all"):
        proportions.wilson_interval(successes, total)


@pytest.mark.parametrize("k", [1, 2, 4])
@pytest.mark.parametrize("c", [0, 1, 3, 5])
def test_pass_at_k_is_the_mean_over_subsets(c, k):
    right = np.arange(5) < c
    subsets = [right[list(s)] for s in itertools.combinations(range(5), k)]
    found = pass_at_k.pass_at_k(5, c, k=k), pass_at_k.pass_all_k(5, c, k=k)
    by_hand = np.mean([s.any() for s in subsets]), np.mean([s.all() for s in subsets])
    np.testing.assert_allclose(np.ravel(found), by_hand, rtol=1e-14)  # float64 rounding


def test_pass_at_k_by_hand_and_with_many_samples():
    # n=10, c=3: 3/10; 1 - C(7,5)/C(10,5) = 1 - 21/252; all where 7 < 8
    found = [pass_at_k.pass_at_k(10, 3, k=k)[0] for k in (1, 5, 8)]
    np.testing.assert_allclose(found, [0.3, 1 - 21 / 252, 1.0], rtol=1e-14)
    # half of 100,000 right: 1 - about 2^-10, without an overflow
    many = pass_at_k.pass_at_k(100_000, 50_000, k=10)[0]
    np.testing.assert_allclose(many, 1 - 2.0**-10, rtol=1e-6)


def test_the_mean_is_over_problems():
    found = pass_at_k.mean_pass_at_k([4, 8], [4, 0], k=2)
    assert found.mean == 0.5 and found.low == 0.0 and found.high == 1.0
    every = pass_at_k.mean_pass_at_k([4, 4], [2, 4], k=2, every=True)
    # C(2,2)/C(4,2) = 1/6, and 1
    np.testing.assert_allclose(every.mean, (1 / 6 + 1) / 2, rtol=1e-14)


@pytest.mark.parametrize(
    ("n", "c", "k", "message"),
    [
        ([3, 2], [1, 3], 1, "problem 1: 3 of 2 samples"),
        ([3, 2], [1, 1], 3, "problem 1: k = 3 needs 3 samples; there are 2"),
        ([3], [1], 0, "k = 0"),
    ],
)
def test_counts_out_of_range_are_named(n, c, k, message):
    with pytest.raises(ValueError, match=message):
        pass_at_k.pass_at_k(n, c, k=k)
