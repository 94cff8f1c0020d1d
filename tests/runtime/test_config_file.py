"""config.yaml: written by every run, read by --config, under the command's flags."""

import dataclasses
import sys
from pathlib import Path
from typing import get_args, get_origin, get_type_hints

import pytest
import yaml

from experiments import curves, dpo, methods, plan, rlhf
from jaxalign.runtime import cli, config_file, flags, jsonl, stage_flags, stages
from jaxalign.runtime.config import RunConfig
from jaxalign.runtime.report_run import ReportRun
from tests.runtime.test_flags import CONFIGS, made
from tests.support import small_runs


def written(tmp_path, config, **others):
    config_file.write_config(tmp_path, config, **others)
    return tmp_path / config_file.NAME


def parse(config, *arguments):
    return cli.parse_arguments(config, [str(one) for one in arguments])


def write(tmp_path, text):
    path = tmp_path / "flags.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", CONFIGS)
def test_the_defaults_of_every_program_come_back(tmp_path, name):
    kind = CONFIGS[name]
    hints, needed = get_type_hints(kind), config_file.required_fields(kind)
    lists = [name for name in needed if get_origin(hints[name]) is tuple]
    config = made(kind, **{name: (get_args(hints[name])[0]("a"),) for name in lists})
    # as a pipeline writes it: a stage's flags that have no effect are refused
    replaced = stage_flags.REPLACED if issubclass(kind, RunConfig) else ()
    path = written(tmp_path, config, replaced=replaced)
    read = config_file.read_config(type(config), path)
    assert read == config  # dataclasses: each field, the inner ones' too
    names = [f.name for f in dataclasses.fields(config)]
    names = [name for name in names if name not in config_file.LOCATION_FLAGS]
    assert list(yaml.safe_load((tmp_path / config_file.NAME).read_text())) == names


def test_values_that_yaml_reads_as_something_else_come_back(tmp_path):
    config = dpo.Config(
        data="on",
        data_path="2026-01-01",
        model="a: b #c\n'\"é\x07",
        held_out_data="null",
        template_date="2026-01-01",
        learning_rate=5e-7,  # PyYAML reads 5e-07, without a point, as text
        clip_norm=float("inf"),
        token_cache=Path("cache"),
    )
    assert config_file.read_config(dpo.Config, written(tmp_path, config)) == config


def test_flags_come_before_the_file_and_the_file_before_defaults(tmp_path):
    path = write(tmp_path, "beta: 0.3\nbatch: 8\n")
    config = parse(dpo.Config, "--batch", 4, "--config", path, "--seed", 2)
    assert (config.beta, config.batch, config.seed) == (0.3, 4, 2)
    assert config.weight_decay == dpo.Config().weight_decay
    path = write(tmp_path, "ppo: {steps: 3, beta: 0.2}\ncollect:\n  samples: 2\n")
    config = parse(rlhf.Config, f"--config={path}", "--ppo.steps", 5)
    assert (config.ppo.steps, config.ppo.beta) == (5, 0.2)
    # a field that the file does not have is the pipeline's default, not the stage's
    assert (config.collect.samples, config.collect.annotators) == (2, 25)


def test_a_programs_required_flag_may_be_in_the_file(tmp_path):
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Config(flags.ValidatedConfig):
        data: str
        seed: int = 0

    path = write(tmp_path, "seed: 3\n")
    assert parse(Config, "--config", path, "--data", "a") == Config(data="a", seed=3)
    path = write(tmp_path, "data: b\n")
    assert parse(Config, "--config", path) == Config(data="b")


def test_numbers_are_read_as_people_write_them(tmp_path):
    path = write(tmp_path, "learning_rate: 1e-4\ntemplate-date: 2026-01-02\nbeta: 1\n")
    config = config_file.read_config(dpo.Config, path)
    assert config.learning_rate == 1e-4 and config.template_date == "2026-01-02"


@pytest.mark.parametrize(
    "text, message",
    [
        ("bata: 1", "flags.yaml: unknown field 'bata': did you mean .*beta"),
        ("batch: many", "flags.yaml: batch is 'many'; expected a whole number"),
        ("batch: 0", "flags.yaml: --batch 0: it should be a whole number"),
        ("ppo: {clipp: 1}", "flags.yaml: ppo: unknown field 'clipp': did you mean cli"),
        ("ppo: {steps: a}", "flags.yaml: ppo.steps is 'a'; expected a whole number"),
        ("ppo: {steps: -1}", "flags.yaml: --ppo.steps -1: it should be"),
        ("ppo: 3", "flags.yaml: ppo is 3; expected fields"),
        ("compilation_cache: off", "is False; expected .*quote it"),
        ("a: [", "no YAML"),
        ("", "holds no names with values"),
    ],
)
def test_a_wrong_file_names_the_file_and_the_field(tmp_path, text, message):
    config = dpo.Config if text.startswith("ba") else rlhf.Config
    with pytest.raises(ValueError, match=message):
        parse(config, "--config", write(tmp_path, text))


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--config"], "needs a file"),
        (["--config", "--beta", "1"], "needs a file"),
        (["--config", "a.yaml", "--config=b.yaml"], "2 times"),
        (["--config", "nowhere.yaml"], "--config nowhere.yaml: No such file"),
    ],
)
def test_a_wrong_flag_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        parse(dpo.Config, *arguments)


def test_the_folder_of_a_runs_file_is_not_taken(tmp_path):
    config = dpo.Config(out=tmp_path / "a", resume=True)
    config.out.mkdir()
    path = written(config.out, config)
    assert f"--config {tmp_path}/a/config.yaml" in path.read_text()
    read = parse(dpo.Config, "--config", path)
    assert read.out is None and not read.resume
    # who writes them by hand means them
    path = write(tmp_path, "out: b\nresume: true\n")
    read = parse(dpo.Config, "--config", path)
    assert read.out == Path("b") and read.resume


def test_a_result_that_is_a_file_has_its_flags_beside_it(tmp_path):
    config = plan.Config(mesh="data=2", chips=("h100",), out=tmp_path / "a.b.json")
    config_file.write_sidecar(config.out, config)
    path = tmp_path / "a.b.config.yaml"
    assert f"experiments.plan --config {path}" in path.read_text()
    again = parse(plan.Config, "--config", path, "--out", tmp_path / "c.json")
    assert again == dataclasses.replace(config, out=tmp_path / "c.json")


def test_a_report_writes_its_flags(tmp_path):
    config = curves.Config(runs=("a", "b=c"), smoothing=0.5, out=tmp_path / "report")
    with ReportRun(config, "curves"):
        path = tmp_path / "report" / "config.yaml"
        again = parse(curves.Config, "--config", path, "--out", tmp_path / "report")
    assert again == config


def test_a_run_from_its_own_file_has_the_same_bits(tmp_path, monkeypatch):
    inputs = small_runs.prepare(tmp_path / "inputs")
    config = dpo.Config(
        model=str(inputs / "policy"),
        data=str(inputs / "pairs.jsonl"),
        out=tmp_path / "a",
        steps=3,
        batch=4,
        seed=5,
        beta=0.3,
        mesh="data=1",
    )
    dpo.main(config)
    monkeypatch.setattr(sys, "argv", ["dpo"])
    path = tmp_path / "a" / "config.yaml"
    again = parse(dpo.Config, "--config", path, "--out", tmp_path / "b")
    # what depends on the model is written with its value
    assert config.learning_rate is None and again.learning_rate == 2e-4
    dpo.main(again)
    for name in ("numbers.json", "policy/model.safetensors"):
        one, other = (tmp_path / run / name for run in "ab")
        assert one.read_bytes() == other.read_bytes(), name
    one, other = (jsonl.read(tmp_path / run / "metrics.jsonl") for run in "ab")
    losses = [row["loss"] for row in one if "loss" in row]
    assert len(losses) == 3
    assert losses == [row["loss"] for row in other if "loss" in row]
    assert "resume: " not in path.read_text() and "\nout: " not in path.read_text()


def test_a_pipelines_file_has_its_stages(tmp_path):
    config = methods.Config(seeds=2, ppo=methods.ppo_stage.Config(beta=0.7))
    seeds = list(stages.configs_by_seed(config, tmp_path))
    read = config_file.read_config(methods.Config, tmp_path / "config.yaml")
    assert (read.seeds, read.ppo.beta, read.out) == (2, 0.7, None)
    stages.begin_pipeline(seeds[1], seeds[1].out)
    path = tmp_path / "seed-1" / "config.yaml"
    read = config_file.read_config(methods.Config, path)
    assert (read.seeds, read.seed, read.ppo.beta) == (1, 1, 0.7)
    values = yaml.safe_load(path.read_text())
    # the pipeline's --seed stands for its stages': they are not repeated
    assert "seed" in values and not {"seed", "model"} & set(values["ppo"])
    assert "steps" in values["rejection_sampling"]["finetune"]
