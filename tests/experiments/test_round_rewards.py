"""Rounds by a reward of the user's own: what it labels, selects, trains, measures."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from experiments import collect, rounds, sft, winners
from jaxalign.runtime import jsonl
from tests.experiments.test_rounds import TINY, leaves
from tests.support import untrained

replace = dataclasses.replace
STAGES = ("sft", "collect", "reward", "winners", "dpo", "ppo")
FILE = """
def characters(prompts, answers):
    return [len(answer) / 10 for answer in answers]

def level(prompts, answers, *, references, columns):
    assert all(r[0] == f"ref {n}" for r, n in zip(references, columns["level"]))
    return columns["level"]
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return str(untrained.save(tmp_path_factory.mktemp("base") / "policy"))


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "my.py"
    path.write_text(FILE)
    return str(path)


@pytest.fixture
def rows(tmp_path):
    """Prompts with an answer and a level from 0 to 39."""
    path = tmp_path / "rows.jsonl"
    rows = [{"prompt": f"say {n}", "answer": f"ref {n}", "level": n} for n in range(40)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.mark.parametrize(
    "method, select_by, ran",
    [
        ("dpo", "reward_model", ["collect", "reward", "winners", "sft", "dpo"]),
        ("dpo", "reward", ["collect", "winners", "sft", "dpo"]),
        ("ppo", "reward_model", ["collect", "reward", "winners", "sft", "ppo"]),
        ("ppo", "reward", ["winners", "sft", "ppo"]),  # nothing reads labels
    ],
)
def test_the_reward_labels_and_what_selects_is_told(
    tmp_path, monkeypatch, method, select_by, ran
):
    seen: list = []
    for stage in STAGES:
        main = leaves(seen, stage)
        monkeypatch.setattr(getattr(rounds, f"{stage}_stage"), "main", main)
    config = replace(TINY, rounds=1, method=method, select_by=select_by)
    rounds.run_rounds(config, tmp_path, "gsm8k=0.8,my.py:brief=0.2")
    assert [name for _, name, _ in seen] == ["sft", *ran]
    told = {name: config for _, name, config in seen}
    learned = str(tmp_path / "round-1" / "reward_model" / "reward")
    selects = learned if select_by == "reward_model" else "gsm8k=0.8,my.py:brief=0.2"
    assert told["winners"].reward == selects
    if "collect" in told:
        assert told["collect"].reward == "gsm8k=0.8,my.py:brief=0.2"
    if method == "ppo":
        assert told["ppo"].reward == selects


@pytest.mark.parametrize("select_by", ["reward_model", "reward"])
def test_a_function_is_passed_to_the_stages_that_use_it(
    tmp_path, monkeypatch, select_by
):
    passed: dict = {}

    def keeps(name):
        def main(config, reward=None):
            passed[name] = reward or config.reward
            leaves([], name)(config)

        return main

    for stage in STAGES:
        monkeypatch.setattr(getattr(rounds, f"{stage}_stage"), "main", keeps(stage))
    for stage in ("sft", "reward", "dpo"):
        main = leaves([], stage)
        monkeypatch.setattr(getattr(rounds, f"{stage}_stage"), "main", main)
    brief = lambda prompts, answers: [1.0] * len(answers)
    weights = {"gsm8k": 0.8, brief: 0.2}
    config = replace(TINY, rounds=1, method="ppo", select_by=select_by)
    rounds.run_rounds(config, tmp_path, weights)
    learned = str(tmp_path / "round-1" / "reward_model" / "reward")
    if select_by == "reward_model":
        assert passed == {"collect": weights, "winners": learned, "ppo": learned}
    else:
        assert passed == {"winners": weights, "ppo": weights}


def test_collected_labels_are_of_the_reward(base, file, rows, tmp_path):
    """2 characters + 1 level of each answer; the terms' means make up the sum's."""
    config = collect.Config(
        **{"model": base, "data": rows, "mesh": "data=1", "held_out": 0.3},
        **{"prompts": 20, "held_out_prompts": 8, "samples": 4, "max_new_tokens": 6},
        label_temperature=1e-3,
        reward=f"{file}:characters=2,{file}:level=1",
        out=tmp_path / "labels",
    )
    numbers = collect.main(config)
    terms = [numbers[f"train_rewards/{name}/mean"] for name in ("characters", "level")]
    # means of float32 numbers up to 40: 1e-6 of that
    np.testing.assert_allclose(
        numbers["train_reward"], 2 * terms[0] + terms[1], rtol=1e-6
    )
    assert numbers["test_rewards/level/std"] > 0
    pairs = jsonl.read(config.out / "preferences" / "train.jsonl")
    level = lambda row: int(row["prompt"][-1]["content"].split()[1])
    for row in pairs:
        for side, reward in zip(("chosen", "rejected"), row["rewards"], strict=True):
            expected = 2 * len(row[side]) / 10 + level(row)
            assert reward == pytest.approx(expected, rel=1e-6)
        # at a temperature of 1e-3 the longer answer is chosen
        assert len(row["chosen"]) >= len(row["rejected"])


@pytest.mark.parametrize(
    "reward, message",
    [
        ("nowhere.py:f", "there is no file nowhere.py"),
        ("format=1,runs/none=1", "runs/none holds no reward model"),
        ("bleu=1,nowhere.py:f=1", "the prompt at .* has none"),
        ("programmed", "no programmed reward: name a reward model, or another"),
    ],
)
def test_a_wrong_reward_is_refused_before_the_first_stage(tmp_path, reward, message):
    file = tmp_path / "prompts.jsonl"
    file.write_text("".join(f'{{"prompt": "{n}"}}\n' for n in range(20)))
    config = rounds.Config(data=str(file), reward=reward, out=tmp_path / "run")
    with pytest.raises(ValueError, match=message):
        rounds.main(config)
    assert not config.out.exists()


@pytest.mark.slow
@pytest.mark.parametrize("select_by", ["reward_model", "reward"])
def test_rounds_by_a_function_and_its_columns(base, file, rows, tmp_path, select_by):
    """The table has each term; the run with the function passed has the same."""
    few = {"prompts": 24, "held_out_prompts": 8, "max_new_tokens": 32}
    made = rounds.smoke_config(rounds.Config(model=base, data=rows, mesh="data=1"))
    config = replace(
        made,
        held_out=0.3,
        select_by=select_by,
        rounds=1,
        eval_prompts=8,
        reward=f"{file}:characters=2,{file}:level=1",
        sft=sft.Config(steps=1, batch=4),
        collect=replace(made.collect, **few),
        winners=winners.Config(**few, samples=32),
        out=tmp_path / "file",
    )
    table = rounds.main(config)
    for row in table:
        mean = 2 * row["rewards/characters"].mean + row["rewards/level"].mean
        np.testing.assert_allclose(row["reward"].mean, mean, rtol=1e-5)  # float32
        assert ("RM score" in row) == (select_by == "reward_model")
    title = (config.out / "table.md").read_text().splitlines()
    assert any("reward " + config.reward in line for line in title)
    assert (config.out / "round-1" / "reward_model").exists() == (
        select_by == "reward_model"
    )

    def characters(prompts, answers):
        return [len(answer) / 10 for answer in answers]

    def level(prompts, answers, *, columns):
        return columns["level"]

    again = replace(config, reward="programmed", out=tmp_path / "passed")
    assert rounds.main(again, reward={characters: 2.0, level: 1.0}) == table
    assert Path(again.out / "reward_kl.png").stat().st_size > 1000
