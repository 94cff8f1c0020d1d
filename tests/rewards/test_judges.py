"""Judges by hand: a bigram, whose next token depends on the last one only."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxalign.rewards import judge_prompts, judges
from jaxalign.types import LanguageModel

# the logits of the next token after each token; columns 1, 2, 3 are options
TABLE = np.log(
    np.array(
        [
            [5.0, 1.0, 1.0, 1.0],
            [1.0, 2.0, 4.0, 3.0],
            [2.0, 6.0, 2.0, 0.1],
            [4.0, 1.0, 1.0, 2.0],
        ],
        np.float32,
    )
)


class Cache(NamedTuple):
    length: jax.Array


class Config(NamedTuple):
    vocab_size: int = 4
    context: int = 99
    logit_cap: float | None = None


@pytest.fixture
def model():
    hidden = lambda tokens: jnp.eye(4)[tokens]
    return LanguageModel(
        config=Config(),
        init=None,
        specs=None,
        hidden=None,
        unembed=lambda params: params,
        init_cache=lambda rows, room: Cache(jnp.zeros(rows, jnp.int32)),
        extend=lambda params, tokens, cache: (hidden(tokens), cache),
    )


PROMPTS = np.array([[3, 1, 0, 0], [0, 1, 2, 0], [2, 0, 0, 0]], np.int32)
LENGTHS = np.array([2, 3, 1], np.int32)


def test_options_are_read_after_each_prompts_last_token(model):
    # after 1: 2 to 4; after 2: 6 to 2, whatever the other tokens have
    actual = judges.option_logps(model, TABLE, PROMPTS, LENGTHS, ((1,), (2,)))
    expected = [[2 / 6, 4 / 6], [6 / 8, 2 / 8], [6 / 8, 2 / 8]]
    np.testing.assert_allclose(np.exp(actual), expected, rtol=1e-6)


def test_an_option_of_two_tokens_is_not_also_the_one_it_begins_with(model):
    # after 1: p(1) = 2/10, and 3/10 of it goes on with 3; p(2) = 4/10
    actual = judges.option_logps(model, TABLE, PROMPTS, LENGTHS, ((1,), (1, 3), (2,)))
    shorter, longer, other = 0.2 * 0.7, 0.2 * 0.3, 0.4
    expected = np.array([shorter, longer, other]) / (shorter + longer + other)
    np.testing.assert_allclose(np.exp(actual[0]), expected, rtol=1e-5)
    # three deep: what goes on from (1,) is (1, 3) and (1, 3, 0) together
    deep = ((1,), (1, 3), (1, 3, 0))
    actual = judges.option_logps(model, TABLE, PROMPTS, LENGTHS, deep)
    expected = np.array([0.7, 0.3 * (1 - 4 / 8), 0.3 * 4 / 8])
    np.testing.assert_allclose(np.exp(actual[0]), expected, rtol=1e-5)
    for bad in (((1,), (1,)), ((1,), ())):
        with pytest.raises(ValueError, match="options must have tokens, and differ"):
            judges.option_logps(model, TABLE, PROMPTS, LENGTHS, bad)


def test_labels_by_hand_from_both_orders():
    first = np.array([0.9, 0.9, 0.2], np.float32)
    swapped = np.array([0.3, 0.9, 0.6], np.float32)
    p = judges.average_orders(first, swapped)
    # (0.9 + 0.7) / 2, (0.9 + 0.1) / 2, (0.2 + 0.4) / 2
    np.testing.assert_allclose(p, [0.8, 0.5, 0.3], rtol=1e-6)
    other = judges.average_orders(swapped, first)
    np.testing.assert_allclose(other, 1 - p, rtol=1e-6)
    np.testing.assert_allclose(judges.clamp_labels(p), [0.6, 0.5, 0.4], rtol=1e-6)
    p = judges.clamp_labels(p, low=0.2, high=0.7)
    np.testing.assert_allclose(p, [0.7, 0.5, 0.3], rtol=1e-6)


def test_a_judge_who_goes_by_the_place_says_exactly_one_half():
    rng = np.random.default_rng(0)
    first = jax.nn.sigmoid(rng.normal(size=1000) * 9).astype(np.float32)
    assert (np.asarray(judges.average_orders(first, first)) == 0.5).all()


def test_a_rating_is_an_expectation():
    logps = np.log(np.array([[0.5, 0.25, 0.25], [0.0, 0.0, 1.0]]) + 1e-30)
    ratings = np.array([1.0, 2.0, 10.0], np.float32)
    actual = judges.expected_rating(logps.astype(np.float32), ratings)
    np.testing.assert_allclose(actual, [3.5, 10.0], rtol=1e-6)


def test_the_best_stands_against_any_other():
    scores = np.array([[1.0, 3.0, 2.0, 9.0]] * 3000, np.float32)
    mask = np.array([[True, True, True, False]] * 3000)
    best, other = judges.best_and_random(scores, mask, jax.random.key(0))
    assert (np.asarray(best) == 1).all()
    counts = np.bincount(other, minlength=4)
    assert counts[1] == counts[3] == 0
    # 3000 draws of 1/2: five standard deviations
    assert abs(counts[0] - 1500) < 5 * np.sqrt(3000 / 4)


def test_what_a_judge_reads_holds_all_it_needs():
    asked = [{"role": "user", "content": "{q}"}, {"role": "assistant", "content": "r"}]
    text = judge_prompts.comparison_prompt(asked, "{x}", "y", principle="Be kind.")
    assert "Human: {q}\n\nAssistant: r\n\nBe kind." in text
    assert text.index("(A) {x}") < text.index("(B) y") < text.index("answer is:")
    text = judge_prompts.rating_prompt(asked, "x", highest=7)
    assert "Assistant: r" in text and "7 the best" in text and text.endswith("is:")
