"""Experiments that train an adapter, or a part of the model: what they leave behind."""

import dataclasses
import json
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from experiments import dpo, ppo, reward_model, sft
from jaxalign import streams
from jaxalign.models import lora, peft, pretrained
from jaxalign.pipeline import model_folders
from jaxalign.runtime.run import Run
from tests.support import quick

FEW = {"mesh": "data=1", "save_every": 2, "batch": 8}
LORA = {"train": "lora", "lora_rank": 4, "lora_alpha": 8.0, "learning_rate": 1e-2}
replace = dataclasses.replace


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A folder with a model, and a file of preferences."""
    out = tmp_path_factory.mktemp("base")
    sft.main(sft.Config(steps=2, out=out, **FEW))
    rows = [
        {"prompt": f"Count to {i}.", "chosen": f"{i} it is.", "rejected": f"No {i * 3}"}
        for i in range(40)
    ]
    (out / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return out


def config_of(name, base, **others):
    """A few steps of an experiment, from that folder."""
    model, pairs = str(base / "policy"), str(base / "pairs.jsonl")
    kinds = {
        "sft": (sft.Config, {"data": pairs}),
        "dpo": (dpo.Config, {"data": pairs}),
        "reward_model": (reward_model.Config, {"data": pairs}),
        "ppo": (ppo.Config, {"max_new_tokens": 8}),
    }
    kind, own = kinds[name]
    return kind(model=model, **(FEW | {"steps": 3} | own | others))


def tensors(folder: Path) -> dict[str, np.ndarray]:
    return load_file(folder / "policy" / "model.safetensors")


def changed(folder: Path, base: Path) -> set[str]:
    """The tensors that are not those of the base."""
    new, old = tensors(folder), tensors(base)
    assert set(new) == set(old)
    return {name for name in new if not np.array_equal(new[name], old[name])}


def killed(run, config, step, monkeypatch):
    """Runs until a step has been logged, and then, anew, to the end."""
    log = Run.log

    def until(self, i, *args, **kwargs):
        if i == step:
            raise KeyboardInterrupt
        log(self, i, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "log", until)
        with pytest.raises(KeyboardInterrupt):
            run(config)
    return run(replace(config, resume=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sft", "ppo"])
def test_an_adapter_resumed_equals_uninterrupted(base, tmp_path, monkeypatch, name):
    config = config_of(name, base, **LORA)
    run = {"sft": sft, "ppo": ppo}[name].main
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    first = run(replace(config, out=whole))
    killed(run, replace(config, out=parts), 2, monkeypatch)
    # the same program on the same inputs: the same bits
    ours, theirs = tensors(whole), tensors(parts)
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)
    assert np.isfinite(first["train/loss"])
    # only what has an adapter is another than in the base: 7 matrices of 2 layers
    names = changed(whole, base)
    assert len(names) == 2 * 7 and all(name.endswith("_proj.weight") for name in names)
    if name == "ppo":
        return
    # a checkpoint holds the adapter and its moments, not the base
    saved = parts / "checkpoints" / "3" / "policy"
    size = sum(file.stat().st_size for file in saved.rglob("*") if file.is_file())
    assert size < (base / "policy" / "model.safetensors").stat().st_size / 2


@pytest.mark.slow
def test_the_adapter_on_the_base_is_the_merged_model(base, tmp_path):
    dpo.main(config_of("dpo", base, out=tmp_path, **LORA))
    model, params = pretrained.load(base / "policy", dtype=np.float32)
    adapter, scale = peft.load(tmp_path / "adapter", model, params)
    assert scale == 2.0
    assert jax.tree.leaves(adapter)[0].shape[-1] == 4
    merged = lora.merge(lora.attach(params, adapter, scale=scale))
    pretrained.save(tmp_path / "again" / "policy", model, merged)
    assert changed(tmp_path / "again", tmp_path) == set()
    settings = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == str(base / "policy")


@pytest.mark.slow
def test_the_reference_is_the_base_with_the_adapter_off(base, tmp_path):
    """At the start both are one model: log 2, KL 0, though the base is rounded."""
    config = config_of("dpo", base, steps=1, frozen="int8", **LORA)
    found = dpo.main(replace(config, out=tmp_path / "dpo"))
    # float32 sums of log-probs of about -100
    np.testing.assert_allclose(found["train/loss"], np.log(2.0), rtol=1e-3)
    config = config_of(
        "ppo", base, steps=1, epochs=1, minibatches=1, frozen="int8", **LORA
    )
    found = ppo.main(replace(config, out=tmp_path / "ppo"))
    # two programs that compute the same log-probs: float32 rounding
    np.testing.assert_allclose(found["train/kl"], 0.0, atol=1e-4)
    np.testing.assert_allclose(found["train/ratio"], 1.0, atol=1e-4)


@pytest.mark.parametrize("frozen", quick.only([], ["int8", "nf4"]))
def test_an_adapter_learns_on_a_quantised_base(base, tmp_path, frozen):
    config = config_of("dpo", base, steps=8, frozen=frozen, **LORA)
    found = dpo.main(replace(config, lora_targets="attention.query", out=tmp_path))
    assert found["train/loss"] < 0.6
    # the merged model stands on rounded matrices: those without an adapter, too
    assert len(changed(tmp_path, base)) == 2 * 7


def test_only_the_parameters_of_a_pattern_train(base, tmp_path):
    config = config_of("dpo", base, train="blocks[1:].attention|norm", out=tmp_path)
    dpo.main(config)
    attention = {f"model.layers.1.self_attn.{x}_proj.weight" for x in "qkvo"}
    assert changed(tmp_path, base) == attention | {"model.norm.weight"}
    assert not (tmp_path / "adapter").exists()


@pytest.mark.slow
def test_a_reward_model_with_an_adapter_starts_ppo(base, tmp_path):
    """Its head trains in full; the folder holds plain weights."""
    config = config_of("reward_model", base, out=tmp_path / "reward", **LORA)
    found = reward_model.main(config)
    assert np.isfinite(found["eval/accuracy"])
    model, params = model_folders.load_scalar(tmp_path / "reward" / "reward", "float32")
    key = streams.key(jax.random.key(config.seed), "head")  # of the run's new head
    start = model.from_trunk(key, {n: x for n, x in params.items() if n != "head"})[
        "head"
    ]["weight"]
    head = np.asarray(params["head"]["weight"])
    # the head was scaled at the end; trained, it points elsewhere, too
    cosine = head @ start / np.linalg.norm(head) / np.linalg.norm(start)
    assert 0.5 < cosine < 0.9999
    rewarded = str(tmp_path / "reward" / "reward")
    numbers = ppo.main(
        config_of("ppo", base, reward=rewarded, out=tmp_path / "ppo", steps=1, **LORA)
    )
    assert np.isfinite(numbers["train/loss"])


@pytest.mark.slow
def test_eight_devices_equal_one(base, tmp_path):
    config = config_of("dpo", base, steps=2, **LORA)
    one = dpo.main(replace(config, out=tmp_path / "1"))
    mesh = "data=2,fsdp=2,tensor=2"
    many = dpo.main(replace(config, mesh=mesh, out=tmp_path / "8"))
    # float32 sums in another order, through two updates of Adam
    np.testing.assert_allclose(many["loss"], one["loss"], rtol=1e-3)


@pytest.mark.parametrize(
    "flags, message",
    [
        ({"train": "atention"}, "did you mean .*attention"),
        ({"train": "lora", "lora_targets": "quary"}, "did you mean .*query"),
        (
            {"train": "lora", "lora_targets": "embed"},
            "--lora-targets embed means embed",
        ),
        ({"train": "lora", "lora_rank": 500}, "rank is 500; .* needs a rank of"),
        ({"frozen": "int8"}, "--frozen int8 needs --train lora"),
    ],
)
def test_bad_flags_end_with_a_sentence(base, tmp_path, flags, message):
    with pytest.raises(ValueError, match=message):
        sft.main(config_of("sft", base, out=tmp_path, **flags))
