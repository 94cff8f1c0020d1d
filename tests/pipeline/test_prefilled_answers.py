"""Answers that begin with given tokens, on a model that is a table."""

import jax
import numpy as np
import pytest

from jaxalign.data.records import Prompt
from jaxalign.pipeline import prefilled_answers, rollouts
from jaxalign.pipeline.prompts import tokenize_prompts
from jaxalign.sampling import SamplingParams
from tests.support.table_model import table_policy

WORDS = ["how", "no", "sure", "first", "then"]
BOS, END, HOW, NO, SURE, FIRST, THEN = range(7)
# aligned in the first token of an answer alone: after "sure" it goes on as before
NEXT = {HOW: NO, NO: END, SURE: FIRST, FIRST: THEN, THEN: END, BOS: HOW, END: END}
ANSWER = "sure first then"


@pytest.fixture(scope="module")
def policy():
    table = np.full((7, 7), np.log(0.02))
    for last, token in NEXT.items():
        table[last, token] = np.log(0.88)
    return table_policy(WORDS, table)


def answers(policy, tokens, *, answer=ANSWER, **options):
    prompts = [Prompt([{"role": "user", "content": "how"}])] * 2
    prefilled = prefilled_answers.prefill_answers(policy, prompts, [answer] * 2, tokens)
    options = {"max_new_tokens": 6, "temperature": 0.0} | options
    return prefilled, prefilled_answers.sample_prefilled(
        policy, prefilled, jax.random.key(0), SamplingParams(**options)
    )


@pytest.mark.parametrize(
    "tokens, expected", [(0, "no"), (1, ANSWER), (2, ANSWER), (3, ANSWER), (9, ANSWER)]
)
def test_a_shallowly_aligned_model_complies_once_its_answer_has_begun(
    policy, tokens, expected
):
    prefilled, sampled = answers(policy, tokens)
    assert sampled.texts == [expected] * 2
    given = [SURE, FIRST, THEN][:tokens]  # never the token that ends the turn
    assert [row.tolist() for row in prefilled.given] == [given] * 2
    assert [row.tolist()[-len(given) - 1 :] for row in prefilled.prompts.rows] == [
        [HOW, *given]
    ] * 2
    # what was sampled, its end included, is what counts as the answer's tokens
    assert sampled.lengths.tolist() == [len(expected.split()) - len(given) + 1] * 2


def test_without_given_tokens_it_is_sampling(policy):
    _, ours = answers(policy, 0, temperature=1.0, samples=8)
    prompts = [Prompt([{"role": "user", "content": "how"}])] * 2
    theirs = rollouts.sample_answers(
        policy,
        tokenize_prompts(policy, prompts),
        jax.random.key(0),
        max_new_tokens=6,
        samples=8,
        temperature=1.0,
    )
    assert ours.texts == theirs.texts and len(set(ours.texts)) > 1


def test_the_rest_of_an_answer_has_its_probability(policy):
    # after "sure", the rest is "first then" with probability 0.88^3 = 0.681
    _, sampled = answers(policy, 1, temperature=1.0, samples=400)
    share = np.mean([text == ANSWER for text in sampled.texts])
    assert abs(share - 0.88**3) < 4 * np.sqrt(0.681 * 0.319 / 800)


def test_bad_input_is_named(policy):
    prompt = Prompt([{"role": "user", "content": "how"}])
    with pytest.raises(ValueError, match="1 prompts, but 2 answers"):
        prefilled_answers.prefill_answers(policy, [prompt], ["no", "no"], 1)
    with pytest.raises(ValueError, match="0 or more"):
        prefilled_answers.prefill_answers(policy, [prompt], ["no"], -1)
