"""Running moments: numpy's over the whole stream, whatever the batches."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxalign.estimators.running_moments import (
    empty_moments,
    normalize,
    update,
    variance,
)
from jaxalign.masks import whiten

RNG = np.random.default_rng(0)
BATCHES = RNG.normal(3.0, 2.0, (5, 4, 6)).astype(np.float32)
MASKS = RNG.random((5, 4, 6)) < 0.6


def moments_of(batches, masks):
    """The moments after these batches, one by one."""
    moments = empty_moments()
    for x, mask in zip(batches, masks, strict=True):
        moments = update(moments, x, mask)
    return moments


def test_by_hand():
    # 1, 3: mean 2, m2 2. Then 8: d = 6, n = 3, mean 2 + 6/3 = 4,
    # m2 = 2 + 0 + 36 * 2 * 1 / 3 = 26 = 9 + 1 + 16
    first = update(empty_moments(), np.float32([1, 3]), np.ones(2, bool))
    both = update(first, np.float32([8]), np.ones(1, bool))
    actual = [float(x) for m in (first, both) for x in (m.count, m.mean, m.m2)]
    np.testing.assert_allclose(actual, [2, 2, 2, 3, 4, 26], rtol=1e-6)
    np.testing.assert_allclose(variance(both), 26 / 3, rtol=1e-6)


def test_equal_those_of_all_at_once():
    moments = moments_of(BATCHES, MASKS)
    everything = BATCHES[MASKS].astype(np.float64)
    assert float(moments.count) == everything.size
    np.testing.assert_allclose(moments.mean, everything.mean(), rtol=1e-5)
    np.testing.assert_allclose(variance(moments), everything.var(), rtol=1e-5)
    # as one batch, and one number at a time
    chex.assert_trees_all_close(
        update(empty_moments(), BATCHES, MASKS), moments, rtol=1e-5
    )
    one_by_one = BATCHES[MASKS].reshape(-1, 1)
    welford = moments_of(one_by_one, np.ones(one_by_one.shape, bool))
    chex.assert_trees_all_close(welford, moments, rtol=1e-5)


def test_masked_is_removed():
    padded = np.where(MASKS, BATCHES, np.nan)
    chex.assert_trees_all_equal(moments_of(padded, MASKS), moments_of(BATCHES, MASKS))
    moments = moments_of(BATCHES, MASKS)
    same = update(moments, BATCHES[0], np.zeros((4, 6), bool))
    chex.assert_trees_all_equal(same, moments)


def test_far_from_0_the_variance_keeps_its_digits():
    # about 10^4 float32 steps by 2^-10, so each x is off by 5e-4 at most; a difference
    # of mean squares near 10^8, whose step is 8, would say nothing
    far = (1e4 + RNG.normal(size=(8, 100))).astype(np.float32)
    actual = variance(moments_of(far, np.ones(far.shape, bool)))
    np.testing.assert_allclose(actual, far.astype(np.float64).var(), rtol=1e-2)


def test_scaled_by_the_batch_alone_is_whitening():
    x, mask = BATCHES[0], np.ones((4, 6), bool)
    moments = update(empty_moments(), x, mask)
    for shift_mean in (True, False):
        np.testing.assert_allclose(
            normalize(x, moments, shift_mean=shift_mean),
            whiten(x, mask, shift_mean=shift_mean),
            rtol=1e-5,
            atol=1e-6,
        )


@pytest.mark.parametrize("previous_mean", [[], [2.0]])
def test_before_two_numbers_only_the_mean_is_taken_off(previous_mean):
    x = np.float32(previous_mean)
    moments = update(empty_moments(), x, np.ones(x.shape, bool))
    actual = normalize(BATCHES[0], moments)
    np.testing.assert_allclose(actual, BATCHES[0] - sum(previous_mean), rtol=1e-6)


def test_gradients_agree_with_finite_differences():
    # float64: central differences of step 1e-6 are exact to about 1e-10 / 1e-6
    with jax.enable_x64(True):
        wide = jnp.asarray(BATCHES[0], jnp.float64)
        moments = moments_of(BATCHES, MASKS)
        rescaled = lambda x: normalize(x, update(moments, x, MASKS[0]))
        check_grads(rescaled, (wide,), 1, ["rev"], atol=1e-4, rtol=1e-4, eps=1e-6)


@pytest.mark.parametrize("size", [-1e4, 1e4])
def test_extremes_are_finite(size):
    far = np.where(MASKS[0], size, -size).astype(np.float32)
    total = lambda x: normalize(x, update(empty_moments(), x, MASKS[1])).sum()
    chex.assert_tree_all_finite(jax.value_and_grad(total)(far))


def test_eager_equals_jit_and_scan():
    moments = moments_of(BATCHES, MASKS)
    jitted = jax.jit(update)(empty_moments(), BATCHES[0], MASKS[0])
    chex.assert_trees_all_close(jitted, moments_of(BATCHES[:1], MASKS[:1]), rtol=1e-6)
    step = lambda m, batch: (update(m, *batch), None)
    scanned, _ = jax.lax.scan(step, empty_moments(), (BATCHES, MASKS))
    chex.assert_trees_all_close(scanned, moments, rtol=1e-6)
