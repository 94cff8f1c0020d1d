"""Intervals that cover what they should, and no more."""

import numpy as np
import pytest

from jaxalign.evaluation import intervals


def test_the_interval_of_a_mean_is_the_normal_one():
    values = np.random.default_rng(0).normal(3.0, 2.0, 1000)
    found = intervals.bootstrap(values)
    half = 1.96 * values.std() / np.sqrt(1000)
    assert found.mean == values.mean()
    # 2000 rounds place a 2.5 % quantile to about 0.06 standard errors: 5 % of 1.96
    np.testing.assert_allclose(found.low, values.mean() - half, atol=0.1 * half)
    np.testing.assert_allclose(found.high, values.mean() + half, atol=0.1 * half)
    narrower = intervals.bootstrap(values, level=0.5)
    # half of a normal distribution lies within 0.674 standard deviations
    width = 2 * 0.674 / 1.96 * half
    np.testing.assert_allclose(narrower.high - narrower.low, width, rtol=0.1)


def test_it_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(1)
    covered = [
        found.low <= 0.3 <= found.high
        for found in (
            intervals.bootstrap((rng.random(100) < 0.3) + 0.0, seed=i)
            for i in range(200)
        )
    ]
    # 95 % of 200, give or take 4 binomial deviations of 1.5 %
    assert 0.89 <= np.mean(covered) <= 1.0


def test_the_same_seed_gives_the_same_bits_however_many_are_held(monkeypatch):
    values = np.random.default_rng(2).random(500)
    found = intervals.bootstrap(values, seed=3)
    assert found == intervals.bootstrap(values, seed=3)
    assert found != intervals.bootstrap(values, seed=4)
    monkeypatch.setattr(intervals, "AT_ONCE", 1_300)
    few = intervals.bootstrap(values, seed=3)
    np.testing.assert_allclose(few, found, rtol=1e-12)


def test_pairs_take_out_what_units_share():
    rng = np.random.default_rng(0)
    shared = 100.0 * rng.normal(size=300)
    theirs, ours = shared + rng.normal(size=300), shared + rng.normal(size=300) + 1.0
    found = intervals.paired(ours, theirs)
    # differences have deviation sqrt 2: half a width of 1.96 * sqrt(2 / 300) = 0.16
    assert found.low > 0.6 and found.high < 1.4
    apart = intervals.bootstrap(ours)
    assert apart.high - apart.low > 10.0
    assert intervals.paired(theirs, ours).mean == -found.mean


@pytest.mark.parametrize("values", [[], [1.0, np.nan], [np.inf, 0.0]])
def test_what_has_no_interval_is_refused(values):
    with pytest.raises(ValueError, match="values, all of them finite"):
        intervals.bootstrap(np.array(values))


def test_other_statistics():
    found = intervals.bootstrap(np.array([1.0, 2.0, 9.0]), statistic=np.median)
    assert found == intervals.Interval(2.0, 1.0, 9.0)
