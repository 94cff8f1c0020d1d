"""Mode seeking, displacement and details: what they refuse, and smoke runs."""

import dataclasses
import json

import pytest

from experiments import ppo
from experiments.studies import details, displacement, mode_seeking, no_reward_model
from jaxalign.training.loss_registry import PAIRWISE_LOSSES


def test_every_detail_is_another_value_of_a_flag_of_ppo():
    default = ppo.Config()
    settings = [*details.DETAILS.values()]
    settings += [s for each in details.SENSITIVITIES.values() for s in each.values()]
    for changed in settings:
        made = dataclasses.replace(default, **changed)  # refuses unknown ones
        assert len(changed) == 1
    for name, changed in details.DETAILS.items():
        made = dataclasses.replace(default, **changed)
        assert made != default, name


def test_details_that_do_not_exist_are_refused():
    with pytest.raises(ValueError, match="--details 'no clip' is none of no KL"):
        details.main(details.Config(details=("no clip",)))
    with pytest.raises(ValueError, match="--model FOLDER and --reward FOLDER"):
        details.main(details.Config(model="a"))


def test_losses_of_the_displacement_study_exist_with_their_flags():
    for flags in displacement.LOSSES.values():
        loss = PAIRWISE_LOSSES[flags["loss"]]
        assert ("alpha" in flags) <= ("alpha" in loss.hyperparameters)
        # those without a reference are compared with it for the numbers
        assert flags.get("reference_metrics", False) != loss.needs_reference


def test_rewards_that_are_not_known_are_refused_and_clipping_is_an_arm():
    with pytest.raises(ValueError, match="--rewards 'bleu' is none of true reward"):
        no_reward_model.main(no_reward_model.Config(rewards=("bleu",)))
    assert no_reward_model.method_of("random") is None
    method = no_reward_model.method_of("random, no clipping")
    assert (method.clip_low, method.clip_high) == (1.0, 1e6)


def test_a_reference_without_models_is_refused():
    with pytest.raises(ValueError, match="--reference and --models are given together"):
        mode_seeking.main(mode_seeking.Config(reference="a"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "study", [mode_seeking, displacement, details, no_reward_model]
)
def test_a_smoke_run_writes_its_report_and_resumes(study, tmp_path):
    config = study.Config(smoke=True, out=tmp_path / "run")
    numbers = study.main(config)
    cells = list(config.out.glob("seed-0/*/measured.json"))
    assert cells and (config.out / "report.html").exists()
    for cell in cells:
        cell.write_text(cell.read_text())  # as it was, but newer
    again = study.main(dataclasses.replace(config, resume=True))
    assert json.dumps(again, default=str) == json.dumps(numbers, default=str)
