"""Rotary frequencies by hand."""

import numpy as np
import pytest

from jaxalign.models.rope import RopeScaling, frequencies

# 4 pairs: theta^0, theta^(-1/4), ... with theta = 10^4
PLAIN = np.array([1.0, 0.1, 0.01, 0.001])


def scaled(scaling, *, long=False):
    return frequencies(10_000.0, 8, scaling, long=long)


def test_plain_and_linear():
    np.testing.assert_allclose(scaled(None), PLAIN, rtol=1e-6)
    np.testing.assert_allclose(scaled(RopeScaling("linear", 4.0)), PLAIN / 4, rtol=1e-6)


def test_llama3_interpolates_by_turns():
    """In 2 pi * 30 positions the pairs turn 30, 3, 0.3 and 0.03 times."""
    scaling = RopeScaling("llama3", 8.0, 2 * np.pi * 30, low_turns=1.0, high_turns=5.0)
    # of 3 turns, (3 - 1) / (5 - 1) = the weight is half
    weight = np.array([1.0, 0.5, 0.0, 0.0])
    expected = PLAIN * (weight + (1 - weight) / 8)
    np.testing.assert_allclose(scaled(scaling), expected, rtol=1e-6)


@pytest.mark.parametrize("truncate", [True, False])
def test_yarn_interpolates_by_index(truncate):
    """The pair that turns once has index log_10(original context / 2 pi)."""
    # 30 turns at index 0.52, 0.3 at 2.52: in whole numbers, from 0 to 3
    scaling = RopeScaling(
        "yarn", 8.0, 2 * np.pi * 100, low_turns=0.3, high_turns=30.0, truncate=truncate
    )
    first, last = (0, 3) if truncate else (2 - np.log10(30), 2 - np.log10(0.3))
    weight = 1 - np.clip((np.arange(4) - first) / (last - first), 0, 1)
    expected = PLAIN * (weight + (1 - weight) / 8)
    np.testing.assert_allclose(scaled(scaling), expected, rtol=1e-6)


def test_longrope_has_short_and_long_factors():
    scaling = RopeScaling(
        "longrope", short=(1.0, 1.0, 2.0, 2.0), long=(1.0, 2.0, 4.0, 8.0)
    )
    np.testing.assert_allclose(scaled(scaling), PLAIN / [1, 1, 2, 2], rtol=1e-6)
    np.testing.assert_allclose(
        scaled(scaling, long=True), PLAIN / [1, 2, 4, 8], rtol=1e-6
    )
