"""Models on text: what a notebook does with a folder."""

import jax
import numpy as np
import optax
import pytest

import jaxalign
from jaxalign.models import heads
from jaxalign.pipeline import model_folders
from jaxalign.training import objectives, state, step
from tests.support import untrained

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


def test_scores_of_a_reward_model(model, folder, tmp_path):
    scalar = heads.scalar_model(model.policy.config)
    params = scalar.init(jax.random.key(0))
    model_folders.save_scalar(tmp_path, scalar, params, model.policy)
    reward = jaxalign.load_reward(tmp_path)
    scores = reward.score(PROMPTS, ANSWERS)
    whole = [
        [{"role": "user", "content": p}, {"role": "assistant", "content": a}]
        for p, a in zip(PROMPTS, ANSWERS, strict=True)
    ]
    np.testing.assert_array_equal(scores, reward.score(whole))
    assert scores.shape == (2,) and scores[0] != scores[1]


def test_a_dpo_step_of_ones_own(model):
    """The quick start of the README: the chosen answer becomes likelier."""
    pairs = model.pairs(PROMPTS, ANSWERS, ["no", "Blue"])
    loss = objectives.pairwise_loss("reference_free_dpo", beta=0.1)
    update = step.make_step(objectives.preference(model.model, loss), optax.sgd(0.1))
    current = state.create(model.params, optax.sgd(0.1), jax.random.key(0))
    before = model.logprobs(PROMPTS, ANSWERS) - model.logprobs(PROMPTS, ["no", "Blue"])
    current, metrics = update(current, pairs)
    trained = model.with_params(current.params)
    after = trained.logprobs(PROMPTS, ANSWERS) - trained.logprobs(
        PROMPTS, ["no", "Blue"]
    )
    assert np.isfinite(metrics["loss"]) and after.mean() > before.mean()


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises((OSError, ValueError), match="nothing"):
        jaxalign.load(tmp_path / "nothing")
