"""The reducers: by hand, masked = removed, global under any number of devices."""

import chex
import jax
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jax.test_util import check_grads

from jaxalign import masks

X = np.random.default_rng(0).normal(2.0, 3.0, (8, 5)).astype(np.float32)
MASK = np.random.default_rng(1).random((8, 5)) < 0.6


def test_whiten_by_hand():
    # 1, 3, 5: mean 3, population variance 8/3
    x = np.float32([1.0, 3.0, 5.0, 99.0])
    mask = np.array([True, True, True, False])
    scale = np.sqrt(3 / 8)
    shifted = masks.whiten(x, mask)
    np.testing.assert_allclose(shifted, [-2 * scale, 0, 2 * scale, 0], rtol=1e-5)
    with_mean = masks.whiten(x, mask, shift_mean=False)
    np.testing.assert_allclose(
        with_mean, [3 - 2 * scale, 3, 3 + 2 * scale, 0], rtol=1e-5
    )


@pytest.mark.parametrize("reduce", [masks.masked_mean, masks.masked_sum])
def test_masked_is_removed(reduce):
    dirty = np.where(MASK, X, np.nan).astype(np.float32)
    expected = X[MASK].mean() if reduce is masks.masked_mean else X[MASK].sum()
    np.testing.assert_allclose(reduce(dirty, MASK), expected, rtol=1e-5)
    gradient = jax.grad(lambda x: reduce(x, MASK))(dirty)
    assert np.isfinite(gradient).all() and (gradient[~MASK] == 0).all()


def test_mean_of_nothing_is_0():
    found = jax.value_and_grad(lambda x: masks.masked_mean(x, np.zeros_like(MASK)))(X)
    chex.assert_trees_all_equal(found, (np.float32(0.0), np.zeros_like(X)))


def test_whiten_of_nothing_and_of_constants_is_finite():
    for mask in (np.zeros_like(MASK), np.ones_like(MASK)):
        found = masks.whiten(np.full_like(X, 7.0), mask)
        np.testing.assert_allclose(found, 0.0, atol=1e-6)


def test_whiten_ignores_padding_and_devices():
    wide = np.pad(X, ((0, 0), (0, 3)), constant_values=np.nan)
    mask = np.pad(MASK, ((0, 0), (0, 3)))
    plain = masks.whiten(X, MASK)
    chex.assert_trees_all_close(masks.whiten(wide, mask)[:, :5], plain, atol=1e-6)
    np.testing.assert_allclose(np.var(plain[MASK]), 1.0, rtol=1e-5)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    spread = jax.device_put((X, MASK), NamedSharding(mesh, PartitionSpec("data")))
    # sums in another order: float32 rounding
    chex.assert_trees_all_close(jax.jit(masks.whiten)(*spread), plain, atol=1e-6)


def test_gradients():
    with jax.enable_x64(True):
        wide = X.astype(np.float64)
        function = lambda x: (masks.whiten(x, MASK) ** 3).sum()
        check_grads(function, (wide,), order=1, modes=["rev"], rtol=1e-4, atol=1e-4)
