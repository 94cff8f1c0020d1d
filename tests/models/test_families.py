"""Every family: forward pass against decoding, and folders saved and loaded."""

import dataclasses
import json

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from jaxalign import sharding
from jaxalign.batches import TokenBatch, from_lengths
from jaxalign.models import heads, hf_params, pretrained, transformer
from jaxalign.models.families import registry

# Two orders of the same float32 sums, over 3 layers of values about 1.
CLOSE = {"rtol": 1e-4, "atol": 5e-5}
LENGTHS = np.array([30, 20, 9, 17], np.int32)


@pytest.fixture(scope="module")
def texts() -> TokenBatch:
    """Four texts; three are longer than a window, and than the original context."""
    tokens = np.random.default_rng(0).integers(0, 61, (4, 30)).astype(np.int32)
    return from_lengths(tokens, LENGTHS, np.ones(4, np.int32))


@pytest.fixture(scope="module")
def read(tiny_of, draw, texts):
    """A family's model, its parameters and what it makes of the texts; made once."""
    cache = {}

    def of(name):
        if name not in cache:
            model = tiny_of(name)
            params = draw(model)
            arrays = (texts.tokens, texts.positions, texts.segments)
            cache[name] = model, params, jax.jit(model.hidden)(params, *arrays)
        return cache[name]

    return of


def test_prefill_and_decode_are_the_full_forward(family, read, texts):
    """Ragged prompts, then three more tokens of each row, at once."""
    model, params, full = read(family)
    prompts = LENGTHS - 3
    extend = jax.jit(model.extend)
    first, cache = extend(params, texts.tokens[:, :27], model.init_cache(4, 30))
    cache = cache._replace(length=jnp.asarray(prompts))
    columns = prompts[:, None] + np.arange(3)[None, :]
    tokens = np.take_along_axis(texts.tokens, columns, axis=1)
    last, _ = extend(params, tokens, cache)
    # longrope turns all rows of a long cache alike: see `decode_rope_and_mask`
    rows = [0, 1, 3] if family == "phi3" else range(4)
    for row in rows:
        prompt, length = prompts[row], LENGTHS[row]
        np.testing.assert_allclose(first[row, :prompt], full[row, :prompt], **CLOSE)
        np.testing.assert_allclose(last[row], full[row, prompt:length], **CLOSE)


def test_packed_equals_separate_rows(family, read, texts):
    """Texts 1 and 2, 29 tokens, behind each other in each of four rows."""
    model, params, full = read(family)
    starts = np.arange(30)
    second = starts >= 20
    tokens = np.where(second, np.roll(texts.tokens[2], 20), texts.tokens[1])
    positions = np.where(second, starts - 20, starts).astype(np.int32)
    segments = np.where(starts < 29, 1 + second, 0).astype(np.int32)
    rows = [np.tile(x, (4, 1)) for x in (tokens, positions, segments)]
    packed = jax.jit(model.hidden)(params, *rows)[3]
    np.testing.assert_allclose(packed[:20], full[1, :20], **CLOSE)
    np.testing.assert_allclose(packed[20:29], full[2, :9], **CLOSE)


@pytest.mark.slow
def test_eight_devices_equal_one_and_gradients_are_finite(family, read, texts):
    """Every leaf matters: none has a gradient of 0."""
    model, params, full = read(family)
    weights = np.random.default_rng(1).normal(size=full.shape).astype(np.float32)
    weights = np.where((texts.segments > 0)[:, :, None], weights, 0.0)

    def loss(params, batch):
        hidden = model.hidden(params, batch.tokens, batch.positions, batch.segments)
        logits = hidden @ model.unembed(params)
        return jnp.sum(hidden * weights) + jnp.mean(logits)

    mesh = sharding.make_mesh({"data": 2, "fsdp": 2, "tensor": 2})
    spread = sharding.place(params, model.specs(), mesh)
    step = jax.jit(jax.value_and_grad(loss))
    with jax.set_mesh(mesh):
        value, gradient = step(spread, sharding.place_batch(texts, mesh))
    expected = np.sum(full * weights) + np.mean(full @ model.unembed(params))
    # 3840 numbers about 1 are added up
    np.testing.assert_allclose(value, expected, rtol=1e-3, atol=1e-2)
    chex.assert_tree_all_finite(gradient)
    for path, leaf in hf_params.flatten(jax.device_get(gradient)).items():
        # the softmax does not see what all keys have in common
        if path[-1] != "key_bias":
            assert np.abs(leaf).max() > 1e-3, path


def test_a_saved_folder_has_the_same_bits(family, tiny_of, draw, tmp_path):
    model = tiny_of(family)
    params = draw(model)
    pretrained.save(tmp_path, model, params, max_shard_bytes=20_000)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    files = {path.name for path in tmp_path.glob("*.safetensors")}
    assert len(files) > 2 and set(index["weight_map"].values()) == files
    again, back = pretrained.load(tmp_path, dtype="float32")
    assert again.config == dataclasses.replace(model.config, unroll=4)
    chex.assert_trees_all_equal(back, params)


@pytest.mark.parametrize("bias", [0.0, 0.25])
def test_a_saved_reward_folder_has_the_same_bits(family, tiny_of, draw, tmp_path, bias):
    model = heads.scalar_model(tiny_of(family).config)
    params = draw(model)
    params["head"]["bias"] = jnp.float32(bias)
    pretrained.save_reward(tmp_path, model, params, tokens={"pad_token_id": 3})
    written = json.loads((tmp_path / "config.json").read_text())
    assert written["architectures"][0].endswith("ForSequenceClassification")
    assert written["pad_token_id"] == 3
    again, back = pretrained.load_reward(tmp_path, dtype="float32")
    assert again.config == dataclasses.replace(model.config, unroll=4)
    chex.assert_trees_all_equal(back, params)


def test_reward_model_that_does_not_fit(tiny_of, draw, tmp_path):
    model = heads.scalar_model(tiny_of("qwen3").config)
    pretrained.save_reward(tmp_path, model, draw(model))
    path = tmp_path / "config.json"
    written = json.loads(path.read_text())
    path.write_text(json.dumps(written | {"num_labels": 2}))
    with pytest.raises(ValueError, match="num_labels = 2 is not supported"):
        pretrained.load_reward(tmp_path)
    path.write_text(json.dumps(written))
    with pytest.raises(ValueError, match="reward model; read it with load_reward"):
        pretrained.load(tmp_path)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("llama", {"window": 4}, "a llama has window = None, not 4"),
        ("mistral", {"qkv_bias": True}, "a mistral has qkv_bias = False, not True"),
        ("qwen2", {"qk_norm": "head"}, "a qwen2 has qk_norm = 'none', not 'head'"),
        ("gemma2", {"query_scale": 0.3}, "a gemma2 has query_scale = 0.30151"),
        (
            "phi3",
            {"head_dim": 16},
            "a phi3 has head_dim = 8, not 16|it needs . of each",
        ),
        ("gpt2", {"kv_heads": 2}, "a gpt2 has kv_heads = 4, not 2"),
        ("gpt_neox", {"out_bias": False}, "a gpt_neox has out_bias = True, not False"),
        ("llama", {"family": "bloom"}, "unknown family 'bloom'; known: llama, mist"),
    ],
)
def test_configurations_outside_the_family_are_refused(
    tiny_of, tmp_path, name, changes, message
):
    with pytest.raises(ValueError, match=message):
        pretrained.save(tmp_path, tiny_of(name, **changes), {})


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "inverse_layer_idx = True"),
        ("gemma3_text", {"attn_logit_softcapping": 5.0}, "softcapping = 5.0 is not"),
        ("gemma2", {"use_bidirectional_attention": True}, "bidirectional.*= True"),
        ("qwen3", {"layer_types": ["chunked_attention"] * 3}, "chunked_attention"),
        ("mistral", {"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}, "dynam"),
        ("phi3", {"num_hidden_layers": None}, "num_hidden_layers"),
    ],
)
def test_unsupported_settings_are_refused(settings, name, changes, message):
    with pytest.raises(ValueError, match=f"here/config.json: .*{message}"):
        registry.read_config(settings(name) | changes, "here/config.json")


def test_older_and_newer_settings_are_equal(settings):
    """transformers 5 keeps rotary settings together, and calls window layers types."""
    old = settings("gemma3_text")
    new = {k: v for k, v in old.items() if not k.startswith("rope_")}
    new["rope_parameters"] = {
        "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1000.0},
    }
    assert registry.read_config(new, "new") == registry.read_config(old, "old")
    older = {k: v for k, v in old.items() if k != "layer_types"}
    every = registry.read_config(older | {"sliding_window_pattern": 2}, "older")
    assert every.is_sliding == (True, False, True)


def test_names_and_buffers_of_older_gpt2_folders(tiny_of, draw, tmp_path):
    """They name tensors without the prefix, and keep causal masks beside them."""
    model = tiny_of("gpt2")
    params = draw(model)
    pretrained.save(tmp_path, model, params)
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    bare = {name.removeprefix("transformer."): x for name, x in tensors.items()}
    bare["h.0.attn.bias"] = np.ones((1, 1, 64, 64), np.float32)
    save_file(bare, path)
    chex.assert_trees_all_equal(pretrained.load(tmp_path)[1], params)


def test_always_long_equals_a_long_cache(tiny_of, draw, texts, tmp_path):
    """Where all texts count as long, a text reads the same from a long cache."""
    shape = tiny_of("phi3").config
    scaling = dataclasses.replace(shape.rope_scaling, always_long=True)
    model = transformer.language_model(dataclasses.replace(shape, rope_scaling=scaling))
    params = draw(model)
    inputs = (texts.tokens, texts.positions, texts.segments)
    full, of_its_length = (
        np.asarray(jax.jit(m.hidden)(params, *inputs)) for m in (model, tiny_of("phi3"))
    )
    read, _ = jax.jit(model.extend)(params, texts.tokens, model.init_cache(4, 30))
    for row, length in enumerate(LENGTHS):
        np.testing.assert_allclose(read[row, :length], full[row, :length], **CLOSE)
        # far above rounding (CLOSE), far below what other frequencies change
        same = np.allclose(full[row, :length], of_its_length[row, :length], atol=1e-3)
        assert same == (length > scaling.original_context)
    pretrained.save(tmp_path, model, params)
    assert not pretrained.load(tmp_path)[0].config.rope_scaling.always_long
