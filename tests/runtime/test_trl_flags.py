"""A flag by TRL's name is refused with the flag that stands for it here."""

import pytest

from experiments import dpo, grpo, rlhf, sft
from jaxalign.runtime import cli


def refusal(config, *arguments):
    with pytest.raises(ValueError, match="is a name of TRL's: ") as error:
        cli.parse_arguments(config, arguments)
    return str(error.value)


def test_the_message_names_the_flag_here():
    said = refusal(dpo.Config, "--per-device-train-batch-size", "4")
    assert said == (
        "--per-device-train-batch-size is a name of TRL's: here it is --batch (over "
        "all devices); docs/coming_from_trl.md has all of them"
    )


def test_the_flag_is_that_of_the_program():
    name = "--per_device_train_batch_size=4"
    assert "here it is --prompts (over" in refusal(grpo.Config, name)
    assert "here it is --all-turns;" in refusal(sft.Config, "--assistant-only-loss")
    assert "this program has no such flag;" in refusal(sft.Config, "--kl-coef", "0.1")
    assert "no such flag here: answers are" in refusal(grpo.Config, "--use-vllm")


def test_flags_of_stages():
    said = refusal(rlhf.Config, "--ppo.cliprange", "0.1")
    assert said.startswith("--ppo.cliprange is a name of TRL's: here it is --ppo.clip;")


def test_flags_of_this_project_are_parsed(monkeypatch):
    config = cli.parse_arguments(grpo.Config, ["--temperature", "0.5", "--steps=3"])
    assert (config.temperature, config.steps) == (0.5, 3)


def test_other_unknown_flags_are_left_to_the_parser(capsys):
    with pytest.raises(SystemExit):
        cli.parse_arguments(dpo.Config, ["--bta", "0.1"])
    assert "--beta" in capsys.readouterr().err
