"""The lines at the end of a run hold for the folder at hand."""

import json
import types

import pytest

from jaxalign.runtime import cli, model_usage
from jaxalign.runtime.config import RunConfig
from jaxalign.runtime.run import Run


@pytest.fixture
def folder(tmp_path):
    """Makes the files of a run by which its lines are chosen."""

    def make(name, *, model="org/base", base=None):
        run = tmp_path / "a run"
        (run / name).mkdir(parents=True)
        (run / name / "config.json").write_text("{}")
        (run / "config.json").write_text(json.dumps({"model": model}))
        if base is not None:
            (run / "adapter").mkdir()
            text = json.dumps({"base_model_name_or_path": base})
            (run / "adapter" / "adapter_config.json").write_text(text)
        return run

    return make


def test_a_policy(folder):
    run = folder("policy")
    title, chat, transformers = model_usage.usage_lines("dpo", run)
    assert title == (
        f"dpo: the model is {run}/policy; vLLM, lm-eval, GGUF, hubs: "
        "docs/use_your_model.md"
    )
    # a shell needs quotes around the space, Python around all of it
    assert chat == f"  chat          python -m experiments.chat --model '{run}/policy'"
    assert transformers.split(maxsplit=1) == [
        "transformers",
        f'AutoModelForCausalLM.from_pretrained("{run}/policy")',
    ]


def test_an_adapter_has_a_line_unless_its_base_is_in_no_folder(folder):
    run = folder("policy", base="org/base")
    assert model_usage.usage_lines("dpo", run)[3:] == [
        f'  PEFT          AutoPeftModelForCausalLM.from_pretrained("{run}/adapter")'
        "  # on org/base"
    ]


def test_no_peft_line_without_a_base(folder):
    assert len(model_usage.usage_lines("dpo", folder("policy", base="toy"))) == 3


def test_a_reward_model(folder):
    run = folder("reward")
    title, ppo, transformers = model_usage.usage_lines("reward_model", run)
    assert title.endswith("/reward; more: docs/use_your_model.md")
    assert ppo.endswith(f"experiments.ppo --model org/base --reward '{run}/reward'")
    assert f'AutoModelForSequenceClassification.from_pretrained("{run}' in transformers
    (run / "config.json").write_text('{"model": "toy"}')
    assert len(model_usage.usage_lines("reward_model", run)) == 2


def test_a_run_without_a_model_has_no_lines(tmp_path):
    assert model_usage.usage_lines("collect", tmp_path) == []


def test_only_the_program_that_was_started_shows_them(folder, monkeypatch, capsys):
    run = folder("policy")
    model_usage.show("sft", run)  # here: pytest
    spec = types.SimpleNamespace(name="experiments.rlhf")
    monkeypatch.setattr(cli.sys.modules["__main__"], "__spec__", spec)
    model_usage.show("sft", run)  # a stage
    assert capsys.readouterr().out == ""
    spec.name = "experiments.sft"
    model_usage.show("sft", run)
    assert capsys.readouterr().out.count("\n") == 3


def test_a_run_ends_with_them(tmp_path, monkeypatch, capsys):
    spec = types.SimpleNamespace(name="experiments.sft")
    monkeypatch.setattr(cli.sys.modules["__main__"], "__spec__", spec)
    config = RunConfig(out=tmp_path / "x", mesh="data=1", compilation_cache="off")
    with Run(config, "sft") as run:
        (run.folder / "policy").mkdir()
        (run.folder / "policy" / "config.json").write_text("{}")
        run.finish({})
    assert f'from_pretrained("{run.folder}/policy")\n' in capsys.readouterr().out
