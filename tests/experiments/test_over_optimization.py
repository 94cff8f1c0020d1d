"""Over-optimization: its arms, and a smoke run."""

import dataclasses
import json

import pytest

from experiments.studies import over_optimization


def test_arms_are_sizes_ensembles_and_ppo_with_and_without_a_penalty():
    config = over_optimization.Config(pairs=(512, 64), rl_pairs=128, members=3)
    arms = over_optimization.arms_of(config)
    sizes = [arm.pairs for arm in arms.values() if not (arm.ensemble or arm.beta)]
    assert sizes == [64, 128, 512, 128]  # the last is PPO's
    assert {arm.pairs for arm in arms.values() if arm.ensemble} == {128}
    assert arms["PPO"].beta == 0.0 and arms["PPO, KL penalty 0.05"].beta == 0.05


@pytest.mark.slow
def test_a_smoke_run_writes_its_report_and_resumes(tmp_path):
    config = over_optimization.Config(smoke=True, out=tmp_path / "run")
    numbers = over_optimization.main(config)
    assert (config.out / "report.html").exists()
    cells = list(config.out.glob("seed-0/*/measured.json"))
    assert len(cells) == 7  # two sizes, three ensembles, two of PPO
    again = over_optimization.main(dataclasses.replace(config, resume=True))
    assert json.dumps(again, default=str) == json.dumps(numbers, default=str)
