"""Rewards by hand: where a score is read, what normalising keeps, programmed ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxalign import batches
from jaxalign.rewards import reward_model, rule_based, shaping
from jaxalign.types import ScalarModel


@pytest.fixture
def model():
    """The score at t: weight * (10 * position + token) + bias."""

    def scores(params, tokens, positions, segments, at):
        head, numbers = params["head"], 10.0 * positions + tokens
        wanted = jnp.take_along_axis(numbers, at, axis=1)
        return head["weight"][0] * wanted + head["bias"]

    return ScalarModel(None, None, lambda: None, scores, None)


@pytest.fixture
def params():
    return {
        "trunk": jnp.ones(3),
        "head": {"weight": jnp.ones(1), "bias": jnp.zeros(())},
    }


def rows(padding=0):
    tokens = np.pad([[1, 2, 3, 4], [5, 6, 7, 8], [9, 1, 1, 1]], ((0, 0), (0, padding)))
    return batches.from_lengths(
        tokens.astype(np.int32), np.array([4, 2, 1]), np.array([1, 1, 1])
    )


def test_score_is_read_at_the_last_token_whatever_the_padding(model, params):
    # 10 * 3 + 4, 10 * 1 + 6, 10 * 0 + 9
    score = jax.jit(reward_model.score, static_argnums=0)
    for padding in (0, 5):
        assert score(model, params, rows(padding)).tolist() == [34.0, 16.0, 9.0]


def test_a_normalised_model_has_mean_0_and_deviation_1(model, params):
    params = {**params, "head": {"weight": 2.0 * jnp.ones(1), "bias": jnp.array(3.0)}}
    before = np.asarray(reward_model.score(model, params, rows()))
    normal = reward_model.normalize(params, before)
    after = np.asarray(reward_model.score(model, normal, rows()))
    np.testing.assert_allclose(
        after, (before - before.mean()) / before.std(), rtol=1e-5
    )
    assert normal["trunk"] is params["trunk"]
    # doing it again changes nothing
    again = reward_model.normalize(normal, after)
    np.testing.assert_allclose(
        again["head"]["weight"], normal["head"]["weight"], rtol=1e-5
    )
    with pytest.raises(ValueError, match="all scores are the same"):
        reward_model.normalize(params, np.full(4, 0.5))


def test_missing_eos_lowers_or_sets_the_score():
    score = np.array([0.7, 0.7, -2.0], np.float32)
    ended = np.array([True, False, False])
    np.testing.assert_allclose(
        shaping.penalize_missing_eos(score, ended, penalty=1.0),
        [0.7, -0.3, -3.0],
        rtol=1e-6,
    )
    np.testing.assert_allclose(
        shaping.assign_missing_eos(score, ended, value=-1.0),
        [0.7, -1.0, -1.0],
        rtol=1e-6,
    )
    # a score that was never good is no better for not ending
    assert (
        shaping.penalize_missing_eos(score, ended, penalty=0.0).tolist()
        == score.tolist()
    )


def test_a_word_list_counts_the_ending_only():
    words = {"happy"}
    assert rule_based.word_list_reward("", words) == 0.0
    assert rule_based.word_list_reward("sad and blue", words) == 0.0
    # 1 of 20 words: 10 / 20
    assert rule_based.word_list_reward("Happy! " + "word " * 19, words) == 0.5
    # the same word, with 30 others behind it, is no ending
    assert rule_based.word_list_reward("happy " + "word " * 30, words) == 0.0
    assert rule_based.word_list_reward("word " * 90 + "HAPPY.", words) == pytest.approx(
        10 / 30
    )
    # more than a tenth gains nothing
    assert rule_based.word_list_reward("happy " * 30, words) == 1.0
    assert (
        rule_based.word_list_reward("they were happy and the end came to us all", words)
        == 1.0
    )


def test_length_reward_is_1_at_its_target_and_falls_evenly():
    tokens = np.array([0, 25, 50, 75, 150])
    assert rule_based.length_reward(tokens, target=50).tolist() == [
        0.0,
        0.5,
        1.0,
        0.5,
        -1.0,
    ]
