"""A run from its own config.yaml has the same bits; flags on top of the file win."""

import dataclasses
import json

import pytest
import yaml

from jaxalign.runtime import cli
from jaxalign.training import metrics
from tests.support import kill, quick, small_runs

replace = dataclasses.replace
OWN = """
def brief(prompts, answers, *, references, columns):
    return [1 - len(answer) / 40 for answer in answers]
"""
# flags of a small run; those that stay None are written as null
RUNS = {
    "grpo": {"steps": 3, "learning_rate": 1e-2, "minibatches": 1},
    "sft": {"steps": 3, "seed": 5},
    "sft lora": {"steps": 2, "train": "lora"},
    "reward_model": {"steps": 3, "seed": 5},
}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return small_runs.prepare(tmp_path_factory.mktemp("repeated"))


def repeat(config, *flags):
    """The configuration of OUT/config.yaml, as the command line reads it."""
    path = config.out / "config.yaml"
    again = str(config.out.parent / "again")
    return cli.parse_arguments(
        type(config), ["--config", str(path), "--out", again, *flags]
    )


@pytest.mark.parametrize("name", quick.only(["grpo"], RUNS))
def test_a_run_from_its_own_file_has_the_same_bits(base, tmp_path, name):
    """Samples, metrics, numbers, checkpoints and weights; loggers hear the same."""
    file = tmp_path / "my.py"
    file.write_text(OWN)
    given = RUNS[name] | {"mesh": "data=1"}
    if name == "grpo":
        given["reward"] = f"length:4=0.8,{file}:brief=0.2"
    pairs = [f"{key}={value}" for key, value in given.items()]
    module, config = small_runs.experiment_config(
        base, tmp_path / "first", name.split()[0], pairs
    )
    heard: dict[str, list] = {"first": [], "again": []}

    def run(config):
        lines = heard[config.out.name]
        timed = ("seconds", "tokens_per_second")
        module.main(
            config,
            loggers=[
                lambda step, numbers: lines.append(
                    (step, {k: x for k, x in numbers.items() if k not in timed})
                )
            ],
        )

    run(config)
    again = repeat(config)
    # the rate's default depends on the model, and is written with its value
    assert again.learning_rate is not None
    assert again == replace(
        config,
        out=again.out,
        **{
            field.name: getattr(again, field.name)
            for field in dataclasses.fields(config)
            if getattr(config, field.name) is None
        },
    )
    run(again)
    # the model card's command line has the flags that were defaults with their values
    cards = {"policy/README.md", "adapter/README.md", "reward/README.md"}
    assert cards >= set(kill.differing_files(config.out, again.out))
    assert heard["first"] == heard["again"]
    steps = [numbers for _, numbers in heard["first"] if "loss" in numbers]
    assert len(steps) == given["steps"] and len({x["loss"] for x in steps}) > 1
    if name == "grpo":
        assert all("rewards/brief/std" in numbers for numbers in steps)
        assert (again.out / "samples.jsonl").stat().st_size > 0


def test_flags_on_top_of_a_runs_file_win(base, tmp_path):
    """The sum of rewards, a flag that was None, and one of a single step."""
    file = tmp_path / "my.py"
    file.write_text(OWN)
    pairs = ["mesh=data=1", "steps=2", "minibatches=1", f"reward={file}:brief"]
    module, config = small_runs.experiment_config(base, tmp_path / "a", "grpo", pairs)
    module.main(config)
    written = yaml.safe_load((config.out / "config.yaml").read_text())
    assert written["kl_stop"] is None and written["reward"] == f"{file}:brief"
    other = repeat(
        config,
        *("--reward", f"length:4=2,{file}:brief=-1", "--steps", "1", "--kl-stop", "9"),
    )
    assert (other.steps, other.kl_stop, other.minibatches) == (1, 9.0, 1)
    module.main(other)
    (line,) = metrics.read_steps(other.out)
    first, _ = metrics.read_steps(config.out)
    # the same answers, scored by the same function and by another sum
    assert line["rewards/brief/mean"] == first["rewards/brief/mean"] == first["reward"]
    expected = 2 * line["rewards/length:4/mean"] - line["rewards/brief/mean"]
    assert line["reward"] == pytest.approx(expected, abs=1e-6)  # float32


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rejection_sampling", "rounds"])
def test_a_pipeline_from_its_own_file_has_the_same_bits(base, tmp_path, name):
    """Lists, and stages with flags of their own; every file of every stage."""
    module, config = small_runs.experiment_config(
        base, tmp_path / "first", name, ["mesh=data=1"]
    )
    file = tmp_path / "my.py"
    file.write_text(OWN)
    reward = f"gsm8k=1,{file}:brief=0.5"
    config = replace(config, temperatures=(1.0, 1.25), reward=reward)
    module.main(config)
    written = yaml.safe_load((config.out / "config.yaml").read_text())
    assert written["temperatures"] == [1.0, 1.25]
    assert written["finetune"]["steps"] == 2
    again = repeat(config)
    module.main(again)
    stages = [path.parent.name for path in again.out.rglob("numbers.json")]
    assert len(stages) >= 4
    differing = kill.differing_files(config.out, again.out)
    # the command lines of model cards, as above
    assert [x for x in differing if not x.endswith("README.md")] == []
    table = json.loads((again.out / "table.json").read_text())
    assert table == json.loads((config.out / "table.json").read_text())
