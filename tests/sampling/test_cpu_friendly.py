"""Sampling by the inverse CDF against the exact distribution; argmax of ties."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxalign.sampling import cpu_friendly


def test_first_argmax_is_jnp_argmax():
    x = np.random.default_rng(0).integers(0, 4, (64, 9)).astype(np.float32)
    highest = x.max(axis=1, keepdims=True)
    assert ((x == highest).sum(axis=1) > 1).any()  # ties
    index = cpu_friendly.first_argmax(jnp.asarray(x), jnp.asarray(highest))
    np.testing.assert_array_equal(index, np.argmax(x, axis=1))


def test_sample_categorical_cuts_the_unit_interval_into_the_probabilities():
    # evenly spread uniforms hit an interval of length p count * p times, give or take
    # the two at its ends: the whole distribution, without noise. Three blocks.
    count, vocabulary = 1 << 15, 300
    logits = np.random.default_rng(1).normal(0, 2, vocabulary).astype(np.float32)
    mass = np.exp(logits - logits.max())
    mass[[0, 5, 299]] = 0.0
    mass[128:256] = 0.0
    uniform = ((np.arange(count) + 0.5) / count).astype(np.float32)
    rows = jnp.broadcast_to(mass, (count, vocabulary))
    sampled = np.asarray(jax.jit(cpu_friendly.sample_categorical)(rows, uniform))
    hits = np.bincount(sampled, minlength=vocabulary)
    expected = count * mass.astype(np.float64) / mass.sum(dtype=np.float64)
    assert np.abs(hits - expected).max() <= 2.0
    assert not hits[mass == 0].any()


def test_sample_categorical_at_the_borders():
    # intervals [0, 1/2), [1/2, 3/4), nothing, [3/4, 1)
    mass = np.tile(np.array([2, 1, 0, 1], np.float32), (5, 1))
    uniform = np.array([0.0, 0.49, 0.5, 0.75, 0.99], np.float32)
    assert cpu_friendly.sample_categorical(mass, uniform).tolist() == [0, 0, 1, 3, 3]


@pytest.mark.parametrize("vocabulary", [1, 5, 127, 128, 129, 1000])
def test_sample_categorical_never_takes_an_index_without_mass(vocabulary):
    rng = np.random.default_rng(vocabulary)
    for _ in range(3):
        # ill-conditioned on purpose, so that partial sums round in both directions
        mass = np.exp(rng.normal(0, 6, vocabulary)).astype(np.float32)
        mass[rng.random(vocabulary) < 0.7] = 0.0
        mass[rng.integers(vocabulary)] = 1e-3
        below_one = np.nextafter(np.float32(1), np.float32(0))
        edges = np.float32([0.0, 1e-9, 0.5, 1 - 1e-6, below_one, 1.0])
        rows = np.broadcast_to(mass, (len(edges), vocabulary)).copy()
        sampled = np.asarray(cpu_friendly.sample_categorical(rows, edges))
        assert (mass[sampled] > 0).all()
        assert sampled[0] == np.flatnonzero(mass)[0]
