"""Gains within bins of length, by hand."""

import numpy as np
import pytest

from jaxalign.evaluation.length_gains import length_gain


def test_a_gain_by_length_alone_is_none_within_bins():
    # reward = length / 10, and answers become longer; bins of one length each
    before, after = np.array([10.0, 30.0, 30.0]), np.array([30.0, 30.0, 50.0, 10.0])
    gain = length_gain(before / 10, after / 10, before, after, width=20.0)
    assert gain.total == pytest.approx(3.0 - 7 / 3)
    assert gain.same_length == pytest.approx(0.0) and gain.share == pytest.approx(0.0)


def test_a_gain_at_equal_lengths_is_whole_and_bins_are_weighted_by_their_answers():
    lengths = np.array([5.0, 5.0, 5.0, 25.0])
    before = np.zeros(4)
    after = np.array([1.0, 1.0, 1.0, 5.0])
    gain = length_gain(before, after, lengths, lengths, width=20.0)
    # bins of 6 and 2 answers, gains of 1 and 5
    assert gain.same_length == pytest.approx((6 * 1 + 2 * 5) / 8) == gain.total
    assert gain.share == pytest.approx(1.0)


def test_bins_of_one_side_do_not_count_and_without_any_it_is_nan():
    one, two = np.array([1.0]), np.array([2.0])
    gain = length_gain(one, two, np.array([5.0]), np.array([95.0]))
    assert gain.total == 1.0 and np.isnan(gain.same_length)
