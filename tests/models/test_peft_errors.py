"""Adapters that are refused: the message names the file, the setting or the tensor."""

import json
import time

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from jaxalign.models import lora, peft, peft_settings
from tests.models.peft_cases import KEY


class TestBadInput:
    """Each names the file, the setting or the tensor."""

    @pytest.mark.parametrize("field, value", [
        ("use_dora", True), ("use_qalora", True), ("lora_bias", True), ("bias", "all"),
        ("bias", "lora_only"), ("modules_to_save", ["lm_head"]), ("r", "4"), ("r", 0),
        ("trainable_token_indices", [1]), ("trainable_token_indices", {"embed": [1]}),
        ("target_parameters", ["w"]), ("layer_replication", [[0, 2], [1, 3]]),
        ("alora_invocation_tokens", [5]), ("use_bdlora", {"nblocks": 2}),
        ("arrow_config", {"top_k": 1}), ("kasa_config", {"beta": 1.0}),
        ("monteclora_config", {"num_samples": 8}), ("velora_config", {"x": 1}),
        ("megatron_config", {"x": 1}), ("loftq_config", {"loftq_bits": 4}),
        ("corda_config", {"x": 1}), ("lora_ga_config", {"x": 1}),
        ("ensure_weight_tying", True), ("init_lora_weights", "pissa_niter_4"),
        ("init_lora_weights", "loftq"), ("init_lora_weights", "corda"),
        ("init_lora_weights", "lora_ga"), ("init_lora_weights", "new"),
        ("a_setting_of_tomorrow", 1), ("a_setting_of_tomorrow", False),
        ("peft_type", "IA3"), ("peft_type", None), ("peft_type", 3), ("r", 2.5),
        ("r", True), ("r", None), ("r", -4), ("r", 10**12), ("r", [4]),
        ("lora_alpha", "8"), ("lora_alpha", None), ("lora_alpha", float("nan")),
        ("lora_alpha", 0), ("lora_alpha", 10**400), ("use_rslora", "yes"),
        ("use_rslora", None), ("target_modules", None), ("target_modules", 3),
        ("target_modules", [3]), ("target_modules", {"q_proj": 1}),
        ("rank_pattern", {"q_proj": "4"}), ("rank_pattern", {"q_proj": 0}),
        ("rank_pattern", [4]), ("alpha_pattern", {"q_proj": None}),
        ("alpha_pattern", 3), ("exclude_modules", 3), ("layers_pattern", 3),
        ("layers_to_transform", "0"), ("layers_to_transform", [0.5]),
        ("fan_in_fan_out", "x"), ("init_lora_weights", 3), ("lora_dropout", "x"),
        ("inference_mode", 3), ("rank_pattern", {"(": 4}), ("target_modules", "(q"),
        ("alpha_pattern", {"*": 4}), ("exclude_modules", "[a"),
        ("target_modules", "nothing"), ("target_modules", ["nothing"]),
        ("target_modules", "((a+)+)+$"), ("target_modules", []),
    ])  # fmt: skip
    def test_the_message_is_one_line_with_the_file_and_the_field(
        self, tiny, params, saved, field, value
    ):
        path = saved / "adapter_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
        with pytest.raises(ValueError) as error:
            peft.load(saved, tiny, params)
        text = str(error.value)
        assert str(path) in text and field in text and "\n" not in text, text

    def test_an_adapter_of_another_type_is_refused_by_its_type(
        self, tiny, params, saved
    ):
        """Settings that only the other kind has say less."""
        path = saved / "adapter_config.json"
        config = json.loads(path.read_text())
        path.write_text(json.dumps({"beta1": 0.85, **config, "peft_type": "ADALORA"}))
        with pytest.raises(ValueError, match="peft_type = 'ADALORA' is not supported"):
            peft.load(saved, tiny, params)

    @pytest.mark.parametrize("field", ["target_modules", "exclude_modules", "ranks"])
    @pytest.mark.parametrize("huge", [False, True])
    def test_patterns_have_a_time_limit(
        self, tiny, params, saved, field, huge, monkeypatch
    ):
        """Backtracking grows with each letter of a name; copies take memory."""
        slow = r"(?:.|.)*[!?]" if not huge else "(((a{999}){999}){999}){999}"
        changes = {field: slow} if field != "ranks" else {"rank_pattern": {slow: 4}}
        path = saved / "adapter_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))
        monkeypatch.setattr(
            peft_settings.PatternMatcher.__init__, "__defaults__", (0.2,)
        )
        start = time.monotonic()
        with pytest.raises(ValueError, match="a pattern (takes more|is too)"):
            peft.load(saved, tiny, params)
        assert time.monotonic() - start < 10

    def test_no_adapter(self, tiny, params, tmp_path):
        with pytest.raises(FileNotFoundError, match="holds no adapter"):
            peft.load(tmp_path, tiny, params)

    def test_an_adapter_of_another_shape(self, variant, draw, saved):
        other = variant(width=32)
        with pytest.raises(ValueError, match=r"q_proj.lora_A.*\(4, 24\).*\(4, 32\)"):
            peft.load(saved, other, draw(other))

    @pytest.mark.parametrize("change", ["missing", "spare", "a layer less", "cut"])
    def test_a_damaged_file(self, tiny, params, saved, change):
        file = saved / "adapter_model.safetensors"
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
            "a layer less": "2.self_attn.q_proj.lora_A.weight is missing",
            "spare": "lm_head",
            "cut": "damaged",
        }[change]
        with pytest.raises(ValueError, match=named):
            peft.load(saved, tiny, params)

    def test_factors_outside_the_layers_are_refused(self, tiny, params, tmp_path):
        adapter = lora.init(KEY, params, rank=2, targets="unembed")
        with pytest.raises(ValueError, match="no place for unembed"):
            peft.save(tmp_path, tiny, adapter, alpha=2.0)
