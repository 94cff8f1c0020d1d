"""Adapters in PEFT itself, on the same folder in transformers and torch."""

import numpy as np
import pytest
from safetensors.numpy import load_file

from jaxalign.models import lora, peft, pretrained
from tests.models.peft_cases import ALL, FUSED, TWICE, adapter_of, changes_of, logits_of


# peft 0.21 on transformers 5.23: not our calls
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
class TestInPeft:
    """PEFT itself, on the same folder in transformers and torch."""

    @pytest.mark.parametrize("changed", [
        {"init_lora_weights": "pissa"},
        {"init_lora_weights": "pissa", "use_rslora": True},
        {"init_lora_weights": "olora"},
        {"init_lora_weights": "gaussian", "use_rslora": True},
        {"init_lora_weights": "orthogonal"},
        {"init_lora_weights": "mica"},
        {"layers_to_transform": [0, 2]},
        {"layers_to_transform": 1, "layers_pattern": "layers"},
        {"target_modules": r".*\.[12]\.(self_attn|mlp)\.(q|up)_proj"},
        {"target_modules": "all-linear", "exclude_modules": ["k_proj"]},
        {"rank_pattern": {r"layers\.0\..*": 2, "q_proj": 6}, "use_rslora": True,
         "alpha_pattern": {r".*1\.self_attn\.q_proj": 3}},
        {"init_lora_weights": "pissa", "rank_pattern": {"q_proj": 2}},
    ], ids=str)  # fmt: skip
    def test_merged(self, tiny, params, rows, tmp_path, theirs, changed):
        import peft as theirs_peft
        import torch

        settings = {"r": 4, "lora_alpha": 6, "target_modules": ["q_proj", "up_proj"]}
        torch.manual_seed(0)
        peft_model = theirs_peft.get_peft_model(
            theirs, theirs_peft.LoraConfig(**settings | changed)
        )
        with torch.no_grad():
            for name, parameter in peft_model.named_parameters():
                if "lora_" in name:
                    parameter += 0.1 * torch.randn_like(parameter)
        peft_model.save_pretrained(tmp_path / "adapter")
        import transformers

        fresh = transformers.AutoModelForCausalLM.from_pretrained(
            tmp_path / "model", dtype=torch.float32, attn_implementation="eager"
        )
        loaded = theirs_peft.PeftModel.from_pretrained(fresh, tmp_path / "adapter")
        merged = loaded.merge_and_unload().state_dict()
        changes = changes_of(
            tiny, params, peft.load(tmp_path / "adapter", tiny, params), tmp_path
        )
        base = load_file(tmp_path / "old" / "model.safetensors")
        assert changes
        for name, weight in base.items():
            expected = merged[name].numpy() - weight
            np.testing.assert_allclose(
                changes.get(name, 0 * weight), expected, atol=TWICE, err_msg=name
            )

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
        adapter = adapter_of(params, targets)
        pretrained.save(tmp_path / "model", model, params)
        peft.save(tmp_path / "ours", model, adapter, alpha=3.0, rank_stabilized=True)
        fresh = lambda: transformers.AutoModelForCausalLM.from_pretrained(
            tmp_path / "model", dtype=torch.float32, attn_implementation="eager"
        )
        real = rows.segments > 0

        def compare(adapter, scale, adapted):
            attached = lora.attach(params, adapter, scale=scale)
            actual = logits_of(model, attached, rows)[real]
            expected = self.logits(adapted, rows)[real]
            np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-3)
            assert np.abs(actual - logits_of(model, params, rows)[real]).max() > 0.01

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

    def test_our_adapter_in_peft(self, tiny, params, adapter, saved, rows, theirs):
        import peft as theirs_peft

        loaded = theirs_peft.PeftModel.from_pretrained(theirs, saved)
        attached = lora.attach(params, adapter, scale=2.0)
        real = rows.segments > 0
        # two libraries' order of float32 sums
        np.testing.assert_allclose(
            logits_of(tiny, attached, rows)[real],
            self.logits(loaded, rows)[real],
            rtol=1e-3,
            atol=1e-3,
        )

    @pytest.mark.parametrize("rank_stabilized", [False, True])
    def test_an_adapter_of_peft_loaded(
        self, tiny, params, rows, theirs, tmp_path, rank_stabilized
    ):
        import peft as theirs_peft
        import torch

        settings = theirs_peft.LoraConfig(
            r=3,
            lora_alpha=6,
            use_rslora=rank_stabilized,
            target_modules=["k_proj", "o_proj", "up_proj"],
            init_lora_weights=False,
        )
        torch.manual_seed(0)
        adapted = theirs_peft.get_peft_model(theirs, settings)
        adapted.save_pretrained(tmp_path / "adapter")
        adapter, scale = peft.load(tmp_path / "adapter", tiny, params)
        attached = lora.attach(params, adapter, scale=scale)
        real = rows.segments > 0
        actual, expected = logits_of(tiny, attached, rows), self.logits(adapted, rows)
        np.testing.assert_allclose(actual[real], expected[real], rtol=1e-3, atol=1e-3)
        assert np.abs(actual - logits_of(tiny, params, rows)).max() > 0.01
