"""Settings of PEFT, each by its definition on the merged weights."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from jaxalign.models import peft, pretrained
from jaxalign.models.peft_settings import CONFIG
from tests.models.peft_cases import ROUNDING, TWICE, changes_of, module, write_adapter


class TestAsPeftMerges:
    """By hand; `test_peft_library` has PEFT's own numbers."""

    def factors(self, *names, rank=4, outputs=48):
        rng = np.random.default_rng(3)
        draw = lambda *shape: rng.normal(0, 0.1, shape).astype(np.float32)
        return {
            f"{name}.lora_{x}.weight": draw(*shape)
            for name in names
            for x, shape in (("A", (rank, 24)), ("B", (outputs, rank)))
        }

    @pytest.mark.parametrize("start", ["pissa", "olora", "OLoRA"])
    @pytest.mark.parametrize("rank_stabilized", [False, True])
    def test_an_initial_product_subtracted_from_the_base(
        self, tiny, params, tmp_path, start, rank_stabilized
    ):
        """B A less the initial product, which is no change for the initial factors."""
        pretrained.save(tmp_path, tiny, params)
        base = load_file(tmp_path / "model.safetensors")
        scale = 8 / 2 if rank_stabilized else 8 / 4
        names = [module(layer, "q_proj") for layer in range(3)]
        initial, trained, subtracted = {}, {}, {}
        for name in names:
            weight = base[f"{name}.weight"].astype(np.float64)  # [outputs, inputs]
            if start == "pissa":
                left, values, right = np.linalg.svd(weight, full_matrices=False)
                a = np.diag((values[:4] / scale) ** 0.5) @ right[:4]
                b = left[:, :4] @ np.diag((values[:4] / scale) ** 0.5)
            else:
                q, r = np.linalg.qr(weight)
                a, b = r[:4], q[:, :4]
            subtracted[name] = scale * b @ a
            initial |= {f"{name}.lora_A.weight": a.astype(np.float32)}
            initial |= {f"{name}.lora_B.weight": b.astype(np.float32)}
            other = self.factors(name)
            trained |= other
            subtracted[name] -= scale * np.matmul(*reversed([*other.values()]))
        settings = {"target_modules": ["q_proj"], "init_lora_weights": start}
        settings |= {"use_rslora": rank_stabilized}
        loaded = peft.load(write_adapter(tmp_path, initial, **settings), tiny, params)
        for name, change in changes_of(tiny, params, loaded, tmp_path).items():
            np.testing.assert_allclose(change, 0, atol=ROUNDING, err_msg=name)
        loaded = peft.load(write_adapter(tmp_path, trained, **settings), tiny, params)
        changes = changes_of(tiny, params, loaded, tmp_path)
        assert set(changes) == {f"{name}.weight" for name in names}
        for name in names:
            expected = -subtracted[name]
            np.testing.assert_allclose(
                changes[f"{name}.weight"], expected, atol=ROUNDING
            )

    def test_a_saved_pissa_adapter(self, public_data, tmp_path):
        """A PiSSA adapter that PEFT saved: its initial product is subtracted."""
        cases = public_data.parent / "cases"
        if not (cases / "adapter_pissa").is_dir():
            pytest.skip("no case adapter_pissa here")
        model, params = pretrained.load(cases / "adapter_base")
        loaded = peft.load(cases / "adapter_pissa", model, params)
        changes = changes_of(model, params, loaded, tmp_path)
        base = load_file(cases / "adapter_base" / "model.safetensors")
        factors = load_file(cases / "adapter_pissa" / "adapter_model.safetensors")
        assert len(changes) == len(factors) // 2 == 4
        for name, change in changes.items():
            end = f"base_model.model.{name.removesuffix('weight')}lora_"
            a, b = factors[f"{end}A.weight"], factors[f"{end}B.weight"]
            left, values, right = np.linalg.svd(base[name], full_matrices=False)
            first = (left[:, :4] * values[:4]) @ right[:4]
            np.testing.assert_allclose(change, b @ a - first, atol=TWICE)

    @pytest.mark.parametrize("settings", [
        {"layers_to_transform": [0, 2]},
        {"layers_to_transform": [0, 2], "layers_pattern": "layers"},
        {"target_modules": r".*\.[02]\.self_attn\.q_proj"},
        {"target_modules": [module(0, "q_proj"), module(2, "q_proj")]},
        {"exclude_modules": [module(1, "q_proj")]},
        {"exclude_modules": r".*\.1\..*"},
    ])  # fmt: skip
    def test_some_layers(self, tiny, params, tmp_path, settings):
        tensors = self.factors(module(0, "q_proj"), module(2, "q_proj"))
        folder = write_adapter(
            tmp_path, tensors, **{"target_modules": ["q_proj"]} | settings
        )
        changes = changes_of(tiny, params, peft.load(folder, tiny, params), tmp_path)
        assert set(changes) == {f"{module(i, 'q_proj')}.weight" for i in (0, 2)}
        for name, change in changes.items():
            a, b = (tensors[f"{name[:-6]}lora_{x}.weight"] for x in "AB")
            np.testing.assert_allclose(change, 2 * b @ a, atol=ROUNDING)
        (folder / CONFIG).write_text(
            json.dumps(
                {
                    "peft_type": "LORA",
                    "r": 4,
                    "lora_alpha": 8,
                    "target_modules": ["q_proj"],
                }
            )
        )  # which means the second layer, too
        with pytest.raises(
            ValueError, match="1.self_attn.q_proj.lora_A.weight is miss"
        ):
            peft.load(folder, tiny, params)

    def test_ranks_and_scales_by_layer(self, tiny, params, tmp_path):
        """The first pattern that fits decides, from a dot to the end of the name."""
        ranks = {0: 2, 1: 4, 2: 7}
        tensors = {}
        for layer, rank in ranks.items():
            tensors |= self.factors(module(layer, "q_proj"), rank=rank)
        folder = write_adapter(
            tmp_path, tensors, target_modules=["q_proj"],
            rank_pattern={r"layers\.0\..*": 2, module(2, "q_proj"): 7, ".*q_proj": 4},
            alpha_pattern={r"2\.self_attn\.q_proj": 3, "_proj": 99},
        )  # fmt: skip
        changes = changes_of(tiny, params, peft.load(folder, tiny, params), tmp_path)
        for layer, rank in ranks.items():
            a, b = (tensors[f"{module(layer, 'q_proj')}.lora_{x}.weight"] for x in "AB")
            scale = (3 if layer == 2 else 8) / rank
            change = changes[f"{module(layer, 'q_proj')}.weight"]
            np.testing.assert_allclose(change, scale * b @ a, atol=ROUNDING)

    def test_all_linear_is_every_matrix_of_the_layers(self, tiny, params, tmp_path):
        tensors = self.factors(*(module(i, "q_proj") for i in range(3)))
        folder = write_adapter(tmp_path, tensors, target_modules="All-Linear")
        with pytest.raises(ValueError, match="lora_A.weight is missing"):
            peft.load(folder, tiny, params)
