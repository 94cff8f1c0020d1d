"""What runs save: where answers stop, types, modes, cards, and padding of rewards."""

import dataclasses
import json
import os

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file, save_file
from tokenizers import AddedToken
from transformers import AutoTokenizer, GenerationConfig

from experiments import reward_model, sft
from jaxalign.data import tokenizer as tokenizers
from jaxalign.models import (
    folder_settings,
    heads,
    pretrained,
    pretrained_folder,
    transformer,
)
from jaxalign.models.config import ModelConfig
from jaxalign.pipeline import model_cards, model_folders, policies
from tests.data import chat_templates

# The special tokens of a shape, its end of sequence and of a turn, and what its
# generation_config.json names.
SHAPES = {
    "qwen2.5": (
        chat_templates.QWEN25,
        ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        ("<|im_end|>", "<|im_end|>"),
        ["<|im_end|>", "<|endoftext|>"],
    ),
    "llama3": (
        chat_templates.LLAMA31,
        ["<|begin_of_text|>", "<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"]
        + ["<|start_header_id|>", "<|end_header_id|>"],
        ("<|end_of_text|>", "<|eot_id|>"),
        ["<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"],
    ),
    "gemma": (
        chat_templates.GEMMA,
        ["<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>"],
        ("<eos>", "<end_of_turn>"),
        "<eos>",
    ),
}


@pytest.fixture(scope="module", params=SHAPES)
def shape(request, tmp_path_factory):
    """A folder in the shape of a family's, and the tokens it should stop at."""
    template, special, (end, turn), named = SHAPES[request.param]
    folder = tmp_path_factory.mktemp("source")
    plain = tokenizers.train(["what is 12 + 30? sure, 42."] * 4, vocab_size=270)
    backend = plain.backend_tokenizer
    backend.add_special_tokens([AddedToken(x, special=True) for x in special])
    tokenizer = type(plain)(
        tokenizer_object=backend, eos_token=end, pad_token=special[0]
    )
    if "<|begin_of_text|>" in special or "<bos>" in special:
        tokenizer.bos_token = next(x for x in special if "b" in x and "e" != x[1])
    tokenizer.chat_template = template
    model, params = tiny(len(tokenizer))
    ids = tokenizer.convert_tokens_to_ids
    source = policies.Policy(model, params, tokenizer, 32)
    model_folders.save(folder, source)
    path = folder / "generation_config.json"
    settings = {"temperature": 0.6, "top_p": 0.9, "do_sample": True, "mine": [1]}
    path.write_text(json.dumps(settings | {"eos_token_id": ids(named)}))
    ends = [*([named] if isinstance(named, str) else named), end, turn]
    return folder, list(dict.fromkeys(map(ids, ends))), settings


def tiny(vocab_size):
    config = ModelConfig(
        vocab_size=vocab_size, width=16, hidden=16, layers=1, heads=2, kv_heads=2,
        head_dim=8, context=32,
    )  # fmt: skip
    model = transformer.language_model(config)
    return model, model.init(jax.random.key(0), None)


def loaded(folder, **flags):
    source = type("Source", (), {"context": 32, "vocab": 300, "texts": lambda: []})
    return policies.load(sft.Config(model=str(folder), **flags), source, None)


def test_a_saved_model_stops_where_its_source_and_its_turns_do(shape, tmp_path):
    folder, stops, settings = shape
    policy = loaded(folder)
    assert list(policy.stop_tokens) == stops  # which is what sampling here stops at
    model_folders.save(tmp_path, policy, sft.Config(model=str(folder)))
    saved = json.loads((tmp_path / "generation_config.json").read_text())
    assert saved["eos_token_id"] == stops and len(stops) > 1
    assert {**saved, **settings} == saved
    assert GenerationConfig.from_pretrained(tmp_path).eos_token_id == stops
    assert list(loaded(tmp_path).stop_tokens) == stops  # and once more


def test_config_json_names_the_ends_of_older_folders(shape, tmp_path):
    folder, stops, _ = shape
    model_folders.save(tmp_path, loaded(folder))
    (tmp_path / "generation_config.json").unlink()
    path = tmp_path / "config.json"
    there = json.loads(path.read_text())
    path.write_text(json.dumps(there | {"eos_token_id": stops[::-1]}))
    assert list(loaded(tmp_path).stop_tokens) == stops[::-1]


@pytest.mark.parametrize(
    "field, wrong",
    [("eos_token_id", x) for x in ("2", -1, [[1]], True, {}, 1.5, [None])]
    + [("temperature", "hot"), ("top_k", True), ("do_sample", "yes"), ("top_p", [])]
    + [("temperature", -1.0), ("stop_strings", 3), ("eos_token_id", float("nan"))],
)
def test_generation_settings_of_the_wrong_kind(shape, tmp_path, field, wrong):
    model_folders.save(tmp_path, loaded(shape[0]))
    path = tmp_path / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: wrong}))
    with pytest.raises(ValueError, match=f"{path}: field .{field}") as error:
        loaded(tmp_path)
    assert "\n" not in str(error.value)


@pytest.fixture
def halves(shape, tmp_path):
    """The folder, its tensors in bfloat16."""
    folder = tmp_path / "halves"
    model_folders.save(folder, loaded(shape[0]))
    file = folder / "model.safetensors"
    tensors = {k: x.astype(ml_dtypes.bfloat16) for k, x in load_file(file).items()}
    save_file(tensors, file)
    return folder


@pytest.mark.parametrize("told, kept", [
    ("auto", "bfloat16"), ("float32", "float32"), ("bfloat16", "bfloat16"),
])  # fmt: skip
def test_halves_are_saved_as_halves(halves, tmp_path, told, kept):
    """The nearest bfloat16 of what was trained, in a file of half the size."""
    policy = loaded(halves)
    moved = jax.tree.map(lambda x: x * 1.001, policy.params)
    policy = dataclasses.replace(policy, params=moved)
    config = sft.Config(model=str(halves), save_dtype=told)
    model_folders.save(tmp_path / "out", policy, config)
    there = json.loads((tmp_path / "out" / "config.json").read_text())
    assert there["torch_dtype"] == kept
    tensors = load_file(tmp_path / "out" / "model.safetensors")
    assert {x.dtype.name for x in tensors.values()} == {kept}
    expected = np.asarray(moved["embed"]).astype(kept)
    np.testing.assert_array_equal(tensors["model.embed_tokens.weight"], expected)


def test_others_are_saved_in_float32(shape, tmp_path):
    model_folders.save(tmp_path, loaded(shape[0]), sft.Config(model=str(shape[0])))
    kept = {x.dtype.name for x in load_file(tmp_path / "model.safetensors").values()}
    assert kept == {"float32"}
    model_folders.save(tmp_path, loaded(shape[0]), sft.Config(save_dtype="bfloat16"))
    kept = {x.dtype.name for x in load_file(tmp_path / "model.safetensors").values()}
    assert kept == {"bfloat16"}


@pytest.mark.parametrize("umask, mode", [(0o022, 0o644), (0o027, 0o640), (0, 0o666)])
def test_files_have_the_mode_that_files_have(shape, tmp_path, umask, mode):
    policy = loaded(shape[0])
    before = os.umask(umask)
    try:
        model_folders.save(tmp_path, policy, sft.Config())
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert set(modes.values()) == {mode} and len(modes) >= 5, modes


def test_a_card_says_what_made_the_model(shape, tmp_path):
    config = sft.Config(
        model="org/base: 'x' | y", data="a b.jsonl", out=tmp_path, steps=7, resume=True
    )
    model_folders.save(tmp_path, loaded(shape[0]), config)
    _, front, text = (tmp_path / "README.md").read_text().split("---\n")
    told = yaml.safe_load(front)
    assert told["base_model"] == "org/base: 'x' | y"
    assert told["library_name"] == "transformers" and "sft" in told["tags"]
    assert told["pipeline_tag"] == "text-generation"
    assert "python -m experiments.sft --model 'org/base: '\"'\"'x'\"'\"' | y'" in text
    assert "--data 'a b.jsonl' --steps 7\n" in text and "--resume" not in text
    assert f"jax {jax.__version__}" in text and str(tmp_path) not in text
    toy = model_cards.model_card(sft.Config())
    assert "base_model" not in toy and "a new small model" in toy


@pytest.mark.parametrize("wrong", [
    {}, {"gain": 2.0}, {"bias": 0.0}, {"gain": 0.0, "bias": 0.0}, [1.0, 0.0],
    {"gain": "2", "bias": 0.0}, {"gain": 2.0, "bias": float("nan")},
])  # fmt: skip
def test_a_scale_of_scores_is_two_numbers(tmp_path, wrong):
    """raw score = (score - bias) / gain."""
    path = tmp_path / model_folders.SCALE
    path.write_text(json.dumps(wrong))
    with pytest.raises(ValueError, match=str(path)):
        model_folders.load_scale(tmp_path)


class TestRewardPadding:
    """transformers reads the score of the last token that is not `pad_token_id`."""

    @pytest.fixture(params=["eos", "turn", "none", "own"])
    def saved(self, request, shape, tmp_path):
        policy = loaded(shape[0])
        tokenizer = policy.tokenizer
        turn = tokenizer.convert_ids_to_tokens(policy.stop_tokens[-1])
        pad = {"eos": tokenizer.eos_token, "turn": turn, "none": None}
        if request.param != "own":
            tokenizer.pad_token = pad[request.param]
        model = heads.scalar_model(policy.config)
        params = model.init(jax.random.key(1))
        config = reward_model.Config(model=str(shape[0]))
        model_folders.save_scalar(tmp_path / "r", model, params, policy, config=config)
        return tmp_path / "r", policy, model, params

    def test_no_text_ends_with_the_padding_token(self, saved):
        folder, policy, model, params = saved
        there = json.loads((folder / "config.json").read_text())
        assert there["pad_token_id"] not in (None, *policy.stop_tokens)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        assert tokenizer.pad_token_id == there["pad_token_id"] < there["vocab_size"]
        model_folders.check_vocabulary(folder, policy)  # every other token is as before

        again, back = model_folders.load_scalar(folder, "float32")
        tokens = jnp.arange(12, dtype=jnp.int32).reshape(2, 6) + 250
        at = jnp.broadcast_to(jnp.arange(6), (2, 6))
        np.testing.assert_array_equal(
            again.scores(back, tokens, at, jnp.ones_like(tokens)),
            model.scores(params, tokens, at, jnp.ones_like(tokens)),
        )

    def test_transformers_reads_our_scores(self, saved):
        torch = pytest.importorskip("torch", reason="the extra [parity]")
        from transformers import AutoModelForSequenceClassification

        folder, policy, model, params = saved
        other = AutoModelForSequenceClassification.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager"
        ).eval()
        tokenizer = AutoTokenizer.from_pretrained(folder)
        end = tokenizer.convert_ids_to_tokens(policy.stop_tokens[-1])
        texts = [f"what is 12?{end}", f"sure, 42. reverse hello{end}"]
        batch = tokenizer(
            texts, padding=True, return_tensors="pt", padding_side="right"
        )
        batch.pop("token_type_ids", None)
        with torch.no_grad():
            theirs = other(**batch).logits[:, 0].numpy()
        names = ("input_ids", "attention_mask")
        tokens, real = (batch[x].numpy().astype(np.int32) for x in names)
        at = np.broadcast_to(np.arange(tokens.shape[1]), tokens.shape)
        ours = np.asarray(model.scores(params, tokens, at, real))
        last = ours[np.arange(2), real.sum(axis=1) - 1]
        np.testing.assert_allclose(theirs, last, atol=2e-5)


def test_origin_of_a_folder_that_says_nothing(tmp_path):
    model, params = tiny(300)
    pretrained.save(tmp_path, model, params)
    opened = pretrained_folder.open_folder(tmp_path)
    assert opened.settings == folder_settings.FolderSettings()
