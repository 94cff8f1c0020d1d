"""Logit biases and tokens that come once: exact on a fake, alike in every decoder."""

import jax
import numpy as np
import pytest

from jaxalign import sampling
from jaxalign.models import transformer
from jaxalign.models.config import ModelConfig
from jaxalign.sampling import SamplingParams
from jaxalign.sampling.incremental import IncrementalDecoder

KEY = jax.random.key(2)
ROWS, NEW = 64, 6
PROMPTS = np.zeros((ROWS, 1), np.int32), np.ones(ROWS, np.int32)


def generate(model, params, **settings):
    settings = SamplingParams(max_new_tokens=NEW, **settings)
    return sampling.generate(model, params, *PROMPTS, KEY, settings)


def test_a_bias_is_that_of_the_logits_and_the_log_probs_stay_the_models(bigram, uneven):
    bias = {4: 1.5, 7: -2.0}
    biased = generate(bigram(), uneven, logit_bias=bias)
    moved = {**uneven, "unembed": uneven["unembed"].copy()}
    # the fake's embedding is the identity: its logits are columns of the unembedding
    moved["unembed"][:, 4] += 1.5
    moved["unembed"][:, 7] -= 2.0
    expected = generate(bigram(), moved)
    np.testing.assert_array_equal(biased.tokens, expected.tokens)
    last = np.concatenate([PROMPTS[0], biased.tokens[:, :-1]], axis=1)
    logits = uneven["unembed"][last]
    logp = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    own = np.take_along_axis(logp, np.asarray(biased.tokens)[..., None], -1)[..., 0]
    np.testing.assert_allclose(biased.logp, own, atol=1e-5)  # float32 sums of 11


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_minus_infinity_forbids_a_token(bigram, counting, temperature):
    """After 0 the fake says 1, with a probability of 1 - 10 exp(-20)."""
    bias = {1: -np.inf}
    samples = generate(
        bigram(), counting, temperature=temperature, logit_bias=bias, top_k=3
    )
    assert not np.any(np.asarray(samples.tokens) == 1)
    assert np.all(np.isfinite(samples.logp))


def test_a_token_comes_once(bigram, uneven):
    favored = {4: 30.0}  # sampled at each step where it is allowed
    always = generate(bigram(), uneven, logit_bias=favored)
    assert np.all(np.asarray(always.tokens) == 4)
    once = generate(bigram(), uneven, logit_bias=favored, once_tokens=(4,))
    assert np.all(np.asarray(once.tokens)[:, 0] == 4)
    assert not np.any(np.asarray(once.tokens)[:, 1:] == 4)


def test_other_values_of_a_bias_compile_nothing(bigram, uneven):
    calls = {"traced": 0, "ran": 0}
    model = bigram(calls)
    generate(model, uneven, logit_bias={4: 1.0})
    traced = calls["traced"]
    generate(model, uneven, logit_bias={4: -np.inf})
    assert calls["traced"] == traced


def test_serve_and_the_incremental_decoder_agree_with_generate():
    shape = ModelConfig(
        vocab_size=64, width=32, hidden=48, layers=1, heads=2, kv_heads=1,
        head_dim=16, context=32,
    )  # fmt: skip
    model = transformer.language_model(shape)
    params = jax.tree.map(lambda x: 3 * x, model.init(jax.random.key(0)))
    settings = SamplingParams(
        max_new_tokens=NEW, logit_bias={9: 50.0, 3: -np.inf}, once_tokens=(9,)
    )
    prompts, lengths = np.arange(8, dtype=np.int32).reshape(4, 2) + 20, np.full(4, 2)
    expected = sampling.generate(model, params, prompts, lengths, KEY, settings)
    assert (np.asarray(expected.tokens) == 9).sum(axis=1).tolist() == [1] * 4
    served = sampling.serve(model, params, prompts, lengths, KEY, settings, rows=2)
    np.testing.assert_array_equal(served.tokens, expected.tokens)
    decoder = IncrementalDecoder(model, params, 32)
    decoder.read(prompts[2])
    answer = list(decoder.generate(settings, KEY, [2]))
    assert answer == np.asarray(expected.tokens)[2].tolist()


@pytest.mark.parametrize("bias", [np.inf, np.nan])
def test_a_bias_without_a_distribution_is_refused(bias):
    with pytest.raises(ValueError, match="the logit bias of token 3 is"):
        SamplingParams(max_new_tokens=1, logit_bias={3: bias})


@pytest.mark.parametrize("settings", [{"logit_bias": {11: 1.0}}, {"once_tokens": [-1]}])
def test_a_token_beyond_the_vocabulary_is_refused(bigram, uneven, settings):
    with pytest.raises(ValueError, match="beyond the 11 of the vocabulary"):
        generate(bigram(), uneven, **settings)
