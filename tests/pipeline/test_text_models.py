"""Models on text: what a notebook does with a folder."""

import re
from pathlib import Path

import jax
import numpy as np
import optax
import pytest

import jaxalign
from jaxalign.models import heads
from jaxalign.pipeline import model_folders
from jaxalign.training import make_step, objectives, state
from tests.support import untrained

README = Path(__file__).parents[2] / "README.md"
PROMPTS = ["What is 2 + 2?", "Name a color."]
ANSWERS = ["4", "Red, or a very dark green."]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return untrained.save(tmp_path_factory.mktemp("policy"))


@pytest.fixture(scope="module")
def model(folder):
    return jaxalign.load(folder)


def test_logprobs_are_those_of_the_logits(model):
    logits = model.logits(PROMPTS, ANSWERS)
    logp = jax.nn.log_softmax(logits)
    batch = model.pairs(PROMPTS, ANSWERS, ANSWERS).chosen
    # logits[t] predicts token t + 1
    targets = np.asarray(batch.tokens)[:, 1:, None]
    each = np.take_along_axis(np.asarray(logp)[:, :-1], targets, axis=2)[:, :, 0]
    expected = (each * np.asarray(batch.loss_mask)[:, 1:]).sum(axis=1)
    # float32 sums of up to 30 log-probs in another order
    np.testing.assert_allclose(model.logprobs(PROMPTS, ANSWERS), expected, rtol=1e-5)


def test_a_row_does_not_depend_on_the_others(model):
    together = model.logprobs(PROMPTS, ANSWERS)
    alone = [model.logprobs([p], [a])[0] for p, a in zip(PROMPTS, ANSWERS, strict=True)]
    # the padded length differs, and with it the order of sums
    np.testing.assert_allclose(together, alone, rtol=1e-5)


def test_a_greedy_answer_begins_with_the_likeliest_token(model):
    (text,) = model.generate(PROMPTS[:1], max_new_tokens=1, temperature=0)
    answer = model.pairs(PROMPTS[:1], ["4"], ["4"]).chosen.loss_mask[0]
    before = int(np.argmax(answer)) - 1  # the prompt's last token
    likeliest = int(np.argmax(model.logits(PROMPTS[:1])[0, before]))
    assert text == model.policy.tokenizer.decode([likeliest], skip_special_tokens=True)


def test_seeds_and_prompts_decide_an_answer(model):
    one = model.generate(PROMPTS, max_new_tokens=8, seed=3)
    assert one == model.generate(PROMPTS, max_new_tokens=8, seed=3)
    assert one != model.generate(PROMPTS, max_new_tokens=8, seed=4)
    assert one[1] == model.generate(PROMPTS[1:], max_new_tokens=8, seed=3)[0]


def test_messages_are_prompts_too(model):
    said = [[{"role": "user", "content": prompt}] for prompt in PROMPTS]
    np.testing.assert_array_equal(
        model.logprobs(said, ANSWERS), model.logprobs(PROMPTS, ANSWERS)
    )


def test_one_string_is_no_list(model):
    with pytest.raises(TypeError, match="expected a list, such as"):
        model.logprobs(PROMPTS[0], ANSWERS[:1])
    with pytest.raises(ValueError, match="2 prompts, but 1 answers"):
        model.logprobs(PROMPTS, ANSWERS[:1])


@pytest.fixture(scope="module")
def reward_folder(model, tmp_path_factory):
    scalar = heads.scalar_model(model.policy.config)
    params = scalar.init(jax.random.key(0))
    out = tmp_path_factory.mktemp("reward")
    model_folders.save_scalar(out, scalar, params, model.policy)
    return out


def test_scores_of_a_reward_model(reward_folder):
    reward = jaxalign.load_reward(reward_folder)
    scores = reward.score(PROMPTS, ANSWERS)
    conversations = [
        [{"role": "user", "content": p}, {"role": "assistant", "content": a}]
        for p, a in zip(PROMPTS, ANSWERS, strict=True)
    ]
    np.testing.assert_array_equal(scores, reward.score(conversations))
    assert scores.shape == (2,) and scores[0] != scores[1]


def test_the_quick_start_of_the_readme(model, reward_folder, folder, capsys):
    """It runs as written; the loss of its step is known by hand."""
    (code,) = re.findall("```python\n(.*?)```", README.read_text(), re.DOTALL)
    code = code.replace("runs/sft/policy", str(folder))
    names = {}
    exec(code.replace("runs/reward_model/reward", str(reward_folder)), names)
    # at the reference every log-ratio is 0: log 2, and 0.2 times the NLL per token
    answer = int(names["pairs"].chosen.loss_mask.sum())
    nll = -model.logprobs(names["prompts"], names["chosen"])[0] / answer
    expected = np.log(2) + 0.2 * nll
    np.testing.assert_allclose(names["metrics"]["loss"], expected, rtol=1e-5)
    assert len(capsys.readouterr().out.splitlines()) >= 4


def test_dpo_steps_raise_the_margin(model):
    pairs = model.pairs(PROMPTS, ANSWERS, ["no", "Blue"])
    loss = objectives.pairwise_loss("dpo", beta=0.1)
    optimizer = optax.sgd(0.1)
    update = make_step(
        objectives.preference(model.model, loss), optimizer, donate=False
    )
    current = state.create(model.params, optimizer, jax.random.key(0))
    current, _ = update(current, pairs, model.params)
    trained = model.with_params(current.params)
    margin = lambda m: (
        m.logprobs(PROMPTS, ANSWERS) - m.logprobs(PROMPTS, ["no", "Blue"])
    )
    assert (margin(trained) > margin(model)).all()


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises((OSError, ValueError), match="nothing"):
        jaxalign.load(tmp_path / "nothing")
