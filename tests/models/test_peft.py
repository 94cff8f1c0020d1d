"""Adapters in PEFT's format: out and back, and in PEFT the same logits."""

import json
import time

import chex
import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from jaxalign.models import lora, peft, peft_settings, pretrained
from tests.support.families import FAMILIES

# differences of float32 weights near 1: their rounding, and that of a product's sum;
# twice that where two products are subtracted
ROUNDING, TWICE = 1e-5, 2e-5

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
    peft.save(tmp_path, tiny, adapter, alpha=8.0, rank_stabilized=True)
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
        np.testing.assert_allclose(new[name] - old[name], 2.0 * b @ a, atol=ROUNDING)


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
        np.testing.assert_allclose(new[name] - old[name], product, atol=ROUNDING)
    again, scale = peft.load(tmp_path, model, params)
    chex.assert_trees_all_close(
        lora.merge(attach(again, scale)),
        lora.merge(attach(adapter, 1.5)),
        atol=ROUNDING,
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

    @pytest.mark.parametrize("told", [
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
    def test_merged(self, tiny, params, rows, tmp_path, theirs, told):
        import peft as theirs_peft
        import torch

        settings = {"r": 4, "lora_alpha": 6, "target_modules": ["q_proj", "up_proj"]}
        torch.manual_seed(0)
        made = theirs_peft.get_peft_model(
            theirs, theirs_peft.LoraConfig(**settings | told)
        )
        with torch.no_grad():
            for name, parameter in made.named_parameters():
                if "lora_" in name:
                    parameter += 0.1 * torch.randn_like(parameter)
        made.save_pretrained(tmp_path / "adapter")
        import transformers

        fresh = transformers.AutoModelForCausalLM.from_pretrained(
            tmp_path / "model", dtype=torch.float32, attn_implementation="eager"
        )
        loaded = theirs_peft.PeftModel.from_pretrained(fresh, tmp_path / "adapter")
        merged = loaded.merge_and_unload().state_dict()
        changes = change_of(
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
        adapter = adapter_of(model, params, targets)
        pretrained.save(tmp_path / "model", model, params)
        peft.save(tmp_path / "ours", model, adapter, alpha=3.0, rank_stabilized=True)
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


def change_of(model, params, loaded, folder):
    """What an adapter changes in each tensor of a saved folder."""
    adapter, scale = loaded
    merged = lora.merge(lora.attach(params, adapter, scale=scale))
    pretrained.save(folder / "new", model, merged)
    pretrained.save(folder / "old", model, params)
    new, old = (load_file(folder / x / "model.safetensors") for x in ("new", "old"))
    return {x: new[x] - old[x] for x in old if not np.array_equal(new[x], old[x])}


def written(folder, tensors, **settings):
    """An adapter of rank 4 and alpha 8, as PEFT's files are."""
    prefix = "base_model.model."
    save_file({prefix + k: x for k, x in tensors.items()}, folder / peft.TENSORS)
    defaults = {"peft_type": "LORA", "r": 4, "lora_alpha": 8}
    (folder / peft.CONFIG).write_text(json.dumps(defaults | settings))
    return folder


def stem(layer, name):
    return f"model.layers.{layer}.self_attn.{name}"


class TestAsPeftMerges:
    """Each by its definition; `TestInPeft` has PEFT's own numbers."""

    def factors(self, *modules, rank=4, outputs=48):
        rng = np.random.default_rng(3)
        draw = lambda *shape: rng.normal(0, 0.1, shape).astype(np.float32)
        return {
            f"{name}.lora_{x}.weight": draw(*shape)
            for name in modules
            for x, shape in (("A", (rank, 24)), ("B", (outputs, rank)))
        }

    @pytest.mark.parametrize("start", ["pissa", "olora", "OLoRA"])
    @pytest.mark.parametrize("stabilised", [False, True])
    def test_a_start_taken_from_the_base(
        self, tiny, params, tmp_path, start, stabilised
    ):
        """B A less what the base lost, which at the start makes no change at all."""
        pretrained.save(tmp_path, tiny, params)
        base = load_file(tmp_path / "model.safetensors")
        scale = 8 / 2 if stabilised else 8 / 4
        names = [stem(layer, "q_proj") for layer in range(3)]
        taken, moved, lost = {}, {}, {}
        for name in names:
            weight = base[f"{name}.weight"].astype(np.float64)  # [outputs, inputs]
            if start == "pissa":
                left, values, right = np.linalg.svd(weight, full_matrices=False)
                a = np.diag((values[:4] / scale) ** 0.5) @ right[:4]
                b = left[:, :4] @ np.diag((values[:4] / scale) ** 0.5)
            else:
                q, r = np.linalg.qr(weight)
                a, b = r[:4], q[:, :4]
            lost[name] = scale * b @ a
            taken |= {f"{name}.lora_A.weight": a.astype(np.float32)}
            taken |= {f"{name}.lora_B.weight": b.astype(np.float32)}
            other = self.factors(name)
            moved |= other
            lost[name] -= scale * np.matmul(*reversed([*other.values()]))
        told = {"target_modules": ["q_proj"], "init_lora_weights": start}
        told |= {"use_rslora": stabilised}
        loaded = peft.load(written(tmp_path, taken, **told), tiny, params)
        for name, change in change_of(tiny, params, loaded, tmp_path).items():
            np.testing.assert_allclose(change, 0, atol=ROUNDING, err_msg=name)
        loaded = peft.load(written(tmp_path, moved, **told), tiny, params)
        changes = change_of(tiny, params, loaded, tmp_path)
        assert set(changes) == {f"{name}.weight" for name in names}
        for name in names:
            expected = -lost[name]
            np.testing.assert_allclose(
                changes[f"{name}.weight"], expected, atol=ROUNDING
            )

    def test_the_files_of_a_report(self, public_data, tmp_path):
        """A PiSSA adapter, which loaded as if the base had lost nothing."""
        cases = public_data.parent / "cases"
        if not (cases / "adapter_pissa").is_dir():
            pytest.skip("no ../shared/cases/adapter_pissa here")
        model, params = pretrained.load(cases / "adapter_base")
        loaded = peft.load(cases / "adapter_pissa", model, params)
        changes = change_of(model, params, loaded, tmp_path)
        base = load_file(cases / "adapter_base" / "model.safetensors")
        factors = load_file(cases / "adapter_pissa" / "adapter_model.safetensors")
        assert len(changes) == len(factors) // 2 == 4
        for name, change in changes.items():
            end = f"base_model.model.{name.removesuffix('weight')}lora_"
            a, b = factors[f"{end}A.weight"], factors[f"{end}B.weight"]
            left, values, right = np.linalg.svd(base[name], full_matrices=False)
            first = (left[:, :4] * values[:4]) @ right[:4]
            np.testing.assert_allclose(change, b @ a - first, atol=TWICE)

    @pytest.mark.parametrize("told", [
        {"layers_to_transform": [0, 2]},
        {"layers_to_transform": [0, 2], "layers_pattern": "layers"},
        {"target_modules": r".*\.[02]\.self_attn\.q_proj"},
        {"target_modules": [stem(0, "q_proj"), stem(2, "q_proj")]},
        {"exclude_modules": [stem(1, "q_proj")]},
        {"exclude_modules": r".*\.1\..*"},
    ])  # fmt: skip
    def test_some_layers(self, tiny, params, tmp_path, told):
        tensors = self.factors(stem(0, "q_proj"), stem(2, "q_proj"))
        folder = written(tmp_path, tensors, **{"target_modules": ["q_proj"]} | told)
        changes = change_of(tiny, params, peft.load(folder, tiny, params), tmp_path)
        assert set(changes) == {f"{stem(i, 'q_proj')}.weight" for i in (0, 2)}
        for name, change in changes.items():
            a, b = (tensors[f"{name[:-6]}lora_{x}.weight"] for x in "AB")
            np.testing.assert_allclose(change, 2 * b @ a, atol=ROUNDING)
        (folder / peft.CONFIG).write_text(
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
            tensors |= self.factors(stem(layer, "q_proj"), rank=rank)
        folder = written(
            tmp_path, tensors, target_modules=["q_proj"],
            rank_pattern={r"layers\.0\..*": 2, stem(2, "q_proj"): 7, ".*q_proj": 4},
            alpha_pattern={r"2\.self_attn\.q_proj": 3, "_proj": 99},
        )  # fmt: skip
        changes = change_of(tiny, params, peft.load(folder, tiny, params), tmp_path)
        for layer, rank in ranks.items():
            a, b = (tensors[f"{stem(layer, 'q_proj')}.lora_{x}.weight"] for x in "AB")
            scale = (3 if layer == 2 else 8) / rank
            change = changes[f"{stem(layer, 'q_proj')}.weight"]
            np.testing.assert_allclose(change, scale * b @ a, atol=ROUNDING)

    def test_all_linear_means_every_matrix_of_the_layers(self, tiny, params, tmp_path):
        tensors = self.factors(*(stem(i, "q_proj") for i in range(3)))
        folder = written(tmp_path, tensors, target_modules="All-Linear")
        with pytest.raises(ValueError, match="lora_A.weight is missing"):
            peft.load(folder, tiny, params)


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
    def test_one_line_with_the_file_and_the_field(
        self, tiny, params, folder, field, value
    ):
        path = folder / "adapter_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
        with pytest.raises(ValueError) as error:
            peft.load(folder, tiny, params)
        text = str(error.value)
        assert str(path) in text and field in text and "\n" not in text, text

    def test_an_adapter_of_another_kind_is_refused_by_its_kind(
        self, tiny, params, folder
    ):
        """Settings that only the other kind has say less."""
        path = folder / "adapter_config.json"
        there = json.loads(path.read_text())
        path.write_text(json.dumps({"beta1": 0.85, **there, "peft_type": "ADALORA"}))
        with pytest.raises(ValueError, match="peft_type = 'ADALORA' is not supported"):
            peft.load(folder, tiny, params)

    @pytest.mark.parametrize("field", ["target_modules", "exclude_modules", "ranks"])
    @pytest.mark.parametrize("huge", [False, True])
    def test_patterns_are_bounded(self, tiny, params, folder, field, huge, monkeypatch):
        """Backtracking grows with each letter of a name; copies take memory."""
        slow = r"(?:.|.)*[!?]" if not huge else "(((a{999}){999}){999}){999}"
        changes = {field: slow} if field != "ranks" else {"rank_pattern": {slow: 4}}
        path = folder / "adapter_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))
        monkeypatch.setattr(peft_settings.Patterns.__init__, "__defaults__", (0.2,))
        began = time.monotonic()
        with pytest.raises(ValueError, match="a pattern (takes more|is too)"):
            peft.load(folder, tiny, params)
        assert time.monotonic() - began < 10

    def test_no_adapter(self, tiny, params, tmp_path):
        with pytest.raises(FileNotFoundError, match="holds no adapter"):
            peft.load(tmp_path, tiny, params)

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
            "a layer less": "2.self_attn.q_proj.lora_A.weight is missing",
            "spare": "lm_head",
            "cut": "damaged",
        }[change]
        with pytest.raises(ValueError, match=named):
            peft.load(folder, tiny, params)

    def test_what_peft_has_no_place_for(self, tiny, params, tmp_path):
        made = lora.init(KEY, params, rank=2, targets="unembed")
        with pytest.raises(ValueError, match="no place for unembed"):
            peft.save(tmp_path, tiny, made, alpha=2.0)
