"""A fake model of five lines: its next token depends on the last one only."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxalign.types import LanguageModel

VOCAB = 11


@dataclasses.dataclass(frozen=True)
class Config:
    vocab_size: int = VOCAB
    context: int = 16
    logit_cap: float | None = None


class Length(NamedTuple):
    length: jax.Array


@pytest.fixture
def bigram():
    """Makes the fake; `calls` gets one entry when traced and one each time it runs."""

    def make(calls=None, **config) -> LanguageModel:
        def extend(params, tokens, cache):
            if calls is not None:
                calls["traced"] += 1
                jax.debug.callback(lambda: calls.update(ran=calls["ran"] + 1))
            longer = cache._replace(length=cache.length + tokens.shape[1])
            return params["embed"][tokens], longer

        return LanguageModel(
            config=Config(**config),
            init=None,
            specs=lambda: None,
            hidden=lambda params, tokens, positions, segments: params["embed"][tokens],
            unembed=lambda params: params["unembed"],
            init_cache=lambda batch, length: Length(jnp.zeros(batch, jnp.int32)),
            extend=extend,
        )

    return make


@pytest.fixture
def counting():
    """Parameters under which v + 1 follows v, and 0 the last token."""
    following = np.roll(np.eye(VOCAB, dtype=np.float32), 1, axis=1)
    return {"embed": 20.0 * np.eye(VOCAB, dtype=np.float32), "unembed": following}


@pytest.fixture
def uneven():
    """Parameters under which every token has its own distribution of the next."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0.0, 1.5, (VOCAB, VOCAB)).astype(np.float32)
    return {"embed": np.eye(VOCAB, dtype=np.float32), "unembed": logits}
