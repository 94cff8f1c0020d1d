"""Forward passes of a batch: log-probs and values, aligned with tokens."""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxalign import estimators, losses, sharding
from jaxalign.batches import (
    BRANCH_STRIDE,
    AnswerBatch,
    Branches,
    TokenBatch,
    deinterleave,
)
from jaxalign.types import Array, Bool, Float, LanguageModel, Params, ScalarModel, typed


class ScoredInputs(NamedTuple):
    """Hidden states, unembedding and targets of the scored positions.

    Attributes:
      hidden: the state before each target [R S D], S = T - `first`.
      unembed: [D V].
      targets: token ids [R S].
      first: the column of the first target.
    """

    hidden: Array
    unembed: Array
    targets: Array
    first: int

    def align(self, x: Array) -> Array:
        """Numbers of the targets [R S], aligned with tokens [R T]: 0 before `first`."""
        return jnp.pad(x, ((0, 0), (self.first, 0)))


def token_logps(
    model: LanguageModel,
    params: Params,
    batch: TokenBatch,
    *,
    chunk: int | None = None,
    temperature: float = 1.0,
) -> Float[Array, "R T"]:
    """The log-prob of each token given those before it; 0 before `first_scored`.

    Args:
      chunk: positions whose logits exist at one time; None leaves it to the estimator.
      temperature: of the distribution, as in sampling; greater than 0.
    """
    inputs = scored_inputs(model, params, batch)
    logp = estimators.token_logprobs(
        *inputs[:3],
        chunk=chunk,
        logit_cap=model.config.logit_cap,
        temperature=temperature,
    )
    return inputs.align(logp)


def token_statistics(
    model: LanguageModel,
    params: Params,
    batch: TokenBatch,
    *,
    chunk: int | None = None,
    temperature: float = 1.0,
) -> tuple[Float[Array, "R T"], Float[Array, "R T"]]:
    """Next-token log-probs and entropies, nats, aligned with tokens.

    Args:
      chunk, temperature: as in `token_logps`.

    Returns:
      (logp, entropy): of each token, and of the distribution that predicts it.
    """
    inputs = scored_inputs(model, params, batch)
    statistics = estimators.token_statistics(
        *inputs[:3],
        chunk=chunk,
        logit_cap=model.config.logit_cap,
        temperature=temperature,
    )
    return inputs.align(statistics.logp), inputs.align(statistics.entropy)


def scored_inputs(
    model: LanguageModel, params: Params, batch: TokenBatch
) -> ScoredInputs:
    """Hidden states, unembedding and targets of the columns from `first_scored` on.

    All log-probs are computed from these, so that products of one shape add up in one
    order: two forward passes of one policy agree to the bit.
    """
    hidden, unembed = hidden_and_unembed(model, params, batch)
    first = batch.first_scored
    return ScoredInputs(
        hidden[:, first - 1 : -1], unembed, batch.tokens[:, first:], first
    )


def hidden_and_unembed(
    model: LanguageModel, params: Params, batch: TokenBatch
) -> tuple[Float[Array, "R T D"], Float[Array, "D V"]]:
    """The hidden states of a batch, and the matrix that maps them to logits."""
    options: dict[str, Any] = {}
    if batch.branches is not None:  # only models that share prompts take the argument
        options = {"branches": batch.branches}
    hidden = model.hidden(
        params, batch.tokens, batch.positions, batch.segments, **options
    )
    return hidden, model.unembed(params)


def token_values(
    model: ScalarModel, params: Params, batch: TokenBatch
) -> Float[Array, "R T"]:
    """The value of the state before each token: the score at the token before it."""
    scores = model.scores(params, batch.tokens, batch.positions, batch.segments)
    return jnp.pad(scores[:, :-1], ((0, 0), (1, 0)))


@typed
def row_sums(
    x: Float[Array, "R T"], mask: Bool[Array, "R T"]
) -> tuple[Float[Array, "R"], Float[Array, "R"]]:
    """The sum of each row under its mask, and the number of entries in it."""
    total = jnp.sum(jnp.where(mask, x, 0.0), axis=-1)
    return total, jnp.sum(mask, axis=-1).astype(x.dtype)


def shared_length_sums(logp: Array, mask: Array) -> Array:
    """Sums over the first tokens of answers, as many as the pair's shorter one has.

    Args:
      logp, mask: of the answers of pairs, side by side [2B T].

    Returns:
      [2B].
    """
    shared_length = jnp.minimum(*deinterleave(jnp.sum(mask, axis=-1)))
    return losses.ld_dpo_logp(logp, mask, jnp.repeat(shared_length, 2), alpha=0.0)


@functools.partial(jax.jit, static_argnames=("answers", "room"))
def pack_shared_prompts(
    sequences: TokenBatch, logp: Array, *, answers: int, room: int
) -> tuple[AnswerBatch, Array]:
    """Packs the answers to a prompt into one row, after one copy of the prompt.

    Undone by the batch's `per_answer`, but for the prompts.

    Args:
      sequences: one answer a row, those of a prompt side by side [A T].
      logp: numbers of each token [A T].
      answers: answers in a packed row.
      room: tokens of the longest answer; the longest prompt has T - `room`.

    Returns:
      (batch, logp): A / `answers` rows, and the numbers aligned with their tokens.
    """
    first = lambda x: x.reshape(-1, answers, *x.shape[1:])[:, 0]
    last_of_prompt = jnp.argmax(sequences.loss_mask, axis=1)[:, None] - 1
    columns = last_of_prompt + jnp.arange(room + 1)[None, :]
    shared = sequences.tokens.shape[1] - room - 1
    in_prompt = jnp.arange(shared)[None, :] < first(last_of_prompt)

    def pack(x: Array) -> Array:
        branches = jnp.take_along_axis(x, columns, axis=1)
        branches = branches.reshape(-1, answers * (room + 1))
        prompt = jnp.where(in_prompt, first(x)[:, :shared], jnp.zeros((), x.dtype))
        rows = jnp.concatenate([prompt, branches], axis=1)
        return sharding.constrain(rows, "batch", None)

    branch = np.arange(1, answers + 1).repeat(room + 1)
    branch = np.pad(branch, (shared, 0)) * BRANCH_STRIDE
    packed = jax.tree.map(pack, sequences)
    segments = packed.segments * (1 + jnp.asarray(branch, jnp.int32)[None, :])
    rows = len(packed.tokens)
    batch = AnswerBatch(
        sequences=dataclasses.replace(
            packed,
            segments=segments,
            first_scored=shared + 1,
            branches=Branches.of(shared, answers),
        ),
        mask=jnp.ones((rows, answers), bool),
        margin=jnp.zeros(rows),
        row=jnp.arange(rows),
    )
    return batch, pack(logp)
