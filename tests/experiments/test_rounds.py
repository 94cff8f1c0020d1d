"""Rounds of rejection sampling and of everything: who wins, what is kept, resuming."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from experiments import rejection_sampling, rounds, sft, winners
from jaxalign.data import readers
from jaxalign.data.records import Demonstration, Prompt
from jaxalign.pipeline import round_schedule
from jaxalign.pipeline.prompts import cyclic_slice
from jaxalign.runtime import jsonl, run_settings
from jaxalign.runtime.run import Run
from jaxalign.runtime.stages import stage_config as told_stage
from tests.support import untrained

replace = dataclasses.replace
ASKED = [Prompt([{"role": "user", "content": x}], location=x) for x in "abcd"]


class Answers:
    """What is read of sampled answers: four prompts, three answers each."""

    prompts = [p for p in ASKED for _ in range(3)]
    texts = ["x", "y", "z", "x", "", "z", "x", "y", "z", "x", "y", "z"]
    finished = np.array([True] * 6 + [False, False, True] + [False] * 3)


#                   1 wins | "" cannot   | unfinished | nothing can
REWARD = np.array([0.0, 2.0, 2.0, 1.0, 9.0, -1.0, 5.0, 6.0, -7.0, 1.0, 2.0, 3.0])


def test_winners_by_hand():
    found = winners.select_winners(Answers, REWARD, 3)
    # y before z, its equal; x, as the empty answer cannot win; z, which alone ended
    assert found.tolist() == [1, 3, 8]
    assert winners.winner_row(Answers, REWARD, 8) == {
        "messages": [
            {"role": "user", "content": "c"},
            {"role": "assistant", "content": "z"},
        ],
        "reward": -7.0,
    }


def test_nothing_to_choose_is_said():
    class Cut(Answers):
        finished = np.zeros(12, bool)

    with pytest.raises(ValueError, match="no answer ended"):
        winners.select_winners(Cut, REWARD, 3)
    with pytest.raises(ValueError, match="an answer to b is not a finite number"):
        winners.select_winners(Answers, np.where(np.arange(12) == 4, np.nan, REWARD), 3)
    with pytest.raises(ValueError, match="--held-out-prompts 0: it"):
        winners.main(winners.Config(held_out_prompts=0))


def test_winners_are_read_as_demonstrations(tmp_path):
    rows = [winners.winner_row(Answers, REWARD, at) for at in (1, 3, 8)]
    jsonl.write(tmp_path / "train.jsonl", rows)
    found, _ = readers.read(tmp_path / "train.jsonl", Demonstration)
    assert [d.messages[-1]["content"] for d in found] == ["y", "x", "z"]


def test_the_union_over_rounds(tmp_path):
    """Winners that win again are there once; held-out rows are the newest round's."""
    told = [["a", "b"], ["c", "a"], ["d"]]
    for i, names in enumerate(told):
        folder = jsonl.round_folder(tmp_path, i) / "best"
        jsonl.write(folder / "train.jsonl", [{"m": x, "reward": i} for x in names])
        jsonl.write(folder / "test.jsonl", [{"m": f"held {i}"}])
    all_of = lambda i, kept: jsonl.round_folders(tmp_path, i, "best", kept)
    gathered = lambda folders, once: [
        (row["m"], row["reward"])
        for row in jsonl.read(
            jsonl.gather(folders, tmp_path / "all", once=once) / "train.jsonl"
        )
    ]
    assert gathered(all_of(1, "all"), "m") == [("a", 1), ("b", 0), ("c", 1)]
    assert jsonl.read(tmp_path / "all" / "test.jsonl") == [{"m": "held 1"}]
    # of labels each counts, however often the same pair was compared
    assert gathered(all_of(1, "all"), "") == [("a", 0), ("b", 0), ("c", 1), ("a", 1)]
    assert len(gathered(all_of(2, "all"), "m")) == 4
    assert gathered(all_of(2, "newest"), "m") == [("d", 2)]


def test_temperatures_and_prompts_of_each_round():
    assert round_schedule.round_temperatures([0.7], 3) == [0.7] * 3
    assert round_schedule.round_temperatures([1.0, 1.2], 2) == [1.0, 1.2]
    for told, count in (([1.0, 1.2], 3), ([1.0], 0), ([-1.0], 2), ([], 1)):
        with pytest.raises(ValueError, match=f"one for each of --rounds {count}"):
            round_schedule.round_temperatures(told, count)
    assert cyclic_slice("abcde", 3, 4) == list("deab")
    assert cyclic_slice("ab", 7, 9) == list("ba")


# of what an untrained policy says little ends
MANY = winners.Config(prompts=16, held_out_prompts=8, samples=16)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return untrained.save(tmp_path_factory.mktemp("sft") / "policy")


def contents(folder: Path) -> list[list[str]]:
    rows = jsonl.read(folder / "train.jsonl")
    return [[m["content"] for m in row["messages"]] for row in rows]


def told(folder: Path) -> dict:
    return json.loads((folder / "config.json").read_text())


class Stop(Exception):
    """A run that is killed."""


@pytest.mark.slow
def test_rejection_sampling_resumes_in_any_round(base, tmp_path, monkeypatch):
    config = rejection_sampling.Config(
        model=str(base),
        rounds=2,
        temperatures=(1.0, 0.8),
        eval_prompts=8,
        winners=MANY,
        finetune=sft.Config(steps=3, batch=8, save_every=1, learning_rate=5e-4),
        out=tmp_path / "whole",
        mesh="data=1",
    )
    rows = rejection_sampling.main(config)
    assert [row["method"] for row in rows] == ["start", "round 1", "round 2"]
    assert rows[0]["KL (nats)"] == 0.0 and "win rate" in rows[1]
    first, second = (jsonl.round_folder(config.out, i) for i in (0, 1))
    assert [told(f / "winners")["temperature"] for f in (first, second)] == [1.0, 0.8]
    assert told(second / "winners")["model"] == str(first / "finetune" / "policy")
    assert told(second / "finetune")["model"] == str(first / "finetune" / "policy")
    won = [contents(folder / "winners" / "best") for folder in (first, second)]
    known = dict.fromkeys(map(tuple, won[0] + won[1]))
    assert contents(second / "demonstrations") == list(map(list, known))

    with pytest.raises(ValueError, match="already holds a run: add --resume"):
        rejection_sampling.main(config)
    parts = replace(config, out=tmp_path / "parts")
    shutil.copytree(first, parts.out / "round-1")
    log = Run.log

    def until(self, step, *args, **kwargs):
        if step == 2:
            raise Stop
        log(self, step, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "log", until)
        with pytest.raises(Stop):
            rejection_sampling.main(replace(parts, resume=True))
    rejection_sampling.main(replace(parts, resume=True))
    tables = [(f / "table.md").read_text() for f in (parts.out, config.out)]
    assert tables[0] == tables[1]
    ours, theirs, before = (
        load_file(f / "finetune" / "policy" / "model.safetensors")
        for f in (parts.out / "round-2", second, first)
    )
    # the same program on the same inputs: the same bits
    assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)
    assert not all(np.array_equal(ours[name], before[name]) for name in theirs)


def test_rejection_sampling_needs_a_policy_and_a_reward(base, tmp_path):
    with pytest.raises(ValueError, match="should be the folder of a policy"):
        rejection_sampling.main(rejection_sampling.Config(out=tmp_path))
    told = {"model": str(base), "out": tmp_path / "near"}
    for reward, hint in (("programed", "mean programmed"), ("blue", "mean bleu")):
        with pytest.raises(ValueError, match=hint):
            rejection_sampling.main(rejection_sampling.Config(reward=reward, **told))
    assert not told["out"].exists()  # or the next try would find a run there
    file = tmp_path / "prompts.jsonl"
    file.write_text('{"prompt": "a"}\n')
    config = rejection_sampling.Config(model=str(base), data=str(file), out=tmp_path)
    with pytest.raises(ValueError, match="no programmed reward: name a reward model"):
        rejection_sampling.main(config)


TINY = replace(rounds.smoke_config(rounds.Config(mesh="data=1")), winners=MANY)


@pytest.mark.slow
def test_a_round_of_everything(base, tmp_path, monkeypatch):
    """Every stage runs, the table has a row a policy, and nothing is done twice."""
    shutil.copytree(base, tmp_path / "sft" / "policy")
    (tmp_path / "sft" / "numbers.json").write_text("{}")
    config = replace(TINY, rounds=1, out=tmp_path, resume=True)
    stage = told_stage(config, "sft", tmp_path / "sft", model="toy", data="toy")
    (tmp_path / "sft" / "config.json").write_text(
        json.dumps(run_settings.to_json(stage))
    )
    rows = rounds.main(config)
    names = ["SFT", "round 1, winners", "round 1, DPO"]
    assert [row["method"] for row in rows] == names
    assert rows[0]["KL (nats)"] == 0.0
    assert {"true reward", "win rate", "length", "refused_undue"} <= set(rows[2])
    for name in ("table.md", "table.json", "reward_kl.png", "samples.md"):
        assert (tmp_path / name).stat().st_size > 100, name
    before = (tmp_path / "table.md").read_text()
    again = lambda config: pytest.fail("ran again")
    for stage in ("collect", "reward", "winners", "sft", "dpo"):
        monkeypatch.setattr(getattr(rounds, f"{stage}_stage"), "main", again)
    rounds.main(config)
    assert (tmp_path / "table.md").read_text() == before


def leaves(found, name):
    """A stage that notes what it is told, and leaves empty files that others read."""

    def main(config):
        found.append((config.out.parent.name, name, config))
        for made in ("best", "rankings", "preferences"):
            for split in ("train", "test"):
                row = {"messages": f"{config.out} {split}"}
                jsonl.write(config.out / made / f"{split}.jsonl", [row])

    return main


@pytest.mark.parametrize("method", ["dpo", "ppo"])
def test_what_each_stage_of_a_round_is_told(tmp_path, monkeypatch, method):
    seen = []
    for stage in ("sft", "collect", "reward", "winners", "dpo", "ppo"):
        module = getattr(rounds, f"{stage}_stage")
        monkeypatch.setattr(module, "main", leaves(seen, stage))
    config = replace(TINY, rounds=2, temperatures=(1.0, 1.3), method=method)
    found = rounds.run_rounds(config, tmp_path)
    stages = ["collect", "reward", "winners", "sft", method]
    assert [(where, name) for where, name, _ in seen] == [
        (tmp_path.name, "sft"),
        *(("round-1", name) for name in stages),
        *(("round-2", name) for name in stages),
    ]
    collect, reward, choose, tune, last = (config for *_, config in seen[6:])
    one, two = tmp_path / "round-1", tmp_path / "round-2"
    latest = str(one / method / "policy")  # where the first round ended
    assert [c.model for c in (collect, reward, choose, tune)] == [latest] * 4
    assert last.model == str(two / "finetune" / "policy")
    assert (collect.first_prompt, choose.first_prompt) == (16, 16)
    assert choose.temperature == 1.3
    assert choose.reward == str(two / "reward_model" / "reward")
    origin = lambda folder: [
        Path(row["messages"]).parts[-2]
        for row in jsonl.read(Path(folder) / "train.jsonl")
    ]
    assert origin(reward.data) == origin(tune.data) == ["round-1", "round-2"]
    if method == "dpo":
        assert origin(last.data) == ["round-2"]
    else:
        assert (last.data, last.reward) == ("toy", choose.reward)
    assert list(found.values()) == [
        tmp_path / "sft" / "policy",
        *(r / name / "policy" for r in (one, two) for name in ("finetune", method)),
    ]


def test_what_is_kept_is_as_told(tmp_path, monkeypatch):
    seen = []
    for stage in ("sft", "collect", "reward", "winners", "dpo"):
        module = getattr(rounds, f"{stage}_stage")
        monkeypatch.setattr(module, "main", leaves(seen, stage))
    told = {"reward_data": "newest", "sft_data": "newest", "dpo_data": "all"}
    rounds.run_rounds(replace(TINY, start="first", **told), tmp_path)
    _, reward, _, tune, dpo = (config for *_, config in seen[6:])
    lines = [len(jsonl.read(Path(c.data) / "train.jsonl")) for c in (reward, tune, dpo)]
    assert lines == [1, 1, 2]
    assert tune.model == str(tmp_path / "sft" / "policy")


def test_rounds_need_a_programmed_reward(tmp_path):
    file = tmp_path / "prompts.jsonl"
    file.write_text('{"prompt": "a"}\n')
    with pytest.raises(ValueError, match="no programmed reward"):
        rounds.main(rounds.Config(data=str(file), out=tmp_path / "run"))
    with pytest.raises(ValueError, match="one for each of --rounds 6"):
        rounds.main(rounds.Config(temperatures=(1.0, 1.1), out=tmp_path / "run"))
