"""Filters by hand and against sorting; drawing against the exact distribution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxalign.sampling import filters

# quarters and sixteenths: sums of these are exact in float32
MASS = np.array([[2, 8, 1, 4, 1]], np.float32) / 16


@pytest.mark.parametrize(
    ("k", "kept"),
    [(1, [1]), (2, [1, 3]), (4, [0, 1, 2, 3]), (5, [0, 1, 2, 3, 4]), (9, range(5))],
)
def test_top_k_keeps_the_largest_and_of_equal_ones_the_first(k, kept):
    assert np.flatnonzero(filters.top_k(MASS, k)[0]).tolist() == list(kept)


@pytest.mark.parametrize(
    ("p", "kept"),
    [
        (0.01, [1]),  # one at least
        (0.5, [1]),  # 8/16 reaches a half
        (0.51, [1, 3]),  # 12/16
        (0.75, [1, 3]),
        (0.9, [0, 1, 2, 3]),  # 14/16 = .875 is short, one sixteenth more reaches
        (1.0, [0, 1, 2, 3, 4]),
    ],
)
def test_top_p_keeps_the_fewest_that_reach_p(p, kept):
    found = filters.top_p(7.0 * MASS, p)  # masses are probabilities up to a factor
    assert np.flatnonzero(found[0]).tolist() == kept
    np.testing.assert_array_equal(found[0, kept], 7.0 * MASS[0, kept])


def test_filters_agree_with_sorting():
    rng = np.random.default_rng(0)
    # a coarse grid makes ties; whole numbers make exact sums
    mass = rng.integers(0, 20, (6, 300)).astype(np.float32)
    order = np.argsort(-mass, axis=1, kind="stable")
    before = np.cumsum(np.take_along_axis(mass, order, 1), 1)
    share = (before - np.take_along_axis(mass, order, 1)) / before[:, -1:]
    for found, kept in [
        (filters.top_k(mass, 37), np.arange(300)[None] < np.full((6, 1), 37)),
        (filters.top_p(mass, 0.37), share < 0.37),
    ]:
        expected = np.zeros_like(mass)
        np.put_along_axis(
            expected, order, np.where(kept, np.take_along_axis(mass, order, 1), 0), 1
        )
        np.testing.assert_array_equal(found, expected)


def test_draw_cuts_the_unit_interval_into_the_probabilities():
    # evenly spread uniforms hit an interval of length p count * p times, give or take
    # the two at its ends: the whole distribution, without noise. Three blocks.
    count, vocabulary = 1 << 15, 300
    logits = np.random.default_rng(1).normal(0, 2, vocabulary).astype(np.float32)
    mass = np.exp(logits - logits.max())
    mass[[0, 5, 299]] = 0.0
    mass[128:256] = 0.0
    uniform = ((np.arange(count) + 0.5) / count).astype(np.float32)
    rows = jnp.broadcast_to(mass, (count, vocabulary))
    drawn = np.asarray(jax.jit(filters.sample_categorical)(rows, uniform))
    hits = np.bincount(drawn, minlength=vocabulary)
    expected = count * mass.astype(np.float64) / mass.sum(dtype=np.float64)
    assert np.abs(hits - expected).max() <= 2.0
    assert not hits[mass == 0].any()


def test_draw_at_the_borders():
    # intervals [0, 1/2), [1/2, 3/4), nothing, [3/4, 1)
    mass = np.tile(np.array([2, 1, 0, 1], np.float32), (5, 1))
    uniform = np.array([0.0, 0.49, 0.5, 0.75, 0.99], np.float32)
    assert filters.sample_categorical(mass, uniform).tolist() == [0, 0, 1, 3, 3]


@pytest.mark.parametrize("vocabulary", [1, 5, 127, 128, 129, 1000])
def test_draw_never_takes_what_has_no_mass(vocabulary):
    rng = np.random.default_rng(vocabulary)
    for _ in range(3):
        # ill-conditioned on purpose, so that partial sums round in both directions
        mass = np.exp(rng.normal(0, 6, vocabulary)).astype(np.float32)
        mass[rng.random(vocabulary) < 0.7] = 0.0
        mass[rng.integers(vocabulary)] = 1e-3
        below_one = np.nextafter(np.float32(1), np.float32(0))
        edges = np.float32([0.0, 1e-9, 0.5, 1 - 1e-6, below_one, 1.0])
        rows = np.broadcast_to(mass, (len(edges), vocabulary)).copy()
        drawn = np.asarray(filters.sample_categorical(rows, edges))
        assert (mass[drawn] > 0).all()
        assert drawn[0] == np.flatnonzero(mass)[0]
