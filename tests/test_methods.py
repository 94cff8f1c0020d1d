"""All methods side by side: what each is told, the table, the plot, and resuming."""

import dataclasses
import itertools
import json

import numpy as np
import pytest

from experiments import evaluating, groups, grpo, methods, rlhf
from experiments.evaluating import Evaluated
from jaxalign.data.records import Prompt
from jaxalign.evaluation import plots

replace = dataclasses.replace
SMOKE = methods.Config(smoke=True, mesh="data=1")


def answers(reward, score=None, kl=0.0):
    """Numbers of answers, as an evaluation finds them."""
    reward = np.array(reward, float)
    right = reward > 0
    return Evaluated(
        texts=[f"answer {x}" for x in reward],
        reward=reward,
        score=reward if score is None else np.array(score, float),
        kl=np.full(len(reward), float(kl)),
        length=np.full(len(reward), 7),
        judged={"reward": reward, "refused": right, "due": ~right}
        | {"agreed": right, "pushed": np.ones(len(reward), bool)},
    )


FOUND = [
    {"SFT": answers([0, 0, 1]), "PPO": answers([1, 1, 2], kl=1.0)},
    {"SFT": answers([0, 1, 1]), "PPO": answers([3, 4, 4], kl=2.0)},
]


def test_the_table_is_over_seeds_and_requests():
    sft, ppo = evaluating.table(FOUND)
    assert sft["gain over SFT"] is None and ppo["KL (nats)"] == 1.5
    # every request of the first seed gains 1, of the second 3: only the seeds differ,
    # of which both drawn are the first in a quarter of the draws
    assert ppo["gain over SFT"] == (2.0, 1.0, 3.0)
    assert str(ppo["gain over SFT"]) == "2.000 ± 1.000 *"
    assert ppo["win rate"] == (1.0, 1.0, 1.0)
    np.testing.assert_allclose(ppo["true reward"].mean, (4 / 3 + 11 / 3) / 2)


def test_the_line_through_best_of_n(tmp_path, monkeypatch):
    """Against every subset of the answers to each prompt, as the score chooses."""
    rng = np.random.default_rng(1)
    reward, score = rng.normal(size=(2, 2, 3, 4))  # seeds, prompts, answers
    sampled = [
        answers(*each)
        for each in zip(reward.reshape(2, -1), score.reshape(2, -1), strict=True)
    ]
    drawn = {}
    monkeypatch.setattr(
        plots, "plot_reward_kl", lambda path, points, **told: drawn.update(points)
    )
    found = [{**each, "best-of-4": each["SFT"]} for each in FOUND]
    methods.draw(tmp_path, found, sampled, 4)
    assert list(drawn) == ["SFT", "PPO", "best-of-n"]
    assert drawn["PPO"][0][0] == 1.5
    for (kl, interval), n in zip(drawn["best-of-n"], (1, 2, 4), strict=True):
        subsets = list(itertools.combinations(range(4), n))
        best = [
            reward[..., s][score[..., s].argmax(-1, keepdims=True) == np.arange(n)]
            for s in map(list, subsets)
        ]
        np.testing.assert_allclose(interval.mean, np.mean(best), rtol=1e-5)
        np.testing.assert_allclose(kl, np.log(n) - (n - 1) / n)


def test_tables_and_plot_are_written(tmp_path):
    evaluating.publish(tmp_path, {"two seeds": evaluating.table(FOUND)})
    methods.draw(tmp_path, FOUND, [], 4)
    assert (tmp_path / "reward_kl.png").stat().st_size > 1000
    head, sft, ppo = (tmp_path / "table.csv").read_text().splitlines()
    assert head.startswith("method,true reward,true reward low,true reward high,gain")
    assert ppo.startswith("PPO,2.5,") and ",2.0,1.0,3.0," in ppo
    assert "| PPO | 2.500 ± " in (tmp_path / "table.md").read_text()


def test_an_evaluation_is_made_once(tmp_path, monkeypatch):
    """And anew where the policy, the prompts, or what is asked of them are others."""
    made = []

    class Exam:
        def __init__(self, room, prompts):
            self.room, self.prompts = room, prompts

        def answered(self, policy, samples):
            made.append(policy)
            return FOUND[0]["PPO"]

    monkeypatch.setattr(evaluating, "load", lambda config, source, folder: folder)
    prompts = [Prompt([{"role": "user", "content": x}]) for x in "abc"]
    policy, folder = tmp_path / "ppo" / "policy", tmp_path / "ppo"
    folder.mkdir()
    (folder / "numbers.json").write_text("1")
    config, exam = replace(SMOKE, resume=True), Exam(8, prompts)
    first = methods.answered(config, exam, policy, folder)
    again = methods.answered(config, exam, policy, folder)
    assert made == [policy]
    for field in dataclasses.fields(Evaluated):
        expected = getattr(FOUND[0]["PPO"], field.name)
        for found in (first, again):
            np.testing.assert_equal(getattr(found, field.name), expected)
    assert again.judged["due"].dtype == bool  # which is negated
    others = (
        (replace(config, resume=False), exam, 1),
        (config, exam, 2),
        (config, Exam(9, prompts), 1),
        (config, Exam(8, prompts[:2]), 1),
        (replace(config, seed=5), exam, 1),
    )
    for number, (told, asked, samples) in enumerate(others):
        for _ in range(2 if told.resume else 1):
            methods.answered(told, asked, policy, folder, samples)
        assert len(made) == 2 + number
    for file in (folder, tmp_path / "sft", tmp_path / "reward_model"):
        file.mkdir(exist_ok=True)
        (file / "numbers.json").write_text("2")  # made anew since
        before = len(made)
        methods.answered(config, exam, policy, folder)
        methods.answered(config, exam, policy, folder)
        assert len(made) == before + 1, file
    (folder / "evaluated.json").write_text("{")
    methods.answered(config, exam, policy, folder)
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
    start = rlhf.Start(tmp_path / "sft", "pairs", tmp_path / "reward")
    folders = {
        name: methods.trained(SMOKE, name, start, tmp_path)
        for name in methods.NAMES
        if name != "best_of_n"
    }
    others = {"winners", "finetune", "dpo", "online_dpo", "ppo"}
    assert set(seen) == others | set(groups.METHODS)
    assert {name: seen[name].method for name in groups.METHODS} == dict(
        zip(groups.METHODS, groups.METHODS, strict=True)
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


@pytest.mark.parametrize(
    "flags, hint",
    [
        ({"methods": ("pppo",)}, "unknown method 'pppo': did you mean ppo"),
        ({"methods": ()}, "--methods one at least"),
        ({"best_of": 1}, "--best-of 1 should be 2 at least"),
        ({"seeds": 0}, "--seeds 0"),
        ({"grpo": grpo.Config(samples=1)}, "needs 2 samples"),
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
