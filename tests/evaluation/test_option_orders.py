"""Rotations of options: alignment by hand, and order bias that cancels."""

import numpy as np
import pytest

from jaxalign.evaluation.benchmarks import option_orders


def letters_of(content, letter_bias):
    """Letter log-probs of a model with scores for contents and for letters [1 K K]."""
    logits = content[option_orders.rotations(len(content))] + letter_bias
    return (logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)))[None]


def test_every_option_stands_once_under_each_letter():
    for k in (2, 3, 5):
        orders = option_orders.rotations(k)
        np.testing.assert_array_equal(
            np.sort(orders, axis=0), np.arange(k)[:, None] + 0 * orders
        )
        np.testing.assert_array_equal(
            np.sort(orders, axis=1), np.arange(k) + 0 * orders
        )


def test_alignment_by_hand():
    # rotation 1 shows options 1, 2, 0 under A, B, C: option 0 is C, 1 is A, 2 is B
    letters = np.arange(9.0).reshape(1, 3, 3)
    aligned = option_orders.align_options(letters)
    assert aligned[0].tolist() == [[0, 1, 2], [5, 3, 4], [7, 8, 6]]


def test_a_preference_for_letters_cancels():
    # a bias added to letters' logits moves all options' means alike, up to the
    # normalization of each rotation, which all options share
    content = np.array([0.3, -1.0, 0.5])
    biased = option_orders.option_scores(
        letters_of(content, np.array([4.0, 0.0, -2.0]))
    )
    expected = content - np.log(np.exp(content).sum())
    np.testing.assert_allclose(biased[0], expected, atol=1e-12)  # float64 rounding


def test_a_model_that_always_says_a_has_no_preference():
    letters = letters_of(np.zeros(3), np.array([9.0, 0.0, 0.0]))
    shares = option_orders.choice_shares(option_orders.option_scores(letters))
    np.testing.assert_allclose(shares, 1 / 3)
    assert option_orders.consistent_choices(letters).tolist() == [0.0]
    # exp(9) / (exp(9) + 2)
    probability = option_orders.letter_probabilities(letters)[0, 0]
    assert probability == pytest.approx(np.exp(9) / (np.exp(9) + 2))


def test_a_model_of_content_is_consistent():
    letters = letters_of(np.array([0.0, 5.0, 1.0]), np.zeros(3))
    assert option_orders.consistent_choices(letters).tolist() == [1.0]
    np.testing.assert_allclose(option_orders.letter_probabilities(letters), 1 / 3)


def test_a_nan_names_its_row():
    with pytest.raises(ValueError, match="a score of row 1 is NaN"):
        option_orders.choice_shares(np.array([[0.0, 1.0], [np.nan, 0.0]]))
