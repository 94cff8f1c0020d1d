"""A new special token: the old logits to the bit, a small probability, one id."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import transformers

from jaxalign.data import special_tokens
from jaxalign.data import tokenizer as tokenizers
from jaxalign.models import transformer
from jaxalign.models.config import ModelConfig
from jaxalign.pipeline import added_tokens, model_folders, text_models
from jaxalign.pipeline.policies import Policy

TOKEN = special_tokens.RESET
KEY = jax.random.key(3)
TEXTS = ["one two", "a"], ["three", "hello world"]


def make_policy(*, tied: bool, spare: int = 0, gain: float = 2.0) -> Policy:
    tokenizer = tokenizers.train(["hello world"], vocab_size=270)
    shape = ModelConfig(
        vocab_size=len(tokenizer) + spare, width=16, hidden=32, layers=1, heads=2,
        kv_heads=2, head_dim=8, context=64, tied=tied,
    )  # fmt: skip
    model = transformer.language_model(shape)
    params = jax.tree.map(lambda x: gain * x, model.init(jax.random.key(0)))
    return Policy(model, params, tokenizer, 64)


@pytest.mark.parametrize("tied", [True, False])
def test_old_logits_are_unchanged_to_the_bit(tied):
    policy = make_policy(tied=tied)
    added = added_tokens.add_special_token(policy, TOKEN, KEY)
    before = text_models.TextModel(policy).logits(*TEXTS)
    after = text_models.TextModel(added).logits(*TEXTS)
    assert after.shape[-1] == before.shape[-1] + 1
    np.testing.assert_array_equal(after[..., :-1], before)


def test_its_probability_is_at_most_that_of_a_uniform_distribution():
    """Without noise its logit is the mean m of the others, and by Jensen's inequality
    exp(m) / (sum exp + exp(m)) <= 1 / (V + 1), with equality for equal logits."""
    probability = lambda policy, **noise: jax.nn.softmax(
        text_models.TextModel(
            added_tokens.add_special_token(policy, TOKEN, KEY, **noise)
        ).logits(*TEXTS)
    )[..., -1]
    uniform = 1 / (len(make_policy(tied=True).tokenizer) + 1)
    sharp = probability(make_policy(tied=True), noise=0.0)
    assert np.all(sharp <= uniform * (1 + 1e-5))  # rounding of a float32 sum
    flat = make_policy(tied=True, gain=0.05)  # logits of about 0.1: exp is linear
    np.testing.assert_allclose(probability(flat, noise=0.0), uniform, rtol=0.05)
    np.testing.assert_allclose(probability(flat), uniform, rtol=0.05)
    assert not np.array_equal(probability(flat), probability(flat, noise=0.0))


def test_a_spare_row_of_the_embedding_is_used():
    policy = make_policy(tied=True, spare=5)
    added = added_tokens.add_special_token(policy, TOKEN, KEY, noise=0.0)
    at = len(policy.tokenizer)
    assert special_tokens.reset_id(added.tokenizer) == at
    assert added.params["embed"].shape == policy.params["embed"].shape
    mean = jnp.mean(policy.params["embed"][:at], axis=0)
    np.testing.assert_allclose(added.params["embed"][at], mean, atol=1e-6)
    others = np.arange(at + 5) != at
    np.testing.assert_array_equal(
        added.params["embed"][others], policy.params["embed"][others]
    )


def test_it_is_one_id_in_texts_and_the_old_tokenizer_has_none():
    policy = make_policy(tied=True)
    added = added_tokens.add_special_token(policy, TOKEN, KEY).tokenizer
    at = special_tokens.reset_id(added)
    ids = added(f"hello{TOKEN}world", add_special_tokens=False).input_ids
    assert ids.count(at) == 1
    alone = [added(text, add_special_tokens=False).input_ids for text in ("hello", "w")]
    assert ids[: len(alone[0])] == alone[0] and ids[len(alone[0])] == at
    assert special_tokens.reset_id(policy.tokenizer) is None
    with pytest.raises(ValueError, match="has a token '\\[RESET\\]' already"):
        new = dataclasses.replace(policy, tokenizer=added)
        added_tokens.add_special_token(new, TOKEN, KEY)


def test_a_saved_folder_loads_here_and_in_transformers(tmp_path):
    policy = make_policy(tied=False)
    plain = model_folders.save(tmp_path / "plain", policy)
    folder = added_tokens.add_to_folder(str(plain), tmp_path / "reset", TOKEN)
    loaded = text_models.load(folder)
    at = special_tokens.reset_id(loaded.policy.tokenizer)
    assert at == len(policy.tokenizer)
    np.testing.assert_array_equal(
        loaded.logits(*TEXTS)[..., :at], text_models.TextModel(policy).logits(*TEXTS)
    )
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    assert theirs.convert_tokens_to_ids(TOKEN) == at
    assert TOKEN in theirs.all_special_tokens
    config = transformers.AutoConfig.from_pretrained(folder)
    assert config.vocab_size == at + 1
    assert theirs.decode([at], skip_special_tokens=True) == ""
