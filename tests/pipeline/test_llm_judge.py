"""A language model as judge: option probabilities, position bias, principles."""

import dataclasses

import jax
import numpy as np
import pytest

from jaxalign.batches import from_lengths
from jaxalign.data import chat
from jaxalign.data.records import Prompt, assistant_message
from jaxalign.pipeline import (
    judge_rows,
    llm_judge,
    text_rewards,
)
from jaxalign.pipeline.llm_judge import AnswerSet, user_message
from jaxalign.rewards import judge_prompts
from jaxalign.training import forward
from tests.support.tiny_judge import ANSWER_SETS, QUESTION, compare, make_judge


@pytest.fixture(scope="module")
def tiny():
    return make_judge()


@pytest.fixture(scope="module")
def biased(tiny):
    """A judge who goes by the last token alone, which is the same in both orders."""
    width, letters = tiny.config.width, len(tiny.tokenizer)
    first, second = jax.random.split(jax.random.key(0))
    table = jax.random.normal(first, (width, letters))
    embed = jax.random.normal(second, (letters, width))
    stub = tiny.model._replace(
        unembed=lambda params: table,
        extend=lambda params, tokens, cache: (embed[tokens], cache),
    )
    return dataclasses.replace(tiny, model=stub)


def test_options_are_scored_as_the_model_would_say_them(tiny):
    question = [llm_judge.user_message("Which, of the two, is it?")]
    (found,) = llm_judge.option_logprobs(tiny, [question], ("A", "B"), batch_size=1)
    np.testing.assert_allclose(np.exp(found).sum(), 1.0, rtol=1e-5)
    said_so = [
        chat.encode(tiny.tokenizer, [*question, assistant_message(x)]) for x in "AB"
    ]
    # without the end of the turn
    tokens = np.stack([one.tokens[:-1] for one in said_so])
    lengths = np.full(2, tokens.shape[1])
    rows = from_lengths(tokens, lengths, lengths - said_so[0].mask.sum() + 1)
    logp = forward.token_logps(tiny.model, tiny.params, rows)
    each, _ = forward.row_sums(logp, rows.loss_mask)
    np.testing.assert_allclose(found[0] - found[1], each[0] - each[1], atol=1e-4)


def test_a_judge_is_a_reward_of_answers(tiny):
    """Each answer is rated by itself, whatever stands beside it in the batch."""
    prompts = [Prompt(QUESTION), Prompt([user_message("Why?")]), Prompt(QUESTION)]
    texts = ["Well, thank you.", "Well, thank you.", "No!"]
    score = text_rewards.llm_rating_reward(tiny)
    found = score(prompts, texts, np.ones(3, bool))["reward"]
    assert found.shape == (3,) and len(set(found.tolist())) == 3
    assert (found >= 1).all() and (found <= 10).all()
    question = judge_prompts.rating_prompt(QUESTION, "No!", highest=10)
    options = [str(k) for k in range(1, 11)]
    logps = llm_judge.option_logprobs(
        tiny, [[user_message(question)]], options, batch_size=1
    )
    np.testing.assert_allclose(found[2], np.exp(logps[0]) @ np.arange(1, 11), rtol=1e-4)


def test_swapped_answers_swap_the_label(tiny):
    (first, *_), (single,) = compare(tiny, ANSWER_SETS)
    assert (first.i, first.j) == (0, 1)
    swapped = [AnswerSet(one.prompt, one.answers[::-1]) for one in ANSWER_SETS]
    (*_, last), (other,) = compare(tiny, swapped)
    np.testing.assert_allclose(other.p, 1.0 - single.p, atol=1e-4)
    np.testing.assert_allclose(last.p, 1.0 - first.p, atol=1e-4)
    assert abs(first.p - 0.5) > 1e-3
    expected = 0.5 * (first.first + 1.0 - first.swapped)
    np.testing.assert_allclose(first.p, expected, rtol=1e-6)


def test_a_judge_who_goes_by_the_place_prefers_nothing(biased):
    found = compare(biased, ANSWER_SETS)
    every = [pair for pairs in found for pair in pairs]
    assert {pair.p for pair in every} == {0.5} and len(every) == 4
    assert all(abs(pair.first - 0.5) > 0.1 for pair in every)
    assert judge_rows.soft_pairs(ANSWER_SETS[0], found[0]) == []
    assert (
        judge_rows.mean_win_probabilities(ANSWER_SETS[0], found[0]).tolist()
        == [0.5] * 3
    )


def test_principles_are_drawn_for_each_comparison(tiny, monkeypatch):
    seen = []

    def ask(model, questions, options, *, batch_size):
        seen.extend(question[0]["content"] for question in questions)
        return np.log(np.full((len(questions), 2), 0.5, np.float32))

    monkeypatch.setattr(llm_judge, "option_logprobs", ask)
    compare(tiny, [ANSWER_SETS[1]] * 60, ["Be kind.", "Be true."])
    kind = ["Be kind." in text for text in seen]
    assert kind[::2] == kind[1::2]  # both orders by one principle
    assert 10 < sum(kind[::2]) < 50 and len(seen) == 120
    assert seen[0].index("Still well.") < seen[0].index("I told you.")
    assert seen[1].index("Still well.") > seen[1].index("I told you.")
    alone = len(seen)
    compare(tiny, [*ANSWER_SETS, ANSWER_SETS[1]], ["Be kind.", "Be true."])
    assert seen[-4:] == seen[:4]  # whatever else is judged, the same are drawn
    assert len(seen) > alone + 4
