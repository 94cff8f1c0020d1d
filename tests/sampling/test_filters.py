"""Top-k and top-p by hand, and against sorting."""

import numpy as np
import pytest

from jaxalign.sampling import filters

# quarters and sixteenths: sums of these are exact in float32
MASS = np.array([[2, 8, 1, 4, 1]], np.float32) / 16


@pytest.mark.parametrize(
    ("k", "indices"),
    [(1, [1]), (2, [1, 3]), (4, [0, 1, 2, 3]), (5, [0, 1, 2, 3, 4]), (9, range(5))],
)
def test_top_k_keeps_the_largest_and_of_equal_ones_the_first(k, indices):
    assert np.flatnonzero(filters.top_k(MASS, k)[0]).tolist() == list(indices)


@pytest.mark.parametrize(
    ("p", "indices"),
    [
        (0.01, [1]),  # one at least
        (0.5, [1]),  # 8/16 reaches a half
        (0.51, [1, 3]),  # 12/16
        (0.75, [1, 3]),
        (0.9, [0, 1, 2, 3]),  # 14/16 = .875 is short, one sixteenth more reaches
        (1.0, [0, 1, 2, 3, 4]),
    ],
)
def test_top_p_keeps_the_fewest_that_reach_p(p, indices):
    filtered = filters.top_p(7.0 * MASS, p)  # masses are probabilities up to a factor
    assert np.flatnonzero(filtered[0]).tolist() == indices
    np.testing.assert_array_equal(filtered[0, indices], 7.0 * MASS[0, indices])


def test_filters_agree_with_sorting():
    rng = np.random.default_rng(0)
    # a coarse grid makes ties; whole numbers make exact sums
    mass = rng.integers(0, 20, (6, 300)).astype(np.float32)
    order = np.argsort(-mass, axis=1, kind="stable")
    before = np.cumsum(np.take_along_axis(mass, order, 1), 1)
    share = (before - np.take_along_axis(mass, order, 1)) / before[:, -1:]
    for filtered, indices in [
        (filters.top_k(mass, 37), np.arange(300)[None] < np.full((6, 1), 37)),
        (filters.top_p(mass, 0.37), share < 0.37),
    ]:
        expected = np.zeros_like(mass)
        np.put_along_axis(
            expected, order, np.where(indices, np.take_along_axis(mass, order, 1), 0), 1
        )
        np.testing.assert_array_equal(filtered, expected)
