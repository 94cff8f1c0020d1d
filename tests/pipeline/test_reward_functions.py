"""Reward functions of online experiments: reward models, ensembles, refusals."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import grpo
from jaxalign.batches import from_lengths
from jaxalign.data import tokenizer as tokenizers
from jaxalign.data.records import Prompt
from jaxalign.models import heads
from jaxalign.pipeline import (
    datasets,
    model_folders,
    policies,
    reward_functions,
)
from jaxalign.rewards import reward_model
from jaxalign.runtime.mesh import mesh_of
from tests.support import untrained

SMALL = {"mesh": "data=1", "prompts": 4, "samples": 4, "max_new_tokens": 6}
PROMPTS = [Prompt(())] * 3  # of answers that a reward model scores


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return str(untrained.save(tmp_path_factory.mktemp("base") / "policy"))


@pytest.fixture(scope="module")
def scored(base, tmp_path_factory):
    """Two reward models in folders, a policy, and three answers of it."""
    out = tmp_path_factory.mktemp("rewards")
    config = grpo.Config(model=base, **SMALL)
    source = datasets.load(config)
    policy = policies.load(config, source, mesh_of(config))
    model = heads.scalar_model(policy.config)
    params = [model.from_trunk(jax.random.key(k), policy.params) for k in range(2)]
    for k, name in enumerate("ab"):
        model_folders.save_scalar(out / name, model, params[k], policy.tokenizer)
    rows = from_lengths(
        np.arange(24, dtype=np.int32).reshape(3, 8), np.full(3, 8), np.full(3, 2)
    )
    found = np.stack([reward_model.score(model, p, rows) for p in params])
    return out, (source, policy), rows, found


COMBINED = {
    "mean": lambda a, b: (a + b) / 2,
    "minimum": np.minimum,
    "variance:0.5": lambda a, b: (a + b) / 2 - 0.5 * (a - b) ** 2 / 4,
    "llama2": lambda a, b: white(np.where(1 / (1 + np.exp(-b)) < 0.15, b, a)),
}
white = lambda x: (x - x.mean()) / x.std()


@pytest.mark.parametrize("name", COMBINED)
def test_folders_with_commas_are_an_ensemble(scored, name):
    out, (source, policy), rows, (a, b) = scored
    two = f"{out / 'a'},{out / 'b'}"
    score = reward_functions.make_reward_function(
        two, "float32", policy, source, ensemble=name
    )
    found = score(PROMPTS, rows, np.ones(3, bool))
    np.testing.assert_allclose(found, COMBINED[name](a, b), rtol=1e-4, atol=1e-5)


def test_llama2_gates_on_the_probability_not_on_the_normalised_score(scored):
    """All are unsafe, at raw scores below -3; normalised ones are never that low."""
    out, (source, policy), rows, (a, _) = scored
    model = heads.scalar_model(policy.config)
    params = model.from_trunk(jax.random.key(1), policy.params)
    head = {**params["head"], "bias": jnp.float32(-6.0)}
    params = {**params, "head": head}
    raw = np.asarray(reward_model.score(model, params, rows))
    assert raw.max() < -3.0
    model_folders.save_scalar(
        out / "normal",
        model,
        reward_model.normalize(params, raw),
        policy.tokenizer,
        scale=reward_model.fit_scale(raw),
    )
    two = f"{out / 'a'},{out / 'normal'}"
    score = reward_functions.make_reward_function(
        two, "float32", policy, source, ensemble="llama2"
    )
    found = score(PROMPTS, rows, np.ones(3, bool))
    np.testing.assert_allclose(found, white(raw), rtol=1e-3, atol=1e-4)
    # every other ensemble is of normalised scores
    score = reward_functions.make_reward_function(
        two, "float32", policy, source, ensemble="mean"
    )
    mean = score(PROMPTS, rows, np.ones(3, bool))
    np.testing.assert_allclose(mean, (a + white(raw)) / 2, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("gate", ["or", "and"])
def test_llama2_reads_the_tags_of_the_prompts_rows(scored, gate):
    """Both models have scores near 0: no answer seems unsafe, so tags alone decide."""
    out, (source, policy), rows, (a, b) = scored
    score = reward_functions.make_reward_function(
        *(f"{out / 'a'},{out / 'b'}", "float32", policy, source),
        ensemble=f"llama2:{gate}",
    )
    prompts = [Prompt((), fields={"safety": tag}) for tag in (True, False, True)]
    assert (1 / (1 + np.exp(-b)) > 0.15).all()
    combined = np.where([True, False, True], b, a) if gate == "or" else a
    found = score(prompts, rows, np.ones(3, bool))
    np.testing.assert_allclose(found, white(combined), rtol=1e-4, atol=1e-5)
    prompts[1] = Prompt((), location="p.jsonl:2", fields={"safety": "yes"})
    with pytest.raises(ValueError, match="p.jsonl:2: field 'safety' is 'yes'; expect"):
        score(prompts, rows, np.ones(3, bool))


def test_a_reward_model_of_another_vocabulary_is_refused(scored):
    """Its scores would be of other texts: every token means something else there."""
    out, (source, policy), *_ = scored
    text = [p.messages[-1]["content"][::-1] for p in source.prompts()[0][:200]]
    other = dataclasses.replace(
        policy, tokenizer=tokenizers.train(text, vocab_size=300)
    )
    for reward in (str(out / "a"), f"{out / 'a'},{out / 'b'}"):
        reward_functions.make_reward_function(reward, "float32", policy, source)
        with pytest.raises(ValueError, match="another vocabulary than the policy"):
            reward_functions.make_reward_function(reward, "float32", other, source)


def test_rewards_that_are_not_are_refused(scored, tmp_path):
    out, (source, policy), _, _ = scored
    for reward, hint in {
        "blue": "blue holds no reward model .*did you mean bleu",
        f"{out / 'a'},{tmp_path}": "holds no reward model .*programmed, length, bleu",
        "gsm8k": "compares with reference answers, and the prompt at .* has none",
        "regex:(": "regex:",
    }.items():
        with pytest.raises(ValueError, match=hint):
            reward_functions.make_reward_function(reward, "float32", policy, source)
    for how, hint in {
        "max": "--ensemble is mean, min",
        "llama2": "two reward models",
        "llama2:xor": "expected llama2:GATE:WHITENING, a GATE of or, and",
    }.items():
        score = reward_functions.make_reward_function
        with pytest.raises(ValueError, match=hint):
            three = ",".join([str(out / "a")] * 3)
            score(three, "float32", policy, source, ensemble=how)([], scored[2], None)
