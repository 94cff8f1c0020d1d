"""The performance gap recovered: by hand, its interval, and where it is undefined."""

import numpy as np
import pytest

from jaxalign.evaluation import weak_to_strong
from jaxalign.evaluation.weak_to_strong import (
    performance_gap_recovered,
    recovered_interval,
)


def accuracy(right, prompts=400):
    """So many right of so many prompts."""
    return (np.arange(prompts) < right).astype(float)


def test_by_hand():
    # 0.6 to 0.9 is a gap of 0.3: 0.75 is half of it, 0.5 is a third below
    assert performance_gap_recovered(0.6, 0.75, 0.9) == pytest.approx(0.5)
    assert performance_gap_recovered(0.6, 0.5, 0.9) == pytest.approx(-1 / 3)
    assert np.isnan(performance_gap_recovered(0.6, 0.7, 0.6))


def test_of_two_seeds_the_mean_is_that_of_the_means():
    # weak 0.5 and 0.7, student 0.6 and 0.8, ceiling 0.9 and 0.9: (0.7 - 0.6) / 0.3
    # (and not the mean of 1 / 4 and 1 / 2)
    found = recovered_interval(
        [accuracy(200), accuracy(280)],
        [accuracy(240), accuracy(320)],
        [accuracy(360), accuracy(360)],
    )
    assert found.mean == pytest.approx(1 / 3)
    assert found.low < found.mean < found.high


def test_the_ends_are_certain():
    weak, ceiling = [accuracy(200)], [accuracy(360)]
    for student, share in ((weak, 0.0), (ceiling, 1.0)):
        found = recovered_interval(weak, student, ceiling)
        np.testing.assert_allclose(found, [share] * 3, atol=1e-12)


def test_the_interval_is_that_of_the_delta_method():
    # weak always wrong, ceiling always right: the share is the student's accuracy,
    # with sd sqrt(0.5 * 0.5 / 400) = 0.025; percentiles of 2,000 resamples know the
    # ends to some percent of their width
    found = recovered_interval([accuracy(0)], [accuracy(200)], [accuracy(400)])
    np.testing.assert_allclose(found, [0.5, 0.5 - 0.049, 0.5 + 0.049], atol=0.005)


def test_seeds_are_resampled():
    # students of 0 and 1 by seed alone: both ends are drawn in a quarter of resamples
    found = recovered_interval(
        [accuracy(0)] * 2, [accuracy(0), accuracy(400)], [accuracy(400)] * 2
    )
    np.testing.assert_allclose(found, [0.5, 0.0, 1.0], atol=1e-12)


@pytest.mark.parametrize("ceiling", [200, 202, 100])
def test_undefined_where_the_gap_is_within_noise(ceiling):
    # equal, half a percent apart in 400 prompts of other outcomes, and below the weak
    rng = np.random.default_rng(0)
    weak = rng.permutation(accuracy(200))
    found = recovered_interval([weak], [accuracy(300)], [accuracy(ceiling)])
    assert np.isnan(found).all()


def test_values_of_other_prompts_are_refused():
    with pytest.raises(ValueError, match=r"differ in \(seeds, prompts\)"):
        recovered_interval([accuracy(1)], [accuracy(1, 3)], [accuracy(1)])
    with pytest.raises(ValueError, match="the same prompts"):
        recovered_interval([accuracy(1), accuracy(1, 3)], [], [])
    with pytest.raises(ValueError, match="finite"):
        recovered_interval([np.array([np.nan])], [np.ones(1)], [np.ones(1)])


def test_a_resample_draws_as_many_as_there_are():
    # of constant values every mean is the constant
    means = weak_to_strong.resampled_means(
        np.full((3, 2, 5), 0.25), np.random.default_rng(0)
    )
    np.testing.assert_allclose(means, 0.25)
