"""--help: groups of flags, a line for each stage, and no broken lines."""

import re
import subprocess
import sys

import pytest
import tyro

from experiments import dpo, grpo, methods, rlhf, sft
from experiments.speed import __main__ as speed
from jaxalign.runtime import cli, help_groups, help_text, stage_flags
from tests.runtime.test_flags import CONFIGS, made

# what no program needs to show its help, or to refuse a flag; together 4 s of CPU time
HEAVY = "flax grain orbax.checkpoint transformers tensorflow_datasets matplotlib scipy "
HEAVY += "tensorboardX beartype pyarrow huggingface_hub pandas torch optax chex jinja2"
HELP_OF_ALL = """
import importlib, pkgutil, sys
import experiments
from jaxalign.runtime import cli
for module in pkgutil.walk_packages(experiments.__path__, "experiments."):
    if module.name in ("experiments.__main__", "experiments.speed.__main__"):
        continue  # no program; it compares with other libraries
    loaded = importlib.import_module(module.name)
    if hasattr(loaded, "Config"):
        try:
            cli.parse_arguments(loaded.Config, ["--help"])
        except SystemExit:
            pass
    for name in sys.argv[1:]:
        assert name not in sys.modules, f"{module.name} imports {name}"
print("done")
"""
FLAG = re.compile(r"--[a-z][a-z.-]*")


def shown(capsys, config, *arguments):
    with pytest.raises(SystemExit) as ended:
        cli.parse_arguments(config, list(arguments))
    assert ended.value.code == 0
    return capsys.readouterr().out


@pytest.fixture(autouse=True)
def width(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys, "argv", ["program"])


@pytest.mark.parametrize("name", CONFIGS)
def test_every_flag_of_every_program_has_one_line_of_text(name):
    config = made(CONFIGS[name])
    rows = [row for rows in help_text.flag_groups(config).values() for row in rows]
    flags = [row.flag for row in rows]
    assert len(set(flags)) == len(flags)
    for row in rows:
        if not row.flag.startswith("--loss "):  # its lines are the losses'
            assert "\n" not in row.text and "  " not in row.text, row


def test_lines_are_filled(capsys):
    # an 80-column box has 76 for the table. A docstring's own line breaks would leave
    # lines that the next word would fit into
    text = shown(capsys, sft.Config, "--help")
    lines = [line[1:-1] for line in text.splitlines() if line.startswith("│")]
    for line, after in zip(lines, lines[1:], strict=False):
        start = len(after) - len(after.lstrip())
        if start > 10 and line[start - 2 : start].isspace():
            word = after.split()[0]
            assert len(line.rstrip()) + 1 + len(word) > 77, (line, after)


@pytest.mark.parametrize("config", [dpo.Config, grpo.Config, rlhf.Config])
def test_help_shows_the_flags_that_are_parsed(capsys, config):
    # tyro's own help is of the parser itself
    with pytest.raises(SystemExit):
        tyro.cli(config, args=["--help"])
    parsed = set(re.findall(r"^[│ ]+(--[a-z]\S+?)[ ,]", capsys.readouterr().out, re.M))
    text = shown(capsys, config, "--help-all")
    names = {flag: next(stage_flags.flag_names([flag])) for flag in parsed}
    parsed = {
        flag
        for flag, name in names.items()
        if "." not in name or stage_flags.has_effect(name.rpartition(".")[2])
    }
    assert len(parsed) > 50 and parsed <= set(FLAG.findall(text))


def test_a_pipelines_stages_have_a_line_each(capsys):
    text = shown(capsys, rlhf.Config, "--help")
    assert text.count("\n") < 150  # it was 1074
    assert "--ppo.FLAG" in text and "--ppo.beta FLOAT" not in text
    text = shown(capsys, rlhf.Config, "--help-ppo")
    assert "--ppo.beta FLOAT" in text and "--dpo.beta" not in text
    text = shown(capsys, rlhf.Config, "--help-reward-model")
    assert "--reward-model.batch INT" in text and "(default: 16)" in text
    text = shown(capsys, methods.Config, "--help-rejection-sampling.winners")
    assert "--rejection-sampling.winners.samples" in text
    with pytest.raises(ValueError, match="'help-pppo': did you mean help-ppo"):
        cli.parse_arguments(rlhf.Config, ["--help-pppo"])


def test_a_stage_shows_the_flags_that_have_an_effect(capsys):
    text = shown(capsys, rlhf.Config, "--help-ppo")
    assert "--ppo.steps" in text and "--ppo.save-every" in text
    # what the pipeline sets for all stages, or passes from one to the next
    for flag in ("seed", "model", "data", "mesh", "out", "resume", "no-resume", "log"):
        assert not re.search(rf"--ppo\.{flag}\b(?!-)", text), flag
    with pytest.raises(ValueError, match="--ppo.seed has no effect: all .* --seed;"):
        cli.parse_arguments(rlhf.Config, ["--ppo.seed", "3"])
    with pytest.raises(ValueError, match="--sft.model has no effect: the pipeline pa"):
        cli.parse_arguments(rlhf.Config, ["--sft.model=toy"])
    # a program of several measurements is no pipeline
    config = cli.parse_arguments(speed.Config, ["--tokenize.data", "a.jsonl"])
    assert config.tokenize.data == "a.jsonl"


def test_a_file_with_a_flag_of_a_stage_that_has_no_effect_is_refused(tmp_path):
    path = tmp_path / "flags.yaml"
    path.write_text("ppo: {steps: 3, compilation-cache: a}\n")
    with pytest.raises(ValueError, match="yaml: --ppo.compilation-cache has no effect"):
        cli.parse_arguments(rlhf.Config, ["--config", str(path)])


def test_a_date_that_is_todays_is_no_default(capsys):
    text = shown(capsys, rlhf.Config, "--help")
    assert "--template-date" in text and "(default: 20" not in text


def test_help_has_the_defaults_of_the_file(capsys, tmp_path):
    path = tmp_path / "flags.yaml"
    path.write_text("batch: 7\n")
    text = shown(capsys, sft.Config, "--config", str(path), "--help")
    assert "(default: 7)" in text and "--config FILE" in text


def test_a_flag_is_in_one_group():
    names = " ".join(help_groups.GROUPS.values()).split()
    assert len(names) == len(set(names))


def test_help_imports_nothing_slow():
    done = subprocess.run(
        [sys.executable, "-c", HELP_OF_ALL, *HEAVY.split()],
        capture_output=True,
        text=True,
    )
    assert done.stdout.endswith("done\n"), done.stderr[-800:]
