"""Scores of given texts: the same as a reward model's own, in any order and batch."""

import dataclasses

import numpy as np
import pytest

import jaxalign
from jaxalign.data.records import Prompt
from jaxalign.pipeline import datasets
from jaxalign.pipeline.evaluation.answer_scorers import load_scorer
from jaxalign.pipeline.evaluation.models import EvaluationConfig, evaluation_mesh
from jaxalign.runtime.config import RunConfig
from tests.support import untrained

WORDS = ["yes", "no, thank you", "", "a longer answer of several words here"]


def prompts_and_answers(count):
    texts = [f"Please repeat the word {i}." for i in range(count)]
    prompts = [
        Prompt([{"role": "user", "content": t}], f"p:{i}") for i, t in enumerate(texts)
    ]
    return prompts, [WORDS[i % 4] for i in range(count)]


@pytest.fixture(scope="module")
def reward(tmp_path_factory):
    return untrained.save_reward(tmp_path_factory.mktemp("reward"))


def test_a_reward_model_scores_texts_as_on_its_own(reward):
    prompts, answers = prompts_and_answers(11)
    config = EvaluationConfig(rows=8)
    scores = load_scorer(str(reward), config, evaluation_mesh(config))(prompts, answers)
    model = jaxalign.load_reward(reward)
    alone = [
        float(model.score([p.messages], [a])[0])
        for p, a in zip(prompts, answers, strict=True)
    ]
    # float32 sums in another order: 1e-5 of scores about 1
    np.testing.assert_allclose(scores, alone, atol=1e-5)
    order = np.arange(11)[::-1]
    again = load_scorer(str(reward), EvaluationConfig(rows=3, mesh="data=1"), None)(
        [prompts[i] for i in order], [answers[i] for i in order]
    )
    np.testing.assert_allclose(again[::-1], scores, atol=1e-5)  # float32 rounding


def test_a_conversation_beyond_the_context_is_named(reward):
    prompts, answers = prompts_and_answers(2)
    scorer = load_scorer(str(reward), EvaluationConfig(context=8), None)
    with pytest.raises(
        ValueError, match="p:0: .* tokens with its prompt, more than the 8"
    ):
        scorer(prompts, answers)


def test_rewards_by_name_and_of_the_toy_world():
    prompts, answers = prompts_and_answers(4)
    length = load_scorer("length:2", EvaluationConfig(), None)(prompts, answers)
    # 1 at 2 words, falling linearly to 0 at 0 and 4 words, negative beyond
    assert length[1] < 1.0 and length[0] == 0.5
    pairs = datasets.load(RunConfig(data="toy")).preferences()[1][:64]
    toy = [Prompt(pair.prompt) for pair in pairs]
    programmed = load_scorer("programmed", EvaluationConfig(), None)
    chosen = programmed(toy, [pair.chosen for pair in pairs])
    rejected = programmed(toy, [pair.rejected for pair in pairs])
    assert chosen.shape == (64,) and chosen.mean() > rejected.mean()
    with pytest.raises(ValueError, match="p:0 is no prompt of the toy world"):
        programmed(prompts, answers)
    exact = load_scorer("exact", EvaluationConfig(), None)
    with_references = [dataclasses.replace(p, references=("yes",)) for p in prompts]
    np.testing.assert_array_equal(exact(with_references, answers), [1, 0, 0, 0])
    with pytest.raises(ValueError, match="p:0 has no reference answer, which --reward"):
        exact(prompts, answers)
    with pytest.raises(ValueError, match="--reward nonsense: "):
        load_scorer("nonsense", EvaluationConfig(), None)
