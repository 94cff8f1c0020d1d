"""What a held-out evaluation measures: at which temperature, and over which units."""

import importlib
import json
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import ppo, reward_model, rlhf, rounds
from jaxalign.data import splits
from jaxalign.data.records import Prompt
from jaxalign.evaluation.intervals import bootstrap
from jaxalign.pipeline import (
    datasets,
    held_out,
    model_folders,
    policies,
    reward_models,
    rollouts,
)
from jaxalign.rewards import reward_model as learned
from jaxalign.runtime import tables
from jaxalign.runtime.config import EvalConfig
from tests.support import untrained


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return untrained.save(tmp_path_factory.mktemp("base") / "policy")


@pytest.fixture(scope="module")
def held_out_eval(base):
    config = EvalConfig(mesh="data=1", model=str(base))
    return held_out.make_held_out_eval(
        config, datasets.load(config), base, 4, max_new_tokens=6
    )


def logps(policy, sequences, temperature):
    """log softmax(logits / temperature) of each answer's tokens, summed [R]."""
    tokens = jnp.asarray(sequences.tokens)
    hidden = policy.model.hidden(
        policy.params, tokens, sequences.positions, sequences.segments
    )
    logits = hidden @ policy.model.unembed(policy.params) / temperature
    every = jax.nn.log_softmax(logits[:, :-1], axis=-1)
    logp = jnp.take_along_axis(every, tokens[:, 1:, None], axis=-1)[..., 0]
    return np.asarray(jnp.where(sequences.loss_mask[:, 1:], logp, 0.0).sum(axis=1))


def test_answers_and_their_kl_are_at_the_temperature(held_out_eval, monkeypatch):
    shaken = jax.tree.map(lambda x: 1.3 * x, held_out_eval.base.params)
    policy = policies.Policy(
        held_out_eval.base.model, shaken, held_out_eval.base.tokenizer, 96
    )
    sampled = []
    sample_answers = rollouts.sample_answers

    def record(*args, **others):
        sampled.append((others["temperature"], sample_answers(*args, **others)))
        return sampled[-1][1]

    monkeypatch.setattr(rollouts, "sample_answers", record)
    with jax.set_mesh(held_out.mesh_of(EvalConfig(mesh="data=1"))):
        found = held_out_eval.evaluate(policy, 3, temperature=0.5)
        ((temperature, answers),) = sampled
        assert temperature == found.temperature == 0.5
        ours, theirs = (
            logps(p, answers.sequences, 0.5) for p in (policy, held_out_eval.base)
        )
        # sums of six log-probs of some nats, in float32
        np.testing.assert_allclose(found.kl, ours - theirs, atol=1e-4)
        at_one = [
            logps(p, answers.sequences, 1.0) for p in (policy, held_out_eval.base)
        ]
        assert np.abs(found.kl - (at_one[0] - at_one[1])).max() > 0.01
        # nearly greedy, the answers to a prompt are one; at 1 they were not
        alike = lambda texts: all(len({*texts[i : i + 3]}) == 1 for i in (0, 3, 6, 9))
        assert alike(held_out_eval.evaluate(policy, 3, temperature=1e-4).texts)
        assert not alike(held_out_eval.evaluate(policy, 3, temperature=1.0).texts)
    # the unit is the prompt, whose answers share it
    np.testing.assert_array_equal(found.prompt, splits.prompt_hashes(answers.prompts))
    assert len(set(found.prompt[:3])) == 1


def test_it_is_the_temperature_of_training_unless_told():
    assert EvalConfig().temperature_for(0.7) == 0.7
    assert EvalConfig().temperature_for() == 1.0
    assert EvalConfig(eval_temperature=0.5).temperature_for(0.7) == 0.5
    for wrong in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="--eval-temperature .* above 0"):
            EvalConfig(eval_temperature=wrong).temperature_for(0.7)


@pytest.mark.parametrize("told", [None, 0.5])
def test_the_main_job_and_rounds_measure_each_policy_at_its_own(monkeypatch, told):
    """PPO at its rollouts' temperature, unless told; what learns from data at 1."""
    measured = {}

    class StubEval:
        base = "SFT"
        prompts = ()

        def evaluate(self, policy, samples=1, *, temperature):
            measured[policy] = temperature
            return SimpleNamespace(texts=[])

    source, out = SimpleNamespace(), Path("run")
    monkeypatch.setattr(
        held_out, "make_held_out_eval", lambda *args, **others: StubEval()
    )
    monkeypatch.setattr(held_out, "best_of", lambda many, n: many)
    monkeypatch.setattr(held_out, "load", lambda config, source, at: at.parent.name)
    monkeypatch.setattr(tables, "write_answers", lambda *args: None)
    monkeypatch.setattr(datasets, "load", lambda config: source)
    flags = {"eval_temperature": told, "mesh": "data=1"}
    hot = ppo.Config(temperature=0.7)
    rlhf.evaluate(rlhf.Config(ppo=hot, **flags), source, out)
    expected = {"SFT": 1.0, "dpo": 1.0, "ppo": 0.7}
    assert measured == {name: told or at for name, at in expected.items()}
    measured.clear()
    policies_ = {"SFT": "sft", "round 1, winners": "finetune", "round 1, PPO": "ppo"}
    folders = {name: out / at / "policy" for name, at in policies_.items()}
    rounds.evaluate(rounds.Config(method="ppo", ppo=hot, **flags), folders, out)
    expected = {"sft": 1.0, "finetune": 1.0, "ppo": 0.7}
    assert measured == {name: told or at for name, at in expected.items()}


@pytest.mark.slow
def test_a_reward_models_accuracy_is_over_prompts(base, tmp_path, monkeypatch):
    """Six pairs a prompt, all of them right or all wrong: as many units as prompts."""
    right = np.arange(20) % 4 > 0
    for name in ("train", "test"):
        rows = [
            {"prompt": f"{name} {i}", "chosen": f"yes {k}", "rejected": f"no {k}"}
            | {"p_chosen": 0.75}
            for i in range(20)
            for k in range(6)
        ]
        file = tmp_path / "pairs" / f"{name}.jsonl"
        file.parent.mkdir(exist_ok=True)
        file.write_text("\n".join(map(json.dumps, rows)))
    scores = np.repeat(np.where(right, 1.0, -1.0), 6)
    told = lambda model, params, pairs, batch: (scores, np.zeros(len(pairs)))
    monkeypatch.setattr(reward_models, "pair_scores", told)
    zeros = np.zeros(len(scores))
    told_parts = {"chosen": scores, "rejected": zeros, "loss": zeros}
    module = importlib.import_module("jaxalign.pipeline.held_out_metrics.scores")
    monkeypatch.setattr(module, "score_examples", lambda *_, **__: told_parts)
    with pytest.raises(ValueError, match="--normalize-samples 1: .* from 2"):
        reward_model.main(reward_model.Config(normalize_samples=1))
    sampled = []
    sample = rollouts.sample

    def watched(*args, **told):
        sampled.append(sample(*args, **told)[0])
        return sample(*args, **told)

    monkeypatch.setattr(rollouts, "sample", watched)
    config = reward_model.Config(
        steps=1,
        batch=2,
        normalize_samples=24,
        model=str(base),
        data=str(tmp_path / "pairs"),
        mesh="data=1",
        out=tmp_path / "run",
    )
    numbers = reward_model.main(config)
    # of the initial policy's own answers, four of them to prompts that come again
    model, params = model_folders.load_scalar(tmp_path / "run" / "reward", "float32")
    (own,) = sampled
    score = np.asarray(learned.score(model, params, own))
    assert len(score) == 24 and len(np.unique(own.tokens, axis=0)) > 20
    np.testing.assert_allclose([score.mean(), score.std()], [0.0, 1.0], atol=1e-3)
    scale = model_folders.load_scale(tmp_path / "run" / "reward")
    np.testing.assert_allclose(scale.bias, params["head"]["bias"], rtol=1e-5)
    assert scale.gain > 0
    # 20 prompts, of which 15 are right, whatever order their numbers have
    deviation = np.sqrt(0.75 * 0.25 / 20)
    width = numbers["eval/accuracy_high"] - numbers["eval/accuracy_low"]
    assert numbers["eval/accuracy"] == 0.75 and numbers["eval/prompts"] == 20
    # 2 * 1.96 deviations, less or more what 20 steps of 0.05 leave open
    np.testing.assert_allclose(width, 2 * 1.96 * deviation, atol=0.05)
    assert width > 2 * np.ptp(bootstrap(scores > 0, units="each")[1:])
    held, reward = tmp_path / "pairs" / "test.jsonl", tmp_path / "run" / "reward"
    row = reward_models.held_out_agreement(config, held, reward, 2)
    assert row["prompts"] == 20 and row["pairs"] == 120
    np.testing.assert_allclose(row["accuracy"].high - row["accuracy"].low, width, 0.1)
    # 0.75 of 0.75 and 0.25 of 0.25: the share that labels drawn anew would have
    np.testing.assert_allclose(row["expected"].mean, 0.625)
    assert row["expected"].low < 0.6 < 0.65 < row["expected"].high
    assert row["Bayes"] == (0.75, 0.75, 0.75)


def test_a_conversation_is_the_unit_of_all_its_turns():
    """Contexts that begin with one message are not independent."""
    said = lambda role, text: {"role": role, "content": text}
    short = Prompt([said("user", "Why?")])
    longer = Prompt([*short.messages, said("assistant", "So."), said("user", "And?")])
    assert len(set(splits.prompt_hashes([short, longer]).tolist())) == 1
