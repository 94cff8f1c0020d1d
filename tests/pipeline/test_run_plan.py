"""The plan before the first step, and a pretrained model with its defaults."""

import dataclasses
import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from experiments import dpo, grpo, online_dpo, ppo, reward_model, sft
from jaxalign import types
from jaxalign.models import lora
from jaxalign.pipeline import datasets, policies, run_plan
from jaxalign.runtime.config import RunConfig
from jaxalign.training import metrics
from tests.support import quick, untrained
from tests.support.families import write_user_files

replace = dataclasses.replace
ROWS = [
    {"prompt": f"Add {i}.", "chosen": f"{i + 1}.", "rejected": "No."} for i in range(44)
]
ROWS += [{"prompt": "Add 1.", "chosen": "Two. " * 100, "rejected": "No."}]
LABELS = ["defaults", "model", "data", "cut or dropped", "held out", "trained turns"]
LABELS += ["context", "steps", "learning rate"]
ALL = {
    "sft": (sft, sft.Config(batch=4), 2e-5),
    "dpo": (dpo, dpo.Config(batch=4), 5e-7),
    "reward_model": (
        reward_model,
        reward_model.Config(batch=4, normalize_samples=2),
        1e-5,
    ),
    "ppo": (ppo, ppo.Config(batch=4, steps=1), 1e-6),
    "grpo": (grpo, grpo.Config(prompts=2, samples=2, steps=1), 1e-6),
    "online_dpo": (online_dpo, online_dpo.Config(prompts=2, steps=1), 5e-7),
}
OFFLINE = ("sft", "dpo", "reward_model")


@pytest.fixture(scope="module")
def arrived(tmp_path_factory):
    """A random Mistral of 64 positions, and 45 pairs, one of them longer than that."""
    folder = tmp_path_factory.mktemp("mistral")
    return write_user_files(folder, "mistral", ROWS, num_hidden_layers=1)


@pytest.fixture
def run(arrived, tmp_path):
    """Runs an experiment on it; returns its plan and what config.json says."""

    def one(name, **flags):
        module, config, _ = ALL[name]
        if name not in OFFLINE:
            flags |= {"max_new_tokens": 4, "reward": "length:3"}
        model, pairs = str(arrived / "model"), str(arrived / "pairs.jsonl")
        out = flags.pop("out", tmp_path / name)
        flags = {"model": model, "data": pairs, "held_out": 0.0} | flags
        module.main(replace(config, out=out, mesh="data=1", **flags))
        return [
            json.loads((out / file).read_text())
            for file in ("plan.json", "config.json")
        ]

    return one


@pytest.mark.parametrize("name", quick.only(["sft", "dpo"], list(ALL)))
def test_a_pretrained_model_has_the_fields_numbers(run, name, capsys):
    flags = {"held_out": 0.2} if name == "reward_model" else {}  # which it measures on
    plan, config = run(name, **flags)
    assert plan["learning_rate"] == config["learning_rate"] == ALL[name][2]
    assert plan["context"] == 64  # the model's own, below 4,096
    assert "pretrained" in plan["defaults"]
    assert plan["epochs"] == pytest.approx(
        plan["steps"] * plan["rows_per_step"] / plan["rows"]
    )
    if name in OFFLINE:
        assert config["steps"] is None and config["epochs"] == 1
        assert plan["steps"] == plan["rows"] // plan["rows_per_step"]
        assert any("1 longer than 64 tokens" in text for text in plan["read"])
    if not flags:  # 44 rows fit, and there are 44 different prompts
        assert plan["rows"] == 44
    shown = capsys.readouterr().out
    block = shown[shown.index("the plan") :]
    places = [block.index(f"\n  {label}  ".rstrip() + " ") for label in LABELS]
    assert places == sorted(places)
    assert places[-1] < block.index("━")  # before the first step
    assert f"{ALL[name][2]:g}, warmup" in block


@pytest.mark.slow
def test_pairs_have_as_many_steps_as_epochs_say(run, tmp_path):
    plan, config = run("dpo", epochs=2)
    assert (plan["steps"], plan["epochs"], config["epochs"]) == (22, 2, 2)
    assert len(metrics.read_steps(tmp_path / "dpo")) == 22


@pytest.mark.slow
def test_an_adapters_parameters_and_rate_are_said(run, arrived):
    plan, config = run("dpo", train="lora", lora_rank=2, steps=1)
    assert plan["learning_rate"] == 5e-6 and config["epochs"] is None
    shapes = {
        k: v.shape for k, v in load_file(arrived / "model/model.safetensors").items()
    }
    assert plan["parameters"] == sum(map(np.prod, shapes.values()))
    matrices = [
        shape
        for name, shape in shapes.items()
        if len(shape) == 2 and ("self_attn" in name or "mlp" in name)
    ]
    assert lora.scale(2, 32.0) == 16.0
    expected = sum(2 * (rows + columns) for rows, columns in matrices)
    assert plan["trained_parameters"] == {"policy": expected}


@pytest.mark.slow
def test_resume_compares_the_rate_that_was_used(run, tmp_path):
    told = {"out": tmp_path / "run", "epochs": 0.2, "save_every": 1}
    run("dpo", **told)
    again = told | {"resume": True}
    assert run("dpo", **again, learning_rate=5e-7)[1]["learning_rate"] == 5e-7
    with pytest.raises(ValueError, match="learning_rate: 5e-07 then, 0.001 now"):
        run("dpo", **again, learning_rate=1e-3)


@pytest.mark.slow
def test_what_began_as_the_toys_hands_the_word_on(arrived, tmp_path):
    """SFT of the toy's, then DPO of that: folders both, and the toy's numbers."""
    start, flags = str(untrained.save(tmp_path / "start")), {"mesh": "data=1"}
    flags |= {"held_out": 0.0, "data": str(arrived / "pairs.jsonl"), "steps": 1}
    for module, rate in ((sft, 2e-3), (dpo, 2e-4)):
        out = tmp_path / module.__name__
        module.main(module.Config(model=start, batch=4, out=out, **flags))
        plan = json.loads((out / "plan.json").read_text())
        assert plan["learning_rate"] == rate
        assert plan["defaults"].startswith("the toy's: by its config.json")
        start = str(out / "policy")
        assert json.loads((out / "policy" / "config.json").read_text())[
            types.ORIGIN_KEY
        ]
    assert "origin" not in (arrived / "model" / "config.json").read_text()


@pytest.mark.parametrize(
    ("positions", "told", "expected"),
    [(64, None, 64), (131_072, None, 4096), (131_072, 8192, 8192), (2048, 32, 32)],
)
def test_the_context_is_the_models_up_to_4096(
    arrived, tmp_path, positions, told, expected
):
    for file in (arrived / "model").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    there = json.loads((tmp_path / "config.json").read_text())
    there["max_position_embeddings"] = positions
    (tmp_path / "config.json").write_text(json.dumps(there))
    flags = RunConfig(
        model=str(tmp_path), data=str(arrived / "pairs.jsonl"), context=told
    )
    assert policies.tokenizer_of(flags, datasets.load(flags))[1] == expected
    there[types.ORIGIN_KEY] = "toy"  # then by the data set, 512 for files
    (tmp_path / "config.json").write_text(json.dumps(there))
    by_data = min(told or 512, positions)
    assert policies.tokenizer_of(flags, datasets.load(flags))[1] == by_data


def test_long_facts_are_wrapped_in_their_column():
    lines = run_plan.two_columns("context", "word " * 40)
    assert lines[0].startswith("  context        word")
    assert all(line.startswith(" " * 17 + "word") for line in lines[1:])
    assert max(map(len, lines)) < 80
