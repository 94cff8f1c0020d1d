"""Hugging Face folders: a real model's golden numbers, round trips, clear refusals."""

import json
import re
import shutil

import chex
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer
from transformers import AutoConfig

from jaxalign import batches, estimators, sampling, sharding
from jaxalign.models import pretrained


@pytest.fixture(scope="module")
def folder(public_data):
    return public_data / "stories260K" / "hf"


@pytest.fixture(scope="module")
def golden(public_data):
    """What transformers computed, in float32 on a CPU, of the same folder."""
    return json.loads((public_data / "stories260K" / "golden.json").read_text())


@pytest.fixture(scope="module")
def stories(folder):
    return pretrained.load(folder, dtype=jnp.float32)


@pytest.fixture(scope="module")
def logp(stories):
    """Log-probs aligned with tokens, of right-padded rows."""
    model, params = stories

    @jax.jit
    def score(batch):
        hidden = model.hidden(params, batch.tokens, batch.positions, batch.segments)
        return estimators.next_token_logprobs(
            hidden, model.unembed(params), batch.tokens
        )

    return lambda tokens, lengths: np.asarray(
        score(batches.from_lengths(tokens, lengths, np.ones_like(lengths)))
    )


@pytest.fixture
def copy(folder, tmp_path):
    """The real folder, to damage."""
    shutil.copytree(folder, tmp_path / "model", copy_function=shutil.copyfile)
    (tmp_path / "model").chmod(0o755)
    return tmp_path / "model"


def rewrite(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def retensor(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def test_greedy_answer_is_golden(stories, golden):
    model, params = stories
    prompt, lengths = np.array([[1]], np.int32), np.array([1], np.int32)
    samples = sampling.generate(
        model, params, prompt, lengths, jax.random.key(0),
        sampling.SamplingParams(max_new_tokens=256, temperature=0.0),
    )  # fmt: skip
    assert samples.tokens[0].tolist() == golden["greedy_ids"][1:]
    # printed to 6 decimals; a chain of float32 sums
    np.testing.assert_allclose(
        samples.logp[0, :63], golden["token_logprobs"], atol=1e-4
    )


def test_logprobs_are_golden(logp, golden):
    tokens = np.zeros((8, 256), np.int32)
    tokens[0, :64] = golden["ids"]
    logps = logp(tokens, np.array([64] + [1] * 7, np.int32))[0]
    np.testing.assert_allclose(logps[1:64], golden["token_logprobs"], atol=1e-4)


def test_story_nll(public_data, logp, golden, folder):
    """8 of the golden recipe's stories; transformers, in float64, gave each one's.

    All 1097 gave 1.5756697724 nats a token where the golden number is 1.5756697476;
    they take half a minute.
    """
    expected = [392.50232, 549.60503, 553.52854, 497.98394]
    expected += [348.84264, 351.34180, 376.52294, 426.40602]
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    text = (public_data / "text" / "tinystories_1mb.txt").read_text()
    lines = re.split(r"(?<!\n)\n(?!\n)", text)
    stories = [line.replace("\n\n", "\n").strip() for line in lines if line.strip()]
    assert stories[0] == golden["first_story"]["text"]
    ids = [tokenizer.encode(story).ids for story in stories[:8]]
    assert ids[0] == golden["first_story"]["ids"]
    tokens = np.zeros((8, 416), np.int32)
    for row, story in zip(tokens, ids, strict=True):
        row[: len(story)] = story
    lengths = np.array([len(story) for story in ids], np.int32)
    logps = logp(tokens, lengths)
    counted = np.arange(416)[None, :] < lengths[:, None]
    nll = -np.where(counted, logps, 0.0).sum(axis=1)
    # up to 413 float32 log-probs of 1e-6 each
    np.testing.assert_allclose(nll, expected, rtol=2e-6)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("param_dtype", ["float32", "bfloat16"])
def test_round_trip_is_exact(variant, draw, tmp_path, tied, param_dtype):
    model = variant(tied=tied, param_dtype=param_dtype, rope_theta=5e5, norm_eps=1e-6)
    params = draw(model)
    pretrained.save(tmp_path / "new" / "folder", model, params)
    again, back = pretrained.load(
        tmp_path / "new" / "folder", dtype="float32", param_dtype=param_dtype
    )
    assert again.config == model.config
    chex.assert_trees_all_equal(back, params)
    chex.assert_trees_all_equal_dtypes(back, params)


def test_a_saved_folder_equals_that_of_transformers(stories, folder, tmp_path):
    """The same tensors, byte for byte, and the same settings."""
    tokens = {"bos_token_id": 1, "eos_token_id": 2}
    pretrained.save(tmp_path, *stories, tokens=tokens)
    ours, theirs = (load_file(x / "model.safetensors") for x in (tmp_path, folder))
    chex.assert_trees_all_equal(ours, theirs)
    config, original = (
        json.loads((x / "config.json").read_text()) for x in (tmp_path, folder)
    )
    assert config.pop("pad_token_id") is None
    assert {**original, **config} == original
    generation = json.loads((tmp_path / "generation_config.json").read_text())
    assert generation == tokens
    assert AutoConfig.from_pretrained(tmp_path).num_key_value_heads == 4


def test_load_onto_a_mesh(stories, folder):
    mesh = sharding.make_mesh({"fsdp": 2, "tensor": 4})
    model, params = pretrained.load(folder, dtype=jnp.float32, mesh=mesh)
    chex.assert_trees_all_equal(jax.device_get(params), jax.device_get(stories[1]))
    places = sharding.shardings(mesh, model.specs(), params)
    jax.tree.map(lambda x, s: chex.assert_equal(x.sharding, s), params, places)
    assert params["embed"].addressable_shards[0].data.shape == (512 / 4, 64 / 2)


def test_shards_and_half_precision(copy, stories):
    """Two files with an index, in bfloat16: float32 values rounded to 8 bits."""
    tensors = load_file(copy / "model.safetensors")
    (copy / "model.safetensors").unlink()
    halves = {name: x.astype(ml_dtypes.bfloat16) for name, x in tensors.items()}
    names = sorted(halves)
    index = {}
    for shard, part in (("a.safetensors", names[::2]), ("b.safetensors", names[1::2])):
        save_file({name: halves[name] for name in part}, copy / shard)
        index |= dict.fromkeys(part, shard)
    where = copy / "model.safetensors.index.json"
    where.write_text(json.dumps({"weight_map": index}))
    model, params = pretrained.load(copy)
    assert model.config.dtype == "bfloat16" and params["embed"].dtype == jnp.float32
    rounded = jax.tree.map(
        lambda x: x.astype(jnp.bfloat16).astype(jnp.float32), stories[1]
    )
    chex.assert_trees_all_equal(params, rounded)
    (copy / "b.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="lacks b.safetensors"):
        pretrained.load(copy)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architectures": ["BertModel"]}, "BertModel; known: LlamaForC.*Olmo2"),
        ({"architectures": None}, "unknown architecture none"),
        (
            {"architectures": ["LlamaForSequenceClassification"]},
            "is a reward model; read it with load_reward",
        ),
        ({"hidden_act": "relu"}, "activation 'relu' is not supported"),
        ({"attention_bias": True}, r"20 tensors are missing \(\['model.layers.0"),
        ({"pretraining_tp": 2}, "pretraining_tp = 2 is not supported"),
        ({"quantization_config": {"bits": 4}}, "quantized weights are not"),
        ({"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}, "'dynamic' is not"),
        ({"rope_scaling": {"rope_type": "linear"}}, "Missing required keys.*factor"),
        ({"vocab_size": 500}, r"shape \(512, 64\); config.json asks for \(500, 64\)"),
        ({"tie_word_embeddings": False}, r"1 tensors are missing \(\['lm_head.weight"),
        ({"num_hidden_layers": 4}, "'num_hidden_layers' is 4; the tensors have 5"),
        # as many numbers as before, differently cut
        ({"num_key_value_heads": 2, "head_dim": 16}, "config.json asks for"),
    ],
)
def test_a_config_that_does_not_fit_the_tensors(copy, changes, message):
    rewrite(copy, **changes)
    with pytest.raises(ValueError, match=message):
        pretrained.load(copy)


def test_rope_parameters_of_transformers_5(copy):
    rope = {"rope_type": "default", "rope_theta": 1234.0}
    rewrite(copy, rope_parameters=rope)
    assert pretrained.load(copy)[0].config.rope_theta == 1234.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("model.norm.weight"), "missing .*model.norm.weight"),
        (lambda t: t.update(extra=np.zeros(1, np.float32)), "1 are not .*extra"),
        (
            # as many numbers, transposed: a reshape would have taken it
            lambda t: t.update(
                {"model.layers.0.self_attn.k_proj.weight": np.ones((64, 32), "f")}
            ),
            r"k_proj.weight has shape \(64, 32\)",
        ),
        (
            lambda t: t.update({"model.norm.weight": np.ones(64, np.int8)}),
            "model.norm.weight is I8",
        ),
    ],
    ids=["missing", "extra", "transposed", "quantized"],
)
def test_tensors_that_do_not_fit(copy, change, message):
    retensor(copy, change)
    with pytest.raises(ValueError, match=message):
        pretrained.load(copy)


def test_missing_and_damaged_files(copy):
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(ValueError, match="damaged or cut short"):
        pretrained.load(copy)
    weights.unlink()
    with pytest.raises(FileNotFoundError, match="lacks model.safetensors"):
        pretrained.load(copy)
    (copy / "config.json").write_text("{")
    with pytest.raises(ValueError, match="is not JSON"):
        pretrained.load(copy)
    (copy / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    with pytest.raises(ValueError, match="missing vocab_size, hidden_size"):
        pretrained.load(copy)
    (copy / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match="holds no model"):
        pretrained.load(copy)


def test_a_refused_save_changes_nothing(copy, stories, variant, tmp_path):
    capped = variant(logit_cap=30.0)
    with pytest.raises(ValueError, match="a llama has logit_cap = None, not 30.0"):
        pretrained.save(copy, capped, {})
    smaller = {**stories[1], "embed": stories[1]["embed"][:9]}
    with pytest.raises(ValueError, match=r"embed has shape \(9, 64\); the model's is"):
        pretrained.save(copy, stories[0], smaller)
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="cannot write the model to"):
        pretrained.save(tmp_path / "file", *stories)
    pretrained.save(copy, *stories)
    chex.assert_trees_all_equal(pretrained.load(copy)[1], stories[1])
    assert not list(copy.glob(".new*"))
