"""Fakes: models of five lines, and batches of random rows of unequal length."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxalign import batches
from jaxalign.types import LanguageModel, ScalarModel

VOCAB, WIDTH, LENGTH = 11, 6, 12
CONFIG = SimpleNamespace(vocab_size=VOCAB, context=LENGTH, logit_cap=None)


def bigram_params(key):
    first, second = jax.random.split(key)
    return {
        "embed": jax.random.normal(first, (VOCAB, WIDTH)),
        "unembed": jax.random.normal(second, (WIDTH, VOCAB)),
    }


def no_cache(*_):
    raise NotImplementedError


@pytest.fixture
def bigram() -> LanguageModel:
    """The next token depends on this one only."""
    return LanguageModel(
        config=CONFIG,
        init=bigram_params,
        specs=None,
        hidden=lambda params, tokens, positions, segments: params["embed"][tokens],
        unembed=lambda params: params["unembed"],
        init_cache=no_cache,
        extend=no_cache,
    )


@pytest.fixture
def scalar() -> ScalarModel:
    """The score at a token is that token's own number, plus a bit for its position."""

    def scores(params, tokens, positions, segments, at=None):
        every = params["head"][tokens] + 0.01 * positions
        return every if at is None else jnp.take_along_axis(every, at, axis=1)

    return ScalarModel(
        config=CONFIG,
        init=lambda key: {"head": jax.random.normal(key, (VOCAB,))},
        specs=None,
        scores=scores,
        from_trunk=no_cache,
    )


def random_tokens(rng, rows):
    """Rows whose prompts and answers are all of different lengths."""
    prompts = rng.integers(1, 4, rows)
    lengths = prompts + rng.integers(1, LENGTH - 4, rows)
    tokens = rng.integers(0, VOCAB, (rows, LENGTH)).astype(np.int32)
    return batches.from_lengths(tokens, lengths, prompts)


@pytest.fixture
def rows():
    """Makes a `TokenBatch` of so many rows."""
    return lambda n, seed=0: random_tokens(np.random.default_rng(seed), n)


@pytest.fixture
def pairs():
    """Makes a `PreferenceBatch` of so many pairs; the last one only fills it up."""

    def make(n, seed=0, first_row=0):
        rng = np.random.default_rng(seed)
        return batches.PreferenceBatch(
            chosen=random_tokens(rng, n),
            rejected=random_tokens(rng, n),
            margin=rng.uniform(0, 1, n).astype(np.float32),
            row=np.arange(first_row, first_row + n),
            valid=np.arange(n) < n - 1,
        )

    return make


@pytest.fixture
def unpaired():
    """Makes an `UnpairedBatch` of so many answers."""

    def make(n, seed=0):
        rng = np.random.default_rng(seed)
        return batches.UnpairedBatch(
            answers=random_tokens(rng, n),
            mismatched_answers=random_tokens(rng, n),
            desirable=rng.random(n) < 0.5,
            row=np.arange(n),
            valid=np.ones(n, bool),
        )

    return make


@pytest.fixture
def bigram_logps():
    """The bigram's log-probs once more, in numpy and float64."""

    def logps(params, tokens):
        embed, unembed = (
            np.asarray(params[n], np.float64) for n in ("embed", "unembed")
        )
        logits = embed[tokens] @ unembed
        logp = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        next_logp = np.take_along_axis(logp[:, :-1], tokens[:, 1:, None], axis=-1)
        return np.pad(next_logp[..., 0], ((0, 0), (1, 0)))

    return logps


@pytest.fixture
def on_device():
    """Moves a numpy batch to the default device."""
    return lambda tree: jax.tree.map(jnp.asarray, tree)
