"""Reward models from weak labels: the flag, its rise, and the study from end to end."""

import dataclasses
import json

import numpy as np
import pytest

from experiments import reward_model
from experiments.studies import weak_to_strong


def test_confidence_needs_soft_labels(tmp_path):
    config = reward_model.Config(confidence=0.5, out=tmp_path / "run")
    with pytest.raises(ValueError, match="--confidence needs --soft-labels"):
        reward_model.main(config)
    assert not (tmp_path / "run").exists()
    with pytest.raises(ValueError, match="confidence"):
        reward_model.Config(confidence=1.5, soft_labels=True)


def test_confidence_rises_over_the_first_tenth():
    config = reward_model.Config(confidence=0.6, soft_labels=True)
    found = [reward_model.loss_inputs(config, i, 40) for i in (0, 1, 2, 4, 39)]
    # 4 steps are a tenth: 0, a quarter, a half, all
    np.testing.assert_allclose(found, [[0.0], [0.15], [0.3], [0.6], [0.6]], rtol=1e-6)
    # with fewer steps than ten it is whole from the second on
    assert reward_model.loss_inputs(config, 1, 2) == (np.float32(0.6),)


def test_without_confidence_the_loss_has_no_inputs():
    assert reward_model.loss_inputs(reward_model.Config(soft_labels=True), 3, 9) == ()


@pytest.mark.slow
@pytest.mark.parametrize("weak", ["small", "few"])
def test_a_smoke_run_writes_its_report_and_resumes(weak, tmp_path):
    config = weak_to_strong.Config(
        smoke=True, weak=weak, mesh="data=1", out=tmp_path / "run"
    )
    numbers = weak_to_strong.main(config)
    arms = ["weak", "strong, truth", "strong, weak labels"]
    assert {*arms, "strong, weak labels, confidence 0.5"} < set(numbers)
    assert "gap recovered, strong, weak labels" in numbers
    assert "Easy to hard" in (config.out / "report.md").read_text()
    rows = (config.out / "seed-0/start/data/weak_labels/train.jsonl").read_text()
    labels = [json.loads(row).get("label_prob", 1.0) for row in rows.splitlines()]
    assert len(labels) == 32 and min(labels) >= 0.5
    again = weak_to_strong.main(dataclasses.replace(config, resume=True))
    assert json.dumps(again, default=str) == json.dumps(numbers, default=str)
