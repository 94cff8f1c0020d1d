"""A model that spells one text after every prompt: its next token follows the last."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxalign.data import tokenizer as tokenizers
from jaxalign.pipeline.policies import Policy
from jaxalign.types import LanguageModel


@dataclasses.dataclass(frozen=True)
class Config:
    vocab_size: int
    context: int
    logit_cap: float | None = None


class Length(NamedTuple):
    length: jax.Array


def spelling_policy(text: str, context: int = 128, added: str = "") -> Policy:
    """A policy with a byte-level tokenizer whose greedy answer is `text`.

    Args:
      text: no byte of it may occur twice.
      added: a special token of the tokenizer.
    """
    tokenizer = tokenizers.train(["a"], vocab_size=261)
    if added:
        tokenizer.add_special_tokens(
            {"extra_special_tokens": [added]}, replace_extra_special_tokens=False
        )
    ids = tokenizer.encode(f"<|assistant|>{text}<|end|>", add_special_tokens=False)
    assert len(set(ids)) == len(ids)
    following = np.zeros(len(tokenizer), np.int32)
    following[ids[:-1]] = ids[1:]

    def extend(params, tokens, cache):
        longer = cache._replace(length=cache.length + tokens.shape[1])
        return 20.0 * jnp.eye(len(tokenizer))[params[tokens]], longer

    model = LanguageModel(
        config=Config(len(tokenizer), context),
        init=None,
        specs=lambda: None,
        hidden=None,
        unembed=lambda params: jnp.eye(len(tokenizer)),
        init_cache=lambda batch, length: Length(jnp.zeros(batch, jnp.int32)),
        extend=extend,
    )
    return Policy(model, jnp.asarray(following), tokenizer, context)
