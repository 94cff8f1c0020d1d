"""Rounds with people's labels, who are simulated: stopped while they wait, resumed."""

import dataclasses
import json

import pytest

from experiments import collect, rounds
from jaxalign.feedback import store
from jaxalign.pipeline import datasets, people
from jaxalign.pipeline.simulated_annotators import SimulatedAnnotator, reward_utility
from jaxalign.runtime import jsonl
from jaxalign.runtime.config import RunConfig
from tests.experiments.test_rounds_killed import TINY
from tests.support.simulated_study import judge_all

replace = dataclasses.replace


class Stop(BaseException):
    """The run is stopped while it waits."""


@pytest.fixture
def annotator():
    reward = datasets.load(RunConfig()).require_reward()
    return SimulatedAnnotator("ann", reward_utility(reward), 2.0, bias=0.2, lapse=0.1)


@pytest.mark.slow
def test_rounds_wait_for_people_and_go_on_where_they_were(
    tmp_path, monkeypatch, annotator
):
    study = tmp_path / "study"
    config = replace(TINY, out=tmp_path / "run", rounds=2, label="people", study=study)
    waits = []

    def sleep(_):
        waits.append(len(store.items(study)))
        if len(waits) in (1, 3):  # in each round at first
            raise Stop
        judge_all(study, [annotator])

    monkeypatch.setattr(people.time, "sleep", sleep)
    with pytest.raises(Stop):
        rounds.main(config)
    with pytest.raises(Stop):
        rounds.main(replace(config, resume=True))
    rows = rounds.main(replace(config, resume=True))
    assert [row["method"] for row in rows][-1] == "round 2, DPO"
    # the second start found the first round's items there; the third one the second's
    assert waits[0] == waits[1] < waits[2] == waits[3]
    assert sorted(set(store.rounds(study).values())) == [0, 1]
    said = store.judgements(study)
    assert len(said) == len(store.items(study))
    for i in range(2):
        folder = jsonl.round_folder(config.out, i) / "collect"
        numbers = json.loads((folder / "numbers.json").read_text())
        train = jsonl.read(folder / "preferences" / "train.jsonl")
        assert len(train) == numbers["train_pairs"] and train[0]["annotator"] == "ann"
    # the reward model is trained on the labels of both rounds
    gathered = jsonl.read(config.out / "round-2" / "rankings" / "train.jsonl")
    assert len(gathered) > len(train)
    table = (config.out / "table.md").read_text()
    assert "accuracy" in table and "Bayes" not in table


def test_flags_go_together(tmp_path):
    for flags in ({"label": "people"}, {"study": tmp_path}):
        for program in (rounds, collect):
            with pytest.raises(ValueError, match="--label people and --study FOLDER"):
                program.main(program.Config(out=tmp_path / "out", **flags))
    with pytest.raises(ValueError, match="leave --select-by"):
        rounds.main(
            rounds.Config(
                label="people", study=tmp_path, select_by="reward", out=tmp_path / "o"
            )
        )
