"""Adapters in PEFT's format: saved and loaded, in every family."""

import json

import chex
import numpy as np
import pytest
from safetensors.numpy import load_file

from jaxalign.models import lora, peft, pretrained
from tests.models.peft_cases import ALL, FUSED, ROUNDING, adapter_of
from tests.support.families import FAMILIES


def test_round_trip(tiny, params, adapter, saved):
    again, scale = peft.load(saved, tiny, params)
    assert scale == 2.0
    chex.assert_trees_all_equal(again, adapter)


def test_rank_stabilized_scale(tiny, params, adapter, tmp_path):
    peft.save(tmp_path, tiny, adapter, alpha=8.0, rank_stabilized=True)
    assert peft.load(tmp_path, tiny, params)[1] == 4.0


def test_product_of_the_factors_is_the_change_of_the_tensor(
    tiny, params, adapter, saved
):
    """What our merged model is saved as, less the base, is scale * B @ A."""
    merged = lora.merge(lora.attach(params, adapter, scale=2.0))
    pretrained.save(saved / "merged", tiny, merged)
    pretrained.save(saved / "base", tiny, params)
    new, old = (
        load_file(saved / name / "model.safetensors") for name in ("merged", "base")
    )
    factors = load_file(saved / "adapter_model.safetensors")
    changed = {name for name in old if not np.array_equal(new[name], old[name])}
    assert len(changed) == len(factors) // 2 == 4 * 3
    for name in changed:
        a, b = (
            factors[f"base_model.model.{name.removesuffix('weight')}lora_{x}.weight"]
            for x in "AB"
        )
        np.testing.assert_allclose(new[name] - old[name], 2.0 * b @ a, atol=ROUNDING)


@pytest.mark.parametrize(
    "family, targets",
    [*((name, ALL) for name in FAMILIES), *((name, "value|up") for name in FUSED)],
)
def test_every_family_has_adapters(family, targets, tiny_of, draw, tmp_path):
    """The file's B A is what the adapter adds to each tensor; back it is the same."""
    model = tiny_of(family)
    params = draw(model)
    adapter = adapter_of(params, targets)
    attach = lambda adapter, scale: lora.attach(params, adapter, scale=scale)
    peft.save(tmp_path, model, adapter, alpha=3.0)
    pretrained.save(tmp_path / "new", model, lora.merge(attach(adapter, 1.5)))
    pretrained.save(tmp_path / "old", model, params)
    new, old = (
        load_file(tmp_path / name / "model.safetensors") for name in ("new", "old")
    )
    factors = load_file(tmp_path / "adapter_model.safetensors")
    changed = {name for name in old if not np.array_equal(new[name], old[name])}
    assert len(changed) == len(factors) // 2 >= 2 * 3
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    for name in changed:
        a, b = (
            factors[f"base_model.model.{name.removesuffix('weight')}lora_{x}.weight"]
            for x in "AB"
        )
        end = name.split(".")[-2]
        rank = config["rank_pattern"].get(end, config["r"])
        assert rank == len(a)
        product = config["alpha_pattern"].get(end, config["lora_alpha"]) / rank * b @ a
        product = product.T if config["fan_in_fan_out"] else product
        np.testing.assert_allclose(new[name] - old[name], product, atol=ROUNDING)
    again, scale = peft.load(tmp_path, model, params)
    chex.assert_trees_all_close(
        lora.merge(attach(again, scale)),
        lora.merge(attach(adapter, 1.5)),
        atol=ROUNDING,
    )


def test_target_modules_match_no_other_module(tiny_of, draw, tmp_path):
    """GPT-2 has a c_proj in its attention, too."""
    model = tiny_of("gpt2")
    adapter = adapter_of(draw(model), "down|query")
    peft.save(tmp_path, model, adapter, alpha=2.0)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["target_modules"] == ["c_attn", "mlp.c_proj"]
