"""A round is killed in every one of its stages, and is the same to the bit."""

import dataclasses

import numpy as np
import pytest
from safetensors.numpy import load_file

from experiments import dpo, reward_model, rounds, sft
from jaxalign.runtime.run import Run
from tests.experiments.test_rounds import MANY

replace = dataclasses.replace
FEW = {"steps": 2, "batch": 8, "save_every": 1}
TINY = rounds.Config(
    rounds=1,
    eval_prompts=16,
    sft=sft.Config(**FEW),
    collect=replace(rounds.Config().collect, prompts=16, held_out_prompts=8),
    reward_model=reward_model.Config(**FEW),
    winners=MANY,
    finetune=sft.Config(**FEW),
    dpo=dpo.Config(**FEW),
    mesh="data=1",
)


class Stop(Exception):
    """A run that is killed."""


def kill_each_once(monkeypatch):
    """Kills every stage in its last step, or, where it has none, before it ends."""
    log, finish, killed = Run.log, Run.finish, []

    def once(run):
        if run.folder.name not in killed:
            killed.append(run.folder.name)
            raise Stop

    def until(self, step, *args, **kwargs):
        if step == 1:
            once(self)
        log(self, step, *args, **kwargs)

    def end(self, numbers):
        once(self)
        return finish(self, numbers)

    monkeypatch.setattr(Run, "log", until)
    monkeypatch.setattr(Run, "finish", end)
    return killed


@pytest.mark.slow
def test_killed_in_every_stage_is_the_same_to_the_bit(tmp_path, monkeypatch):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    rounds.main(replace(TINY, out=whole))
    stops = ["sft", "collect", "reward_model", "winners", "finetune", "dpo"]
    killed = kill_each_once(monkeypatch)
    for i in range(len(stops)):
        with pytest.raises(Stop):
            rounds.main(replace(TINY, out=parts, resume=i > 0))
    rows = rounds.main(replace(TINY, out=parts, resume=True))
    assert killed == stops
    assert [row["method"] for row in rows][2] == "round 1, DPO"
    assert (parts / "table.md").read_text() == (whole / "table.md").read_text()
    one = "round-1"
    for folder in ("sft/policy", f"{one}/finetune/policy", f"{one}/dpo/policy"):
        ours, theirs = (
            load_file(out / folder / "model.safetensors") for out in (parts, whole)
        )
        assert all(np.array_equal(ours[name], theirs[name]) for name in theirs), folder
    for name in ("collect/rankings/train.jsonl", "winners/best/train.jsonl"):
        texts = [(out / one / name).read_text() for out in (parts, whole)]
        assert texts[0] == texts[1], name
