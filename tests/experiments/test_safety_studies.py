"""The studies of safety from end to end: priority orders, and Llama 2's recipe."""

import json

import pytest

from experiments import reward_model
from experiments.studies import priority_orders, safety
from jaxalign.pipeline import model_folders
from jaxalign.pipeline.safety_study import toy_files
from tests.support import untrained


def test_only_orders_with_safety_first_do_no_harm(tmp_path):
    numbers = priority_orders.main(priority_orders.Config(out=tmp_path / "out"))
    harm = {name.removeprefix("harm, "): value for name, value in numbers.items()}
    assert all(
        (value < 0.01) == name.startswith("safe") for name, value in harm.items()
    )
    report = (tmp_path / "out" / "report.md").read_text()
    assert "killbot hellscape" in report and "balanced world" in report


def test_a_reward_model_with_a_safety_head_writes_both(tmp_path):
    base = untrained.save(tmp_path / "base")
    data = toy_files.write_safety_pairs(tmp_path / "pairs", 0, 40)
    config = reward_model.Config(
        **{"model": str(base), "data": str(data), "out": tmp_path / "run"},
        **{"steps": 2, "batch": 8, "mesh": "data=1", "log": "none"},
        normalize_samples=8,
        safety_weight=1.0,
    )
    numbers = reward_model.main(config)
    assert 0 <= numbers["eval/unsafe_recall"] <= 1
    assert {"train/safety_loss", "train/unsafe_recall"} <= set(numbers)
    for name in ("reward", "unsafe"):
        model_folders.load_scalar(tmp_path / "run" / name, "float32")
    # the log-odds are not normalized
    assert model_folders.load_scale(tmp_path / "run" / "unsafe") == (1.0, 0.0)


@pytest.mark.slow
def test_the_recipe_runs_and_resumes(tmp_path):
    config = safety.Config(smoke=True, out=tmp_path / "out", mesh="data=1")
    numbers = safety.main(config)
    assert "PPO" in numbers["by_model"] and "small, taught" in numbers["by_model"]
    study = json.loads((tmp_path / "out" / "study.json").read_text())
    assert "old finds rejected" not in study["base"]
    again = safety.Config(smoke=True, out=tmp_path / "out", mesh="data=1", resume=True)
    assert safety.main(again) == numbers
