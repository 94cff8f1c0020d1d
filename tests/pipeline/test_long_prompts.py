"""Prompts that leave no room for an answer are left out, counted and shown."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from experiments import (
    best_of_n,
    collect,
    grpo,
    judge,
    online_dpo,
    ppo,
    sft,
    winners,
)
from jaxalign.data import chat
from jaxalign.data.examples import Example, TokenRow
from jaxalign.pipeline import datasets, held_out, online, reward_models
from jaxalign.runtime.config import RunConfig
from jaxalign.runtime.run import Run
from tests.support import quick, small_runs

ROWS, EVERY = 40, 5  # one prompt of each five is longer than the context of 64
REWARD = {"reward": "length:3", "max_new_tokens": 4}
ONLINE = REWARD | {"steps": 1}
ASKED = {"max_new_tokens": 4, "prompts": 40, "held_out_prompts": 40, "samples": 2}
RUNS = {
    "grpo": (grpo, grpo.Config(prompts=8, samples=2, **ONLINE)),
    "ppo": (ppo, ppo.Config(batch=8, **ONLINE)),
    "online_dpo": (online_dpo, online_dpo.Config(prompts=8, **ONLINE)),
    "collect": (collect, collect.Config(**ASKED)),
    "winners": (winners, winners.Config(reward="length:3", **ASKED)),
    "best_of_n": (best_of_n, best_of_n.Config(samples=2, **REWARD)),
}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = small_runs.prepare(tmp_path_factory.mktemp("long"))
    rows = [
        {"prompt": f"{i} " + "red " * (80 if i % EVERY == 0 else 2), "completion": "x"}
        for i in range(ROWS)
    ]
    (folder / "long.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def told(base, tmp_path):
    """Flags, and how many prompts each split has: all, and too long ones."""
    data = str(base / "long.jsonl")
    sides = datasets.load(RunConfig(data=data, held_out=0.3)).prompts()
    long = lambda side: sum("red " * 9 in p.messages[0]["content"] for p in side)
    counts = [(len(side), long(side)) for side in sides]
    assert all(0 < few < every for every, few in counts)
    flags = {"model": str(base / "policy"), "data": data, "out": tmp_path / "run"}
    return flags | {"held_out": 0.3, "mesh": "data=1"}, counts


@pytest.mark.parametrize("name", quick.only(["collect", "winners"], RUNS))
def test_runs_count_and_show_them(told, name, capsys, monkeypatch):
    flags, counts = told
    load = datasets.load

    def judged(config):
        reward = lambda prompts, texts, ended: {
            "reward": np.array([float(len(text)) for text in texts])
        }
        return dataclasses.replace(load(config), reward=reward)

    monkeypatch.setattr(datasets, "load", judged)
    # of a policy whose answers never end
    first = lambda answers, reward, samples: np.arange(0, len(reward), samples)
    monkeypatch.setattr(winners, "select_winners", first)
    module, config = RUNS[name]
    module.main(dataclasses.replace(config, **flags))
    shown = " ".join(capsys.readouterr().out.split())
    notes = json.loads((flags["out"] / "data.json").read_text())["notes"]
    splits = {"best_of_n": [1], "collect": [0, 1], "winners": [0, 1]}
    for side in splits.get(name, [0]):
        every, long = counts[side]
        # of a context of 64, 4 are kept for the answer
        words = f"{every - long} of {every} prompts ({long} longer than 60 tokens"
        assert any(words in note for note in notes) and words in shown


def test_judged_policies_and_evaluations_show_them(told, base, capsys):
    """These have no folder of their own, or no run yet."""
    flags, counts = told
    config = judge.Config(policies=str(base / "policy"), **ASKED, **flags)
    lines = []
    with jax.set_mesh(Run(config, "judge").mesh) as mesh:
        source = datasets.load(config)
        judge.sample_candidates(
            config, source, mesh, 0, str(base / "policy"), lines.append
        )
    assert [line.split(" (")[0].split(", ")[1] for line in lines] == [
        f"{name}: {every - long} of {every} prompts"
        for name, (every, long) in zip(("train", "test"), counts, strict=True)
    ]
    capsys.readouterr()
    held_out_eval = held_out.make_held_out_eval(
        config, source, base / "policy", 100, max_new_tokens=4
    )
    every, long = counts[1]
    assert len(held_out_eval.prompts) == every - long
    shown = " ".join(capsys.readouterr().out.split())
    assert f"held-out prompts: {every - long} of {every} prompts ({long} long" in shown


def test_what_online_methods_share_shows_them(told):
    flags, ((every, long), _) = told
    config = grpo.Config(prompts=8, samples=2, **ONLINE, **flags)
    with Run(config, "grpo") as run:
        setup = online.prepare(config, run, prompts=8)
    assert len(setup.prompts) == every - long
    (note,) = run.files.data["notes"]
    assert note.startswith(f"prompts: {every - long} of {every} prompts ({long} longer")


def test_online_methods_tokenize_each_prompt_once(told, monkeypatch):
    flags, ((every, _), _) = told
    config = grpo.Config(prompts=8, samples=2, **ONLINE, **flags)
    counts = []
    encode = chat.try_encode_prompts  # which `encode_prompts` calls, too

    def counting(tokenizer, conversations):
        counts.append(len(conversations))
        return encode(tokenizer, conversations)

    monkeypatch.setattr(chat, "try_encode_prompts", counting)
    with Run(config, "grpo") as run:
        setup = online.prepare(config, run, prompts=8)
        next(setup.prompt_batches)
    assert counts == [every]


def test_none_left_is_refused(told):
    flags, _ = told
    config = grpo.Config(prompts=8, samples=2, **REWARD | {"max_new_tokens": 63})
    with pytest.raises(ValueError, match="no prompt leaves room for 63 new tokens"):
        grpo.main(dataclasses.replace(config, **flags))


def test_the_reward_models_normalisation_shows_them():

    def example(n):
        tokens = np.arange(n + 1, dtype=np.int32)
        return Example((TokenRow(tokens, tokens == n),), 0)

    lines = []
    train = [example(3), example(30), example(4), example(30)]
    found = reward_models.distinct_prompts(train, np.arange(4), 2, 10, lines.append)
    assert list(map(len, found)) == [3, 4]
    assert lines[0].startswith("normalization: 2 prompts answered (1 longer than 10")


@pytest.mark.parametrize("all_turns", [False, True])
def test_sft_says_which_turns_it_trains(told, all_turns):
    flags, _ = told
    sft.main(sft.Config(steps=0, all_turns=all_turns, **flags))
    plan = json.loads((flags["out"] / "plan.json").read_text())
    which = "every answer" if all_turns else "the last answer alone"
    assert plan["trained_turns"].startswith(f"{which} of a conversation; the tokenizer")
