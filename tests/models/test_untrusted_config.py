"""Untrusted config.json: every invalid field is refused.

Each fault is one line with the folder and the field, at once and in little memory.
"""

import itertools
import json
import math
import time
import tracemalloc

import pytest

from jaxalign.models import pretrained
from tests.models.folder_cases import error_of, rewrite
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


@pytest.mark.parametrize("family", FAMILIES)
def test_a_field_of_the_wrong_kind(family, tiny_folder):
    """Every field, and those of others and of transformers that change the result."""
    folder = tiny_folder(family)
    original = (folder / "config.json").read_text()
    expected = pretrained.read_config(folder)
    config_json = json.loads(original)
    extra = {"architectures", "rope_scaling", "rope_parameters", "torch_dtype", "dtype"}
    extra |= {"initializer_range", "id2label", "num_labels", "eos_token_id", "to_dict"}
    start = time.monotonic()
    for field, wrong in itertools.product(sorted({*config_json, *extra}), WRONG):
        if field in FREE.get(json.dumps(wrong), ()):
            continue
        (folder / "config.json").write_text(json.dumps(config_json | {field: wrong}))
        try:
            config = pretrained.read_config(folder)
        except (ValueError, FileNotFoundError) as error:
            text = str(error)
            assert "\n" not in text and len(text) < 600, text
            assert str(folder) in text, text
            assert field in text or "config.json asks for" in text, (field, text)
        else:
            assert config == expected, (field, wrong)
    assert time.monotonic() - start < 60


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
    assert "rope" in error_of(folder)


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
    text = error_of(folder)
    assert "field 'rope_scaling': " in text and "float" not in text, text
    assert f"{folder}/config.json" in text


@pytest.mark.parametrize("heads", [3, 100_000_000])
def test_heads_that_do_not_share_the_width(tiny_folder, heads):
    folder = tiny_folder("llama")
    rewrite(folder, num_attention_heads=heads, num_key_value_heads=1)
    text = error_of(folder)
    assert "config.json: field 'num_attention_heads': The hidden size" in text, text


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_type_of_another_family(tiny_folder, family):
    """transformers reads a folder by its model_type, we by its architecture."""
    folder = tiny_folder(family)
    for other in ("llamba", "mistral" if family != "mistral" else "llama"):
        rewrite(folder, model_type=other)
        assert f"field 'model_type' is '{other}'; expected " in error_of(folder)


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
def test_huge_sizes_in_config_json_allocate_nothing(tiny_folder, changes):
    folder = tiny_folder("llama")
    rewrite(folder, **changes)
    pretrained.read_config(tiny_folder("llama"))  # what is loaded
    tracemalloc.start()
    start = time.monotonic()
    if "num_labels" in changes:  # of no language model
        pretrained.read_config(folder)
    else:
        assert str(folder) in error_of(folder)
    seconds, peak = time.monotonic() - start, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seconds < 5 and peak < 2**24


def test_layers_without_tensors_are_limited(tiny_folder):
    folder = tiny_folder("gemma2")
    (folder / "model.safetensors").unlink()
    rewrite(folder, num_hidden_layers=10**9)
    assert "'num_hidden_layers' is 1000000000" in error_of(folder)
