"""Folders that others made: no field, name or number of theirs is taken on trust.

Each fault is one line with the folder and the field, at once and in little memory.
"""

import itertools
import json
import math
import time
import tracemalloc

import chex
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from jaxalign.models import pretrained
from jaxalign.models.families import registry
from jaxalign.models.families.tensor_table import mapping_table
from tests.support.families import FAMILIES

WRONG = ["7", "x" * 9999, [], [[1]], {"a": 1}, -3, -0.5, True, None, 10**12, 10**400]
WRONG += [math.nan, math.inf, 0, [None], "\n"]
# What is right for some field, and so means another model.
CAPS = {"attn_logit_softcapping", "final_logit_softcapping"}
FREE = {
    "null": CAPS | {"sliding_window", "rope_scaling", "layer_types", "n_inner"},
    "true": {"attention_bias", "mlp_bias", "use_sliding_window", "tie_word_embeddings"},
    "1000000000000": CAPS | {"rope_theta", "rotary_emb_base", "rope_local_base_freq"}
    | {"query_pre_attn_scalar"},
    "0": {"max_window_layers"},
}  # fmt: skip


@pytest.fixture(scope="module")
def tiny_folder(settings, tmp_path_factory):
    """A function: a folder of a family, its tensors full of zeros."""

    def make(family, *, reward=False, **changes):
        there = settings(family, reward=reward) | changes
        folder = tmp_path_factory.mktemp(family)
        (folder / "config.json").write_text(json.dumps(there))
        table = mapping_table(registry.read_config(there, family, reward=reward))
        names = {w.name: np.zeros(w.shape, np.float32) for w in table}
        spare = "score." if not reward else "lm_head"
        save_file(
            {name: x for name, x in names.items() if not name.startswith(spare)},
            folder / "model.safetensors",
        )
        return folder

    return make


def rewrite(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def refusal(folder, **knobs):
    """What a folder is refused with: one line, from an exception of ours."""
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        pretrained.load(folder, **knobs)
    text = str(error.value)
    assert "\n" not in text and len(text) < 600, text
    return text


@pytest.mark.parametrize("family", FAMILIES)
def test_a_field_of_the_wrong_kind(family, tiny_folder):
    """Every field, and those of others and of transformers that change the result."""
    folder = tiny_folder(family)
    original = (folder / "config.json").read_text()
    expected = pretrained.read_config(folder)
    there = json.loads(original)
    extra = {"architectures", "rope_scaling", "rope_parameters", "torch_dtype", "dtype"}
    extra |= {"initializer_range", "id2label", "num_labels", "eos_token_id", "to_dict"}
    began = time.monotonic()
    for field, wrong in itertools.product(sorted({*there, *extra}), WRONG):
        if field in FREE.get(json.dumps(wrong), ()):
            continue
        (folder / "config.json").write_text(json.dumps(there | {field: wrong}))
        try:
            found = pretrained.read_config(folder)
        except (ValueError, FileNotFoundError) as error:
            text = str(error)
            assert "\n" not in text and len(text) < 600, text
            assert str(folder) in text, text
            assert field in text or "config.json asks for" in text, (field, text)
        else:
            assert found == expected, (field, wrong)
    assert time.monotonic() - began < 60


@pytest.mark.parametrize("field", ["rope_theta", "factor", "rope_type", "short_factor"])
@pytest.mark.parametrize("wrong", ["7", True, -1.0, [1], {}])
def test_rotary_fields_of_the_wrong_kind(tiny_folder, field, wrong):
    folder = tiny_folder("phi3")
    rope = json.loads((folder / "config.json").read_text())["rope_scaling"]
    if field == "short_factor" and wrong == [1]:
        wrong = ["1.0", "1.0"]
    if field == "rope_type" and wrong == "7":
        wrong = "seven"
    rewrite(folder, rope_scaling=rope | {field: wrong})
    assert "rope" in refusal(folder)


LLAMA3 = {"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0}


@pytest.mark.parametrize("rope", [
    LLAMA3 | {"factor": 8.0, "low_freq_factor": 4.0},  # a division by 0
    LLAMA3 | {"factor": 8.0, "low_freq_factor": 5.0},
    LLAMA3 | {"factor": 1e-300},  # no float32
    LLAMA3 | {"factor": None},
    {"rope_type": "default", "rope_theta": 1e-300},  # its power -3/4 is no float32
    {"rope_type": "linear", "factor": 1e-320},
    {"rope_type": "linear", "factor": None},
    {"rope_type": "yarn", "factor": 4.0, "rope_theta": 1.0},  # its logarithm is 0
    {"rope_type": "yarn", "factor": 4.0, "beta_slow": 32.0, "beta_fast": 1.0},
    {"rope_type": "yarn", "factor": 4.0, "mscale": 0.7, "mscale_all_dim": -20.0},
    {"rope_type": "longrope", "factor": 4.0, "original_max_position_embeddings": 1}
    | dict.fromkeys(("short_factor", "long_factor"), [1.0] * 4),  # log 1 is 0
])  # fmt: skip
def test_rotary_numbers_that_do_not_go_together(tiny_folder, rope):
    folder = tiny_folder("llama")
    rewrite(folder, rope_scaling=rope)
    text = refusal(folder)
    assert "field 'rope_scaling': " in text and "float" not in text, text
    assert f"{folder}/config.json" in text


@pytest.mark.parametrize("heads", [3, 100_000_000])
def test_heads_that_do_not_share_the_width(tiny_folder, heads):
    folder = tiny_folder("llama")
    rewrite(folder, num_attention_heads=heads, num_key_value_heads=1)
    text = refusal(folder)
    assert "config.json: field 'num_attention_heads': The hidden size" in text, text


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_type_of_another_family(tiny_folder, family):
    """transformers reads a folder by its model_type, we by its architecture."""
    folder = tiny_folder(family)
    for other in ("llamba", "mistral" if family != "mistral" else "llama"):
        rewrite(folder, model_type=other)
        assert f"field 'model_type' is '{other}', not " in refusal(folder)


@pytest.mark.parametrize("changes", [
    {"num_hidden_layers": 10**9},
    {"vocab_size": 10**12},
    {"vocab_size": 2**31 - 1},
    {"hidden_size": 2**31 - 2},
    {"intermediate_size": 2**31 - 1},
    {"num_attention_heads": 2**30},
    {"head_dim": 2**30},
    {"num_labels": 10**9},
    {"max_position_embeddings": 10**12},
])  # fmt: skip
def test_numbers_that_are_not_in_the_file_allocate_nothing(tiny_folder, changes):
    folder = tiny_folder("llama")
    rewrite(folder, **changes)
    pretrained.read_config(tiny_folder("llama"))  # what is loaded
    tracemalloc.start()
    began = time.monotonic()
    if "num_labels" in changes:  # of no language model
        pretrained.read_config(folder)
    else:
        assert str(folder) in refusal(folder)
    seconds, peak = time.monotonic() - began, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seconds < 5 and peak < 2**24


def test_layers_without_a_file_are_bounded(tiny_folder):
    folder = tiny_folder("gemma2")
    (folder / "model.safetensors").unlink()
    rewrite(folder, num_hidden_layers=10**9)
    assert "'num_hidden_layers' is 1000000000" in refusal(folder)


@pytest.mark.parametrize("shard", [
    "../model.safetensors",
    "/etc/hostname",
    "a/../../b.safetensors",
    "sub/a.safetensors",
    "..",
    "",
    "model.bin",
    7,
    None,
    ["a.safetensors"],
    "..\\a.safetensors",
])  # fmt: skip
def test_shards_are_plain_names_in_the_folder(tiny_folder, shard):
    """A file outside would be read, if only its header, in the reader's name."""
    folder = tiny_folder("llama")
    (folder / "model.safetensors").rename(folder.parent / "model.safetensors")
    index = {"weight_map": {"model.norm.weight": shard}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    text = refusal(folder)
    assert str(folder) in text and "weight_map.model.norm.weight" in text


@pytest.mark.parametrize("text", [
    "[]", "7", "{}", '{"weight_map": []}', '{"weight_map": {}}', '{"weight_map": 3}',
    '{"a": ' * 900 + "0" + "}" * 900, "[" * 100_000,
    '{"a": ' * 100_000, '{"weight_map": ' + "9" * 5000 + "}", "\xff",
])  # fmt: skip
def test_damaged_settings(tiny_folder, text):
    folder = tiny_folder("llama")
    (folder / "model.safetensors").unlink()
    index = folder / "model.safetensors.index.json"
    index.write_bytes(text.encode("latin-1"))
    assert "index.json" in refusal(folder)
    index.unlink()
    (folder / "config.json").write_bytes(text.encode("latin-1"))
    assert "config.json" in refusal(folder)


def test_settings_of_a_hundred_megabytes_are_not_read(tiny_folder):
    folder = tiny_folder("llama")
    with (folder / "config.json").open("ab") as file:
        file.truncate(10**8)
    assert "config.json has more than 64 MiB" in refusal(folder)


def header(text, length=None):
    raw = text if isinstance(text, bytes) else json.dumps(text).encode()
    return (len(raw) if length is None else length).to_bytes(8, "little") + raw


TENSOR = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize("data", [
    b"",
    b"1234567",
    header(b"{}", 2**63),
    header(b"{}", 2**40),
    header(b"not json"),
    header(b"[]"),
    header(b"{" * 1000),
    header({"a": TENSOR}),  # no data
    header({"a": TENSOR | {"shape": [2**62, 2**62]}}) + bytes(8),
    header({"a": TENSOR | {"shape": [-2]}}) + bytes(8),
    header({"a": TENSOR | {"dtype": "X9"}}) + bytes(8),
    header({"a": TENSOR | {"data_offsets": [8, 0]}}) + bytes(8),
    header({"a": TENSOR, "b": TENSOR}) + bytes(8),
], ids=range(13))  # fmt: skip
def test_damaged_headers(tiny_folder, data):
    folder = tiny_folder("llama")
    (folder / "model.safetensors").write_bytes(data)
    assert str(folder / "model.safetensors") in refusal(folder)


def test_a_folder_in_place_of_a_file(tiny_folder):
    folder = tiny_folder("llama")
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").mkdir()
    assert "model.safetensors" in refusal(folder)
    (folder / "config.json").unlink()
    (folder / "config.json").mkdir()
    assert "config.json" in refusal(folder)


class TestLabels:
    """A reward model has one score, by config.json or else by its head."""

    def configured(self, folder):
        return pretrained.read_config(folder, reward=True)

    def test_the_head_says_it_where_config_does_not(self, tiny_folder):
        folder = tiny_folder("llama", reward=True)
        path = folder / "config.json"
        there = json.loads(path.read_text())
        del there["num_labels"]
        path.write_text(json.dumps(there))
        _, params = pretrained.load_reward(folder)
        rewrite(folder, id2label={"0": "LABEL_0"}, label2id={"LABEL_0": 0})
        _, named = pretrained.load_reward(folder)
        assert (
            params["head"]["weight"].shape[-1] == 1
            or params["head"]["weight"].ndim == 1
        )
        assert params["head"]["weight"].size == params["norm"]["scale"].size
        chex.assert_trees_all_equal(params, named)

    @pytest.mark.parametrize("changes", [
        {"num_labels": 2}, {"id2label": {"0": "bad", "1": "good"}}
    ])  # fmt: skip
    def test_several_are_refused(self, tiny_folder, changes):
        folder = tiny_folder("llama", reward=True)
        rewrite(folder, **changes)
        with pytest.raises(ValueError, match=f"{next(iter(changes))} = 2 is not supp"):
            self.configured(folder)

    def test_a_head_of_two_rows_is_refused(self, tiny_folder):
        folder = tiny_folder("llama", reward=True, num_labels=1)
        path = folder / "config.json"
        there = json.loads(path.read_text())
        del there["num_labels"]
        path.write_text(json.dumps(there))
        table = mapping_table(registry.read_config(there, "llama", reward=True))
        shapes = {w.name: w.shape for w in table if w.name != "lm_head.weight"}
        shapes["score.weight"] = (2, 32)
        zeros = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
        save_file(zeros, folder / "model.safetensors")
        with pytest.raises(ValueError, match=r"score.weight has shape \(2, 32\)"):
            pretrained.load_reward(folder)


class TestTied:
    """A folder that says tied, with a head of its own: as transformers 5 loads it."""

    @pytest.fixture
    def saved(self, variant, draw, tmp_path):
        model = variant(tied=False)
        params = draw(model)
        pretrained.save(tmp_path, model, params)
        rewrite(tmp_path, tie_word_embeddings=True)
        return tmp_path, params

    def tensors(self, folder, change):
        from safetensors.numpy import load_file

        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors")

    def test_another_head_is_not_tied(self, saved):
        folder, params = saved
        model, found = pretrained.load(folder, dtype=jnp.float32)
        assert not model.config.tied
        np.testing.assert_array_equal(found["unembed"], params["unembed"])
        np.testing.assert_array_equal(found["embed"], params["embed"])

    def test_an_equal_one_is(self, saved):
        folder, _ = saved
        same = lambda t: t.update({"lm_head.weight": t["model.embed_tokens.weight"]})
        self.tensors(folder, same)
        model, found = pretrained.load(folder)
        assert model.config.tied and "unembed" not in found

    def test_one_number_of_difference_is_enough(self, saved):
        folder, _ = saved

        def change(tensors):
            head = tensors["model.embed_tokens.weight"].copy()
            head[-1, -1] += 1
            tensors["lm_head.weight"] = head

        self.tensors(folder, change)
        assert not pretrained.load(folder)[0].config.tied

    def test_the_one_matrix_may_have_either_name(self, saved):
        folder, params = saved
        self.tensors(folder, lambda t: t.pop("model.embed_tokens.weight"))
        model, found = pretrained.load(folder)
        assert model.config.tied
        np.testing.assert_array_equal(found["embed"], params["unembed"].T)
