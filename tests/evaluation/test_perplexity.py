"""Windows that predict each token once, and ratios of sums with their intervals."""

import itertools
import math

import numpy as np
import pytest

from jaxalign.evaluation.perplexity import (
    bootstrap_ratio,
    sliding_windows,
    text_statistics,
)


@pytest.mark.parametrize(
    "length, context, stride", list(itertools.product((2, 5, 6, 17), (5, 8), (1, 3, 4)))
)
def test_every_token_but_the_first_is_predicted_once(length, context, stride):
    windows = sliding_windows(length, context, stride)
    predicted = [t for w in windows for t in range(w.first_scored, w.stop)]
    assert predicted == list(range(1, length))
    for n, window in enumerate(windows):
        assert window.stop - window.start <= context
        assert window.start < window.first_scored
        if n:  # at least context - stride tokens before the first predicted one
            assert window.first_scored - window.start >= context - stride
            assert window.stop - window.start == context


def test_a_sequence_of_the_beginning_token_alone_has_no_window():
    assert sliding_windows(1, 5, 2) == []


@pytest.mark.parametrize("stride", [0, 5, 9])
def test_a_stride_must_leave_context(stride):
    with pytest.raises(ValueError, match=f"--stride {stride}: expected 1 to 4"):
        sliding_windows(9, 5, stride)


def test_statistics_by_hand():
    # 3 nats over 2 tokens and 6 over 4: 9 / 6 a token; 9 / log 2 bits over 3 bytes
    found = text_statistics(
        np.array([3.0, 6.0]), np.array([2, 4]), np.array([1.0, 2.0]), np.array([0, 1])
    )
    assert found.nll == (1.5, 1.5, 1.5)  # both units have the same ratio
    np.testing.assert_allclose(found.perplexity.mean, math.exp(1.5), rtol=1e-12)
    np.testing.assert_allclose(
        found.bits_per_byte.mean, 9 / math.log(2) / 3, rtol=1e-12
    )


def test_a_single_unit_has_no_bounds():
    found = bootstrap_ratio(np.ones(3), np.ones(3), np.zeros(3))
    assert found.mean == 1.0 and math.isnan(found.low) and math.isnan(found.high)


def test_parts_of_a_unit_are_resampled_together():
    """Splitting units into parts changes no interval; treating parts as units does."""
    rng = np.random.default_rng(0)
    total, weight = rng.normal(2.0, 1.0, 30), rng.integers(1, 9, 30).astype(float)
    units = bootstrap_ratio(total, weight, np.arange(30))
    halves = bootstrap_ratio(
        np.repeat(total / 2, 2), np.repeat(weight / 2, 2), np.repeat(np.arange(30), 2)
    )
    # the same sums, rounded in another order
    np.testing.assert_allclose(halves, units, rtol=1e-12)
    apart = bootstrap_ratio(
        np.repeat(total / 2, 2), np.repeat(weight / 2, 2), np.arange(60)
    )
    # twice as many units: about 1 / sqrt(2) of the width
    assert apart.high - apart.low < 0.85 * (units.high - units.low)


def test_the_interval_covers_the_ratio_in_95_percent_of_samples():
    """Units of 1 to 8 tokens whose NLL a token is 2 with a standard deviation of 1.

    Of 300 samples of 40 units each the percentile bootstrap covers a little less than
    0.95: between 0.90 and 0.98, four standard errors of 0.0126 around 0.94.
    """
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(300):
        weight = rng.integers(1, 9, 40).astype(float)
        total = weight * rng.normal(2.0, 1.0, 40)
        found = bootstrap_ratio(total, weight, np.arange(40))
        covered += found.low <= 2.0 <= found.high
    assert 0.89 <= covered / 300 <= 0.99


def test_nothing_and_nan_are_refused():
    for values in (np.zeros(0), np.array([1.0, np.nan])):
        with pytest.raises(ValueError, match="a ratio needs parts, all of them finite"):
            bootstrap_ratio(values, np.ones(len(values)), np.arange(len(values)))
