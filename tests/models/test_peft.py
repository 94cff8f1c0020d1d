"""Adapters in PEFT's format: out and back, and in PEFT the same logits."""

import json

import chex
import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from jaxalign.models import lora, peft, pretrained
from tests.families import FAMILIES

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def adapter(params):
    made = lora.init(KEY, params, rank=4, targets="query|out|gate|down")
    noise = lambda x: 0.1 * np.random.default_rng(1).normal(size=x.shape)
    return jax.tree.map(lambda x: x + noise(x).astype(np.float32), made)


@pytest.fixture
def folder(tiny, adapter, tmp_path):
    peft.save(tmp_path, tiny, adapter, alpha=8.0, base="somewhere")
    return tmp_path


def logits_of(model, params, rows):
    hidden = model.hidden(params, rows.tokens, rows.positions, rows.segments)
    return np.asarray(hidden @ model.unembed(params))


def test_out_and_back(tiny, params, adapter, folder):
    again, scale = peft.load(folder, tiny, params)
    assert scale == 2.0
    chex.assert_trees_all_equal(again, adapter)


def test_stabilised_scale(tiny, params, adapter, tmp_path):
    peft.save(tmp_path, tiny, adapter, alpha=8.0, stabilised=True)
    assert peft.load(tmp_path, tiny, params)[1] == 4.0


def test_product_of_the_factors_is_the_change_of_the_tensor(
    tiny, params, adapter, folder
):
    """What our merged model is saved as, less the base, is scale * B @ A."""
    merged = lora.merge(lora.attach(params, adapter, scale=2.0))
    pretrained.save(folder / "merged", tiny, merged)
    pretrained.save(folder / "base", tiny, params)
    new, old = (
        load_file(folder / name / "model.safetensors") for name in ("merged", "base")
    )
    factors = load_file(folder / "adapter_model.safetensors")
    changed = {name for name in old if not np.array_equal(new[name], old[name])}
    assert len(changed) == len(factors) // 2 == 4 * 3
    for name in changed:
        a, b = (
            factors[f"base_model.model.{name.removesuffix('weight')}lora_{x}.weight"]
            for x in "AB"
        )
        np.testing.assert_allclose(new[name] - old[name], 2.0 * b @ a, atol=1e-5)


def adapter_of(model, params, targets):
    """A tree of factors, none of them 0."""
    made = lora.init(KEY, params, rank=2, targets=targets)
    noise = lambda x: 0.1 * np.random.default_rng(1).normal(size=x.shape)
    return jax.tree.map(lambda x: x + noise(x).astype(np.float32), made)


ALL = "attention.*|feed_forward.*"
FUSED = ["phi3", "gpt2", "gpt_neox"]  # their queries, keys and values are one matrix


@pytest.mark.parametrize(
    "family, targets",
    [*((name, ALL) for name in FAMILIES), *((name, "value|up") for name in FUSED)],
)
def test_every_family_has_adapters(family, targets, tiny_of, draw, tmp_path):
    """The file's B A is what the adapter adds to each tensor; back it is the same."""
    model = tiny_of(family)
    params = draw(model)
    adapter = adapter_of(model, params, targets)
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
    told = json.loads((tmp_path / "adapter_config.json").read_text())
    for name in changed:
        a, b = (
            factors[f"base_model.model.{name.removesuffix('weight')}lora_{x}.weight"]
            for x in "AB"
        )
        end = name.split(".")[-2]
        rank = told["rank_pattern"].get(end, told["r"])
        assert rank == len(a)
        product = told["alpha_pattern"].get(end, told["lora_alpha"]) / rank * b @ a
        product = product.T if told["fan_in_fan_out"] else product
        np.testing.assert_allclose(new[name] - old[name], product, atol=1e-5)
    again, scale = peft.load(tmp_path, model, params)
    chex.assert_trees_all_close(
        lora.merge(attach(again, scale)), lora.merge(attach(adapter, 1.5)), atol=1e-5
    )


def test_targets_name_no_other_module(tiny_of, draw, tmp_path):
    """GPT-2 has a c_proj in its attention, too."""
    model = tiny_of("gpt2")
    made = adapter_of(model, draw(model), "down|query")
    peft.save(tmp_path, model, made, alpha=2.0)
    told = json.loads((tmp_path / "adapter_config.json").read_text())
    assert told["target_modules"] == ["c_attn", "mlp.c_proj"]


# peft 0.21 on transformers 5.23: not our calls
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
class TestInPeft:
    """PEFT itself, on the same folder in transformers and torch."""

    @pytest.fixture
    def theirs(self, tiny, params, tmp_path):
        torch = pytest.importorskip("torch", reason="the extra [parity]")
        pytest.importorskip("peft", reason="peft is not installed")
        import transformers

        pretrained.save(tmp_path / "model", tiny, params)
        return transformers.AutoModelForCausalLM.from_pretrained(
            tmp_path / "model", dtype=torch.float32, attn_implementation="eager"
        )

    def logits(self, model, rows):
        import torch

        real = torch.tensor(rows.segments > 0).long()
        with torch.no_grad():
            tokens = torch.tensor(rows.tokens).long()
            return model(tokens, attention_mask=real).logits.numpy()

    @pytest.mark.parametrize("name", FUSED)
    @pytest.mark.parametrize("targets", [ALL, "value|down"])
    def test_fused_modules(self, name, targets, tiny_of, draw, rows, tmp_path):
        torch = pytest.importorskip("torch", reason="the extra [parity]")
        theirs_peft = pytest.importorskip("peft", reason="peft is not installed")
        import transformers

        model = tiny_of(name)
        params = draw(model)
        adapter = adapter_of(model, params, targets)
        pretrained.save(tmp_path / "model", model, params)
        peft.save(tmp_path / "ours", model, adapter, alpha=3.0, stabilised=True)
        fresh = lambda: transformers.AutoModelForCausalLM.from_pretrained(
            tmp_path / "model", dtype=torch.float32, attn_implementation="eager"
        )
        real = rows.segments > 0

        def compare(adapter, scale, adapted):
            attached = lora.attach(params, adapter, scale=scale)
            found = logits_of(model, attached, rows)[real]
            expected = self.logits(adapted, rows)[real]
            np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
            assert np.abs(found - logits_of(model, params, rows)[real]).max() > 0.01

        # 3 / sqrt(2) the products
        loaded = theirs_peft.PeftModel.from_pretrained(fresh(), tmp_path / "ours")
        compare(adapter, 3 / np.sqrt(2), loaded)
        names = sorted(loaded.peft_config["default"].target_modules)
        settings = theirs_peft.LoraConfig(
            r=3,
            lora_alpha=6,
            target_modules=names,
            rank_pattern={names[0]: 2},
            alpha_pattern={names[-1]: 9},
            fan_in_fan_out=name == "gpt2",
            init_lora_weights=False,
        )
        torch.manual_seed(0)
        adapted = theirs_peft.get_peft_model(fresh(), settings)
        adapted.save_pretrained(tmp_path / "theirs")
        compare(*peft.load(tmp_path / "theirs", model, params), adapted)

    def test_ours_there(self, tiny, params, adapter, folder, rows, theirs):
        import peft as theirs_peft

        loaded = theirs_peft.PeftModel.from_pretrained(theirs, folder)
        attached = lora.attach(params, adapter, scale=2.0)
        real = rows.segments > 0
        # two libraries' order of float32 sums
        np.testing.assert_allclose(
            logits_of(tiny, attached, rows)[real],
            self.logits(loaded, rows)[real],
            rtol=1e-3,
            atol=1e-3,
        )

    @pytest.mark.parametrize("stabilised", [False, True])
    def test_theirs_here(self, tiny, params, rows, theirs, tmp_path, stabilised):
        import peft as theirs_peft
        import torch

        settings = theirs_peft.LoraConfig(
            r=3,
            lora_alpha=6,
            use_rslora=stabilised,
            target_modules=["k_proj", "o_proj", "up_proj"],
            init_lora_weights=False,
        )
        torch.manual_seed(0)
        adapted = theirs_peft.get_peft_model(theirs, settings)
        adapted.save_pretrained(tmp_path / "adapter")
        adapter, scale = peft.load(tmp_path / "adapter", tiny, params)
        attached = lora.attach(params, adapter, scale=scale)
        real = rows.segments > 0
        found, expected = logits_of(tiny, attached, rows), self.logits(adapted, rows)
        np.testing.assert_allclose(found[real], expected[real], rtol=1e-3, atol=1e-3)
        assert np.abs(found - logits_of(tiny, params, rows)).max() > 0.01


class TestBadInput:
    """Each names the file, the setting or the tensor."""

    def test_no_adapter(self, tiny, params, tmp_path):
        with pytest.raises(FileNotFoundError, match="holds no adapter"):
            peft.load(tmp_path, tiny, params)

    @pytest.mark.parametrize(
        "field, value", [("use_dora", True), ("bias", "all"), ("peft_type", "IA3")]
    )
    def test_another_kind_of_adapter(self, tiny, params, folder, field, value):
        path = folder / "adapter_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
        with pytest.raises(ValueError, match=f"{field} = .* is not supported"):
            peft.load(folder, tiny, params)

    def test_an_adapter_of_another_shape(self, variant, draw, folder):
        other = variant(width=32)
        with pytest.raises(ValueError, match=r"q_proj.lora_A.*\(4, 24\).*\(4, 32\)"):
            peft.load(folder, other, draw(other))

    @pytest.mark.parametrize("change", ["missing", "spare", "a layer less", "cut"])
    def test_a_damaged_file(self, tiny, params, folder, change):
        file = folder / "adapter_model.safetensors"
        tensors = load_file(file)
        query = "base_model.model.model.layers.2.self_attn.q_proj.lora_{}.weight"
        if change == "missing":
            del tensors[query.format("B")]
        if change == "a layer less":
            del tensors[query.format("A")], tensors[query.format("B")]
        if change == "spare":
            tensors["base_model.model.lm_head.lora_A.weight"] = np.zeros((4, 24))
        save_file(tensors, file)
        if change == "cut":
            file.write_bytes(file.read_bytes()[:-9])
        named = {
            "missing": "q_proj.lora_B.weight is missing",
            "a layer less": "attention.query in 2 of 3 layers",
            "spare": "lm_head",
            "cut": "damaged",
        }[change]
        with pytest.raises(ValueError, match=named):
            peft.load(folder, tiny, params)

    def test_what_peft_has_no_place_for(self, tiny, params, tmp_path):
        made = lora.init(KEY, params, rank=2, targets="unembed")
        with pytest.raises(ValueError, match="no place for unembed"):
            peft.save(tmp_path, tiny, made, alpha=2.0)
