"""Losses of value models: by hand, limits, what gets no gradient."""

import chex
import jax
import numpy as np
import pytest

from jaxalign import losses

VALUE, RETURNS = np.random.default_rng(4).normal(0.0, 2.0, (2, 6)).astype(np.float32)


class TestSquaredValue:
    def test_by_hand(self):
        # (3 - 1)^2 / 2, with gradient 3 - 1
        one = np.ones(1, np.float32)
        loss, back = jax.vjp(lambda v: losses.squared_value(v, one), 3 * one)
        np.testing.assert_allclose(loss, [2.0])
        np.testing.assert_allclose(back(one)[0], [2.0])

    def test_is_clipped_value_unclipped(self):
        loss = losses.squared_value(VALUE, RETURNS)
        expected = losses.clipped_value(VALUE, 0 * VALUE, RETURNS, clip=1e9)
        chex.assert_trees_all_close(loss, expected, rtol=1e-6)


class TestHuberValue:
    def test_by_hand(self):
        # errors 1, 3 and -3 at delta 2: 1/2, and 2 * (3 - 1) twice; gradients are the
        # errors, cut at 2
        error = np.array([1.0, 3.0, -3.0], np.float32)
        loss, back = jax.vjp(lambda v: losses.huber_value(v, 0 * v, delta=2.0), error)
        np.testing.assert_allclose(loss, [0.5, 4.0, 4.0], rtol=1e-6)
        gradient = back(np.ones(3, np.float32))[0]
        np.testing.assert_allclose(gradient, [1.0, 2.0, -2.0], rtol=1e-6)

    def test_of_a_large_delta_is_squared(self):
        loss = losses.huber_value(VALUE, RETURNS, delta=1e9)
        expected = losses.squared_value(VALUE, RETURNS)
        chex.assert_trees_all_close(loss, expected, rtol=1e-6)

    def test_of_a_small_delta_is_absolute(self):
        # delta * |error|, less delta^2 / 2, which is a 5e-4th of it at most here
        loss = losses.huber_value(VALUE, RETURNS, delta=1e-4)
        expected = 1e-4 * np.abs(VALUE - RETURNS)
        np.testing.assert_allclose(loss, expected, atol=5.1e-9)


@pytest.mark.parametrize(
    "loss",
    [losses.squared_value, lambda v, r: losses.huber_value(v, r, delta=1.0)],
    ids=["squared_value", "huber_value"],
)
def test_returns_get_no_gradient(loss):
    gradient = jax.grad(lambda r: loss(VALUE, r).sum())(RETURNS)
    chex.assert_trees_all_equal(gradient, 0 * RETURNS)
