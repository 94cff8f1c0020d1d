"""All methods side by side: their inputs, the table, the plot, and resuming."""

import dataclasses
import itertools
import json

import numpy as np
import pytest

from experiments import grpo, methods, rlhf
from jaxalign.data.records import Prompt
from jaxalign.evaluation import plots
from jaxalign.pipeline import held_out, held_out_tables
from jaxalign.pipeline.held_out import Evaluation
from jaxalign.runtime import tables
from jaxalign.training import group_methods
from tests.support.evaluations import TWO_SEEDS, evaluation

replace = dataclasses.replace
SMOKE = methods.Config(smoke=True, mesh="data=1")


def test_each_policy_is_measured_at_its_own_temperature():
    config = replace(
        SMOKE,
        ppo=replace(SMOKE.ppo, temperature=0.7),
        grpo=replace(SMOKE.grpo, temperature=0.8),
        online_dpo=replace(SMOKE.online_dpo, temperature=0.9),
    )
    at = lambda config, name: config.temperature_for(
        methods.training_temperature(config, name)
    )
    expected = dict.fromkeys(methods.NAMES, 1.0) | dict.fromkeys(
        group_methods.METHODS, 0.8
    )
    expected |= {"ppo": 0.7, "online_dpo": 0.9}
    assert {name: at(config, name) for name in methods.NAMES} == expected
    told = replace(config, eval_temperature=0.5)
    assert {at(told, name) for name in methods.NAMES} == {0.5}
    assert [row["temperature"] for row in held_out_tables.table(TWO_SEEDS)] == [
        1.0,
        0.7,
    ]


def test_the_line_through_best_of_n(tmp_path, monkeypatch):
    """Against every subset of the answers to each prompt, as the score chooses."""
    rng = np.random.default_rng(1)
    reward, score = rng.normal(size=(2, 2, 3, 4))  # seeds, prompts, answers
    sampled = [
        evaluation(*each)
        for each in zip(reward.reshape(2, -1), score.reshape(2, -1), strict=True)
    ]
    drawn = {}
    monkeypatch.setattr(
        plots, "plot_reward_kl", lambda path, points, **told: drawn.update(points)
    )
    found = [{**each, "best-of-4": each["SFT"]} for each in TWO_SEEDS]
    methods.plot(tmp_path, found, sampled, 4)
    assert list(drawn) == ["SFT", "PPO", "best-of-n"]
    assert drawn["PPO"][0][0] == 1.5  # mean of both seeds
    for (kl, interval), n in zip(drawn["best-of-n"], (1, 2, 4), strict=True):
        subsets = list(itertools.combinations(range(4), n))
        best = [
            reward[..., s][score[..., s].argmax(-1, keepdims=True) == np.arange(n)]
            for s in map(list, subsets)
        ]
        np.testing.assert_allclose(interval.mean, np.mean(best), rtol=1e-5)
        np.testing.assert_allclose(kl, np.log(n) - (n - 1) / n)


def test_tables_and_plot_are_written(tmp_path):
    tables.publish(tmp_path, {"two seeds": held_out_tables.table(TWO_SEEDS)})
    methods.plot(tmp_path, TWO_SEEDS, [], 4)
    assert (tmp_path / "reward_kl.png").stat().st_size > 1000
    head, sft, ppo = (tmp_path / "table.csv").read_text().splitlines()
    assert head.startswith("method,temperature,true reward,true reward low,true reward")
    assert ppo.startswith("PPO,0.7,2.5,") and ",2.0,-10.706" in ppo
    text = (tmp_path / "table.md").read_text()
    assert "| PPO | 0.700 | 2.500 ± " in text and text.startswith("two seeds\n")
    assert "▲" in text and "▼" in text  # and what they mean
    assert "for best-of-n the upper bound log n - (n - 1) / n" in text
    first = json.loads((tmp_path / "table.json").read_text())[0]
    assert first["temperature"] == 1.0 and len(first["true reward"]) == 3


def test_an_evaluation_is_made_once(tmp_path, monkeypatch):
    """And anew where the policy, the prompts, or what is asked of them are others."""
    made = []

    class StubEval:
        def __init__(self, room, prompts):
            self.room, self.prompts = room, prompts

        def evaluate(self, policy, samples, *, temperature):
            made.append(policy)
            return replace(TWO_SEEDS[0]["PPO"], temperature=temperature)

    monkeypatch.setattr(held_out, "load", lambda config, source, folder: folder)
    prompts = [Prompt([{"role": "user", "content": x}]) for x in "abc"]
    policy, folder = tmp_path / "ppo" / "policy", tmp_path / "ppo"
    policy.mkdir(parents=True)

    (folder / "numbers.json").write_text("1")
    config, held_out_eval = replace(SMOKE, resume=True), StubEval(8, prompts)
    first = methods.evaluate_method(config, held_out_eval, policy, folder)
    again = methods.evaluate_method(config, held_out_eval, policy, folder)
    assert made == [policy]
    for field in dataclasses.fields(Evaluation):
        expected = getattr(replace(TWO_SEEDS[0]["PPO"], temperature=1.0), field.name)
        for found in (first, again):
            np.testing.assert_equal(getattr(found, field.name), expected)
    assert again.reward_metrics["due"].dtype == bool  # which is negated
    others = (
        (replace(config, resume=False), held_out_eval, 1),
        (config, held_out_eval, 2),
        (config, StubEval(9, prompts), 1),
        (config, StubEval(8, prompts[:2]), 1),
        (replace(config, seed=5), held_out_eval, 1),
        # what was measured at another temperature is not taken for it
        (replace(config, eval_temperature=0.5), held_out_eval, 1),
    )
    for number, (told, asked, samples) in enumerate(others):
        for _ in range(2 if told.resume else 1):
            methods.evaluate_method(told, asked, policy, folder, samples)
        assert len(made) == 2 + number
    for file in (folder, tmp_path / "sft", tmp_path / "reward_model"):
        file.mkdir(exist_ok=True)
        for role in ("policy", "reward"):
            (file / role).mkdir(exist_ok=True)
        (file / "numbers.json").write_text("2")  # made anew since
        before = len(made)
        methods.evaluate_method(config, held_out_eval, policy, folder)
        methods.evaluate_method(config, held_out_eval, policy, folder)
        assert len(made) == before + 1, file
    (folder / "evaluated.json").write_text("{")
    methods.evaluate_method(config, held_out_eval, policy, folder)
    assert len(made) == before + 2


def test_every_method_starts_from_the_same(tmp_path, monkeypatch):
    """The policy, the reward model and the data that each is told, and how often."""
    seen = {}

    def main(config):
        seen[config.out.name] = config

    for stage in ("dpo", "online_dpo", "ppo", "grpo"):
        monkeypatch.setattr(getattr(methods, f"{stage}_stage"), "main", main)
    for stage in ("winners", "sft"):
        module = getattr(methods.rejection_stage, f"{stage}_stage")
        monkeypatch.setattr(module, "main", main)
    gather = lambda *told, **others: tmp_path / "demonstrations"
    monkeypatch.setattr(methods.rejection_stage.jsonl, "gather", gather)
    start = rlhf.StartingPoint(tmp_path / "sft", "pairs", tmp_path / "reward")
    folders = {
        name: methods.train_method(SMOKE, name, start, tmp_path)
        for name in methods.NAMES
        if name != "best_of_n"
    }
    others = {"winners", "finetune", "dpo", "online_dpo", "ppo"}
    assert set(seen) == others | set(group_methods.METHODS)
    assert {name: seen[name].method for name in group_methods.METHODS} == dict(
        zip(group_methods.METHODS, group_methods.METHODS, strict=True)
    )
    policy, reward = str(start.policy), str(start.reward)
    rounds = "round-3"
    for name, config in seen.items():
        if name in ("winners", "finetune"):
            assert config.out.parent.name == rounds
            continue
        assert folders[name] == tmp_path / name / "policy"
        assert (config.model, config.out) == (policy, tmp_path / name)
        if name == "dpo":
            assert config.data == "pairs"
        else:
            assert (config.data, config.reward) == ("toy", reward)
    assert seen["winners"].reward == reward
    raft = tmp_path / "rejection_sampling"
    assert folders["rejection_sampling"] == raft / rounds / "finetune" / "policy"


def test_the_table_says_which_hyperparameters_each_group_method_had():
    config = methods.Config(methods=("ppo", "gspo", "rloo"))
    gspo, rloo = methods.hyperparameters(config)
    assert (gspo["method"], gspo["KL"], gspo["beta"]) == ("GSPO", "none", "0")
    assert (gspo["clip_low"], gspo["clip_high"]) == ("0.0003", "0.0004")
    assert rloo["KL"].startswith("in the reward") and rloo["beta"] == "0.05"
    told = replace(config, grpo=grpo.Config(beta=0.3))
    assert [row["beta"] for row in methods.hyperparameters(told)] == ["0.3"] * 2
    assert methods.hyperparameters(replace(config, methods=("dpo",))) == []


@pytest.mark.parametrize(
    "flags, hint",
    [
        ({"methods": ("pppo",)}, "unknown method 'pppo': did you mean ppo"),
        ({"methods": ()}, "--methods is empty"),
        ({"best_of": 1}, "--best-of 1: .* from 2"),
        ({"seeds": 0}, "--seeds 0"),
        ({"eval_temperature": 0.0}, "--eval-temperature 0.0: .* above 0"),
        ({"grpo": grpo.Config(samples=1)}, "needs at least 2 samples"),
        ({"grpo": grpo.Config(minibatches=3)}, "divide into 3"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, flags, hint):
    with pytest.raises(ValueError, match=hint):
        methods.main(methods.Config(out=tmp_path / "run", **flags))
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_stopped_within_a_method_goes_on(tmp_path, monkeypatch):
    """Two methods of two seeds, stopped in the second; then a third method joins."""
    config = replace(SMOKE, seeds=2, methods=("best_of_n", "dpo"), out=tmp_path)
    ran = []
    main = methods.dpo_stage.main

    def dpo(config):
        ran.append(config.out)
        if len(ran) == 2:
            raise KeyboardInterrupt
        return main(config)

    monkeypatch.setattr(methods.dpo_stage, "main", dpo)
    with pytest.raises(KeyboardInterrupt):
        methods.main(config)
    rows = methods.main(replace(config, resume=True))
    second = tmp_path / "seed-1" / "dpo"
    assert ran == [tmp_path / "seed-0" / "dpo", second, second]
    assert [row["method"] for row in rows] == ["SFT", "best-of-2", "DPO"]
    assert rows[0]["KL (nats)"] == 0.0
    before = json.loads((tmp_path / "table.json").read_text())
    for name in ("table.md", "table.csv", "reward_kl.png", "seed-1/samples.md"):
        assert (tmp_path / name).stat().st_size > 100, name
    more = replace(config, resume=True, methods=("best_of_n", "dpo", "rloo"))
    methods.main(more)
    assert len(ran) == 3
    after = json.loads((tmp_path / "table.json").read_text())
    assert after[:-1] == before and after[-1]["method"] == "RLOO"


@pytest.mark.slow
def test_every_method_runs(tmp_path):
    rows = methods.main(replace(SMOKE, seeds=1, out=tmp_path))
    names = ["best-of-2", *list(methods.NAMES.values())[1:]]
    assert [row["method"] for row in rows] == ["SFT", *names]
    lines = (tmp_path / "table.csv").read_text().splitlines()
    assert len(lines) == 1 + len(rows)
