"""How an experiment runs its stages: each once, and what was begun goes on."""

import dataclasses
import json

from experiments import rounds, sft
from experiments.stages import stages

replace = dataclasses.replace


def test_stages_that_ended_are_left_alone_and_what_began_goes_on(tmp_path):
    """`resume` is told to a stage only where a folder of checkpoints says it began."""
    told = []

    def run(config):
        told.append((config.out.name, config.resume, config.steps, config.seed))

    config = rounds.Config(seed=3, sft=sft.Config(steps=7))
    (tmp_path / "begun" / "checkpoints").mkdir(parents=True)
    (tmp_path / "ended").mkdir()
    (tmp_path / "ended" / "numbers.json").write_text(json.dumps({}))
    for resume in (True, False):
        stage = stages(replace(config, resume=resume), tmp_path)
        for name in ("new", "begun", "ended"):
            stage(name, run, flags="sft")
    assert told == [
        ("new", False, 7, 3),
        ("begun", True, 7, 3),
        *((name, False, 7, 3) for name in ("new", "begun", "ended")),
    ]
