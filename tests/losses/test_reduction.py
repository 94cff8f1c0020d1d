"""From token terms to a sum and its weight: by hand, micro-batches, masks."""

import jax
import numpy as np
import pytest

from jaxalign import losses

ALL = {
    "token_mean": losses.token_mean,
    "sequence_mean": losses.sequence_mean,
    "constant_length_mean": lambda x, mask: losses.constant_length_mean(
        x, mask, length=10
    ),
}
# rows of 2, 4 and 0 counted tokens
TERMS = np.array([[1, 3, 99, 99, 99], [1, 2, 3, 6, 99], [99] * 5], np.float32)
MASK = np.array([[1, 1, 0, 0, 0], [1, 1, 1, 1, 0], [0] * 5], bool)


@pytest.mark.parametrize(
    "name, total, weight",
    [
        # 1 + 3 + 1 + 2 + 3 + 6 over 6 tokens
        ("token_mean", 16.0, 6.0),
        # means 2 and 3, over the 2 rows that have tokens
        ("sequence_mean", 5.0, 2.0),
        # the same sum, over 2 rows of 10
        ("constant_length_mean", 16.0, 20.0),
    ],
)
def test_by_hand(name, total, weight):
    actual = ALL[name](TERMS, MASK)
    np.testing.assert_allclose(actual, (total, weight), rtol=1e-6)


@pytest.mark.parametrize(
    "name, first, second",
    [
        # what a token weighs in the mean, in the row of 2 and in the row of 4
        ("token_mean", 1 / 6, 1 / 6),
        ("sequence_mean", 1 / 4, 1 / 8),
        ("constant_length_mean", 1 / 20, 1 / 20),
    ],
)
def test_weights_of_tokens(name, first, second):
    def mean(x):
        total, weight = ALL[name](x, MASK)
        return total / weight

    expected = np.where(MASK, np.array([[first], [second], [0.0]]), 0.0)
    np.testing.assert_allclose(jax.grad(mean)(TERMS), expected, rtol=1e-6)


@pytest.mark.parametrize("name", ALL)
def test_micro_batches_add_up(name):
    total = np.array(ALL[name](TERMS, MASK))
    parts = [np.array(ALL[name](TERMS[i, None], MASK[i, None])) for i in range(3)]
    np.testing.assert_allclose(sum(parts), total, rtol=1e-6)


@pytest.mark.parametrize("name", ALL)
def test_masked_is_removed(name):
    actual = np.array(ALL[name](np.where(MASK, TERMS, np.nan), MASK))
    # the row without tokens, and what comes after those of 2 and 4, cut away
    one = np.array(ALL[name](TERMS[:1, :2], MASK[:1, :2]))
    other = np.array(ALL[name](TERMS[1:2, :4], MASK[1:2, :4]))
    np.testing.assert_allclose(actual, one + other, rtol=1e-6)


@pytest.mark.parametrize("name", ALL)
def test_nothing_weighs_nothing(name):
    actual = ALL[name](TERMS, np.zeros_like(MASK))
    np.testing.assert_array_equal(actual, (0.0, 0.0))


def test_of_equal_lengths_all_agree():
    full = np.ones_like(MASK)
    means = [
        np.divide(*ALL["token_mean"](TERMS, full)),
        np.divide(*ALL["sequence_mean"](TERMS, full)),
        np.divide(*losses.constant_length_mean(TERMS, full, length=5)),
    ]
    np.testing.assert_allclose(means, np.full(3, TERMS.mean()), rtol=1e-6)
