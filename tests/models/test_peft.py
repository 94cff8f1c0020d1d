"""Adapters in PEFT's format: out and back, and in PEFT the same logits."""

import json

import chex
import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from jaxalign.models import lora, peft, pretrained

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
