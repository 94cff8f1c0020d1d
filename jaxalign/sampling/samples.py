"""Sampled answers, and the batch of prompts joined with their answers."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxalign.batches import TokenBatch, from_lengths
from jaxalign.types import Array, Bool, Float, Int, typed


class Samples(NamedTuple):
    """Sampled answers; answers to one prompt are consecutive rows.

    Attributes:
      tokens: token ids [B N] int32, 0 after the end of the answer.
      mask: True on the tokens of the answer, its stop token included [B N].
      logp: log-prob of each token [B N] float32 under the softmax of logits /
        temperature, before biases, top-k and top-p, as `estimators.token_logprobs`
        computes it; of greedy answers at temperature 1. 0 after the end of the answer.
    """

    tokens: Int[Array, "B N"]
    mask: Bool[Array, "B N"]
    logp: Float[Array, "B N"]


@jax.jit
@typed
def join(
    prompts: Int[Array, "B T"], lengths: Int[Array, "B"], samples: Samples
) -> TokenBatch:
    """Append each answer to its prompt; the loss mask is True on the answer.

    Args:
      prompts: right-padded token ids, one row per answer.
      lengths: tokens of each prompt.
      samples: answers of up to N tokens.

    Returns:
      A right-padded batch [B T+N] of one segment per row.
    """
    prompts, lengths = jnp.asarray(prompts), jnp.asarray(lengths, jnp.int32)
    new = samples.tokens.shape[1]
    padded = jnp.pad(prompts, ((0, 0), (0, new)))
    write = lambda row, answer, start: jax.lax.dynamic_update_slice(
        row, answer, (start,)
    )
    tokens = jax.vmap(write)(padded, samples.tokens, lengths)
    total = lengths + jnp.sum(samples.mask, axis=1)
    position = jnp.arange(tokens.shape[1])
    tokens = jnp.where(position[None, :] < total[:, None], tokens, 0)
    return from_lengths(tokens, total, lengths)
