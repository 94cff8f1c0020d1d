"""What a model says of a batch: log-probs, values and rewards, aligned with tokens."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxalign import estimators, losses, sharding
from jaxalign.batches import (
    BRANCH_STRIDE,
    AnswerBatch,
    Branches,
    PreferenceBatch,
    TokenBatch,
    UnpairedBatch,
)
from jaxalign.types import Array, Bool, Float, LanguageModel, Params, ScalarModel, typed


def token_logps(
    model: LanguageModel,
    params: Params,
    batch: TokenBatch,
    *,
    chunk: int | None = None,
    temperature: float = 1.0,
) -> Float[Array, "B T"]:
    """The log-prob of each token given those before it; 0 where `unscored`.

    Args:
      chunk: positions whose logits exist at one time; None leaves it to the estimator.
      temperature: of the sampling that the log-probs are compared with.
    """
    told, aligned = scored_inputs(model, params, batch)
    logp = estimators.token_logprobs(
        *told, chunk=chunk, logit_cap=model.config.logit_cap, temperature=temperature
    )
    return aligned(logp)


def scored_inputs(
    model: LanguageModel, params: Params, batch: TokenBatch
) -> tuple[tuple[Array, Array, Array], Callable[[Array], Array]]:
    """What log-probs are made of, less the columns that nobody needs.

    The hidden states, the unembedding and the targets; and what puts numbers of those
    targets where they belong [B T], after zeros. All cut here, so that products of one
    shape add up in one order: two forward passes of one policy agree to the bit.
    """
    hidden, unembed = hidden_and_unembed(model, params, batch)
    first = batch.first_scored
    told = hidden[:, first - 1 : -1], unembed, batch.tokens[:, first:]
    return told, lambda x: jnp.pad(x, ((0, 0), (first, 0)))


def hidden_and_unembed(
    model: LanguageModel, params: Params, batch: TokenBatch
) -> tuple[Float[Array, "B T D"], Float[Array, "D V"]]:
    """The hidden states of a batch, and the matrix that makes logits of them."""
    told: dict[str, Any] = {}
    if batch.branches is not None:  # models that share prompts know what it is
        told = {"branches": batch.branches}
    hidden = model.hidden(params, batch.tokens, batch.positions, batch.segments, **told)
    return hidden, model.unembed(params)


@typed
def row_sums(
    x: Float[Array, "B T"], mask: Bool[Array, "B T"]
) -> tuple[Float[Array, "B"], Float[Array, "B"]]:
    """What each row's mask keeps, summed, and how many entries that is."""
    total = jnp.sum(jnp.where(mask, x, 0.0), axis=-1)
    return total, jnp.sum(mask, axis=-1).astype(x.dtype)


def deinterleave(rows: Array) -> tuple[Array, Array]:
    """Of interleaved rows [2B ...], those of the first batch and of the second."""
    return rows[0::2], rows[1::2]


def pair_sums(
    logp: Array, mask: Array
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Sums over the answers of interleaved pairs [2B T], and over their shared length.

    The shared length is as many first tokens as the shorter answer has.
    """
    shared_length = jnp.minimum(*deinterleave(jnp.sum(mask, axis=-1)))
    shared = losses.ld_dpo_logp(logp, mask, jnp.repeat(shared_length, 2), alpha=0.0)
    return deinterleave(row_sums(logp, mask)[0]), deinterleave(shared)


def token_values(
    model: ScalarModel, params: Params, batch: TokenBatch
) -> Float[Array, "B T"]:
    """The value of the state before each token: the score at the token before it."""
    scores = model.scores(params, batch.tokens, batch.positions, batch.segments)
    return jnp.pad(scores[:, :-1], ((0, 0), (1, 0)))


def rows_and_unpack(
    batch: TokenBatch | PreferenceBatch | UnpairedBatch | AnswerBatch,
) -> tuple[TokenBatch, Callable[[Array], Array]]:
    """The rows that go through the model, and what makes a row an answer of them.

    The function takes what is known of each token [R T] and gives it answer by answer
    [A T], those of a prompt side by side; 0 where an answer has no more tokens.
    """
    if isinstance(batch, TokenBatch):
        return batch, lambda x: x
    if isinstance(batch, AnswerBatch):
        return batch.sequences, functools.partial(unpack_shared_prompts, batch)
    if isinstance(batch, PreferenceBatch):
        return interleave(batch.chosen, batch.rejected), lambda x: x
    return interleave(batch.answers, batch.mismatched_answers), lambda x: x


def unpack_shared_prompts(batch: AnswerBatch, x: Array) -> Array:
    """Each answer of shared prompts in a row of its own [N*K T], from its start on."""
    own, length = batch.own, x.shape[1]
    at = jnp.argmax(own, axis=1)[:, :, None] + jnp.arange(length)[None, None, :]
    there = at < (batch.ends + jnp.any(own, axis=1))[:, :, None]
    taken = jnp.take_along_axis(x[:, None], jnp.minimum(at, length - 1), axis=2)
    return jnp.where(there, taken, jnp.zeros((), x.dtype)).reshape(-1, length)


@functools.partial(jax.jit, static_argnames=("answers", "room"))
def pack_shared_prompts(
    sequences: TokenBatch, logp: Array, *, answers: int, room: int
) -> tuple[AnswerBatch, Array]:
    """So many answers a row, after one copy of their prompt; and what is aligned.

    Undone by `unpack_shared_prompts`, but for the prompts.

    Args:
      sequences: one answer a row, those of a prompt side by side [A T].
      logp: what is known of each token [A T]; comes as [A / answers, T'].
      answers: how many share a row.
      room: the longest answer, in tokens; the longest prompt has T - `room`.
    """
    first = lambda x: x.reshape(-1, answers, *x.shape[1:])[:, 0]
    last = jnp.argmax(sequences.loss_mask, axis=1)[:, None] - 1  # of the prompt
    at = last + jnp.arange(room + 1)[None, :]
    shared = sequences.tokens.shape[1] - room - 1
    asked = jnp.arange(shared)[None, :] < first(last)

    def rows(x: Array) -> Array:
        told = jnp.take_along_axis(x, at, axis=1).reshape(-1, answers * (room + 1))
        prompt = jnp.where(asked, first(x)[:, :shared], jnp.zeros((), x.dtype))
        return sharding.constrain(
            jnp.concatenate([prompt, told], axis=1), "batch", None
        )

    branch = (
        np.pad(np.arange(1, answers + 1).repeat(room + 1), (shared, 0)) * BRANCH_STRIDE
    )
    joined = jax.tree.map(rows, sequences)
    segments = joined.segments * (1 + jnp.asarray(branch, jnp.int32)[None, :])
    count = len(joined.tokens)
    batch = AnswerBatch(
        sequences=dataclasses.replace(
            joined,
            segments=segments,
            first_scored=shared + 1,
            branches=Branches.of(shared, answers),
        ),
        mask=jnp.ones((count, answers), bool),
        margin=jnp.zeros(count),
        row=jnp.arange(count),
    )
    return batch, rows(logp)


def interleave(first: TokenBatch, second: TokenBatch) -> TokenBatch:
    """Both in one batch [2B T], row b of each side by side: none changes its device."""
    return jax.tree.map(
        lambda a, b: jnp.stack([a, b], axis=1).reshape(-1, *a.shape[1:]), first, second
    )
