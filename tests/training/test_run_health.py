"""Series of metrics that go wrong are named once; healthy ones are not."""

import json

import numpy as np
import pytest

from jaxalign.training import run_health
from jaxalign.training.run_health import RunHealth

STEPS = 40
HEALTHY = {  # of a run of DPO, of KTO, of PPO, of GRPO, of online DPO: by step
    "logratio/chosen": lambda t: -2.0 * t,
    "logratio/rejected": lambda t: -30.0 * t,  # it alone falls far
    "logratio/desirable": lambda t: 3.0 * t,
    "logratio/undesirable": lambda t: -20.0 * t,
    "kl": lambda t: 12.0 * t,
    "length": lambda t: 40.0 + 20.0 * t,
    "eos": lambda t: 0.9 + 0.1 * t,
    "informative": lambda t: 0.8 - 0.5 * t,
    "ties": lambda t: 0.2 + 0.5 * t,
    "reward": lambda t: t,
}
WRONG = {
    "both_logratios_fall": {"logratio/chosen": lambda t: -30.0 * t},
    "kl_runs_away": {"kl": lambda t: 120.0 * t},
    "length_runs_away": {"length": lambda t: 40.0 + 80.0 * t},
    "eos_rate_falls": {"eos": lambda t: 0.9 - 0.5 * t},
    "reward_spread_gone": {"informative": lambda t: max(0.8 - 1.6 * t, 0.0)},
}


def warnings_of(series, seed=0):
    """The names of the warnings of a series of steps, with noise of 5 %."""
    health, rng = RunHealth(), np.random.default_rng(seed)
    for step in range(STEPS):
        noise = rng.uniform(0.95, 1.05)
        metrics = {name: f(step / STEPS) * noise for name, f in series.items()}
        health.add_step(step, metrics | {"loss": 1.0 + rng.normal()})
    return [each.warning for each in health.warnings]


@pytest.mark.parametrize("seed", range(5))
def test_a_healthy_run_has_no_warning(seed):
    assert warnings_of(HEALTHY, seed) == []


@pytest.mark.parametrize("name", WRONG)
def test_what_goes_wrong_is_named_once(name):
    assert warnings_of(HEALTHY | WRONG[name]) == [name]


def test_kto_has_the_same_warning():
    falls = {"logratio/desirable": lambda t: -30.0 * t}
    kto = {n: f for n, f in HEALTHY.items() if "desirable" in n}
    assert warnings_of(kto | falls) == ["both_logratios_fall"]


def test_ties_are_a_reward_without_spread():
    series = {"ties": lambda t: 1.0 / 1.05, "reward": lambda t: 1.0}
    assert warnings_of(series) == []  # 5 % of the prompts still differ
    assert warnings_of({"ties": lambda t: 1.06}) == ["reward_spread_gone"]


class TestEvaluations:
    def losses(self, *losses):
        health = RunHealth()
        for step, loss in enumerate(losses):
            health.add_evaluation(step, {"eval/loss": loss})
        return [(each.step, each.warning) for each in health.warnings]

    def test_a_rising_loss(self):
        assert self.losses(1.0, 0.8, 0.7, 0.72, 0.69, 0.7) == []
        # three rises in a row, the last after evaluation 5; said once
        name = "held_out_loss_rises"
        assert self.losses(1.0, 0.8, 0.7, 0.72, 0.74, 0.76, 0.78) == [(5, name)]
        # or above the start by more than 1 % of it
        assert self.losses(1.0, 1.005) == [] and self.losses(1.0, 1.02) == [(1, name)]
        # of a negative loss, too
        assert self.losses(-1.0, -1.2) == [] and self.losses(-1.0, -0.9) == [(1, name)]

    def test_all_held_out_answers_with_one_reward(self):
        health = RunHealth()
        spread = {"eval/reward": 3.0, "eval/reward_std": 0.5}
        health.add_evaluation(0, spread)
        assert health.add_evaluation(5, spread) == []
        (given,) = health.add_evaluation(9, spread | {"eval/reward_std": 0.0})
        assert given.warning == "reward_spread_gone" and given.step == 9
        assert "raise" not in str(given) and "(step 9)" in str(given)

    def test_what_is_not_known_warns_of_nothing(self):
        health = RunHealth()
        for step in range(3):
            nothing = {"eval/kl": float("nan"), "eval/length": 0.0}
            assert health.add_evaluation(step, nothing) == []


def test_a_resumed_run_goes_on_with_its_warnings():
    """Through JSON after every step: the same warnings at the same steps."""
    series = HEALTHY | WRONG["eos_rate_falls"] | WRONG["length_runs_away"]
    whole, parts = RunHealth(), RunHealth()
    for step in range(STEPS):
        metrics = {name: f(step / STEPS) for name, f in series.items()}
        evaluation = {"eval/loss": 1.0 + step}
        for health in (whole, parts):
            health.add_step(step, metrics)
            health.add_evaluation(step, evaluation)
        parts = RunHealth(json.loads(json.dumps(parts.to_json())))
    assert parts.warnings == whole.warnings and len(whole.warnings) == 3


def test_the_docstring_names_every_warning():
    for name in {*WRONG, "held_out_loss_rises"}:
        assert f"\n{name}  " in run_health.__doc__
