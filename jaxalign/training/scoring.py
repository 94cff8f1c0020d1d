"""What a model says of a batch: log-probs, values and rewards, aligned with tokens."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxalign import estimators, losses
from jaxalign.batches import AnswerBatch, PreferenceBatch, TokenBatch, UnpairedBatch
from jaxalign.types import Array, Bool, Float, LanguageModel, Params, ScalarModel, typed


def token_logps(
    model: LanguageModel,
    params: Params,
    batch: TokenBatch,
    *,
    chunk: int | None = None,
    temperature: float = 1.0,
) -> Float[Array, "B T"]:
    """The log-prob of each token given those before it; entry 0 is 0.

    Args:
      chunk: positions whose logits exist at one time; None leaves it to the estimator.
      temperature: of the sampling that the log-probs are compared with.
    """
    return estimators.next_token_logprobs(
        *head(model, params, batch),
        batch.tokens,
        chunk=chunk,
        logit_cap=model.config.logit_cap,
        temperature=temperature,
    )


def head(
    model: LanguageModel, params: Params, batch: TokenBatch
) -> tuple[Float[Array, "B T D"], Float[Array, "D V"]]:
    """The hidden states of a batch, and the matrix that makes logits of them."""
    hidden = model.hidden(params, batch.tokens, batch.positions, batch.segments)
    return hidden, model.unembed(params)


@typed
def row_sums(
    x: Float[Array, "B T"], mask: Bool[Array, "B T"]
) -> tuple[Float[Array, "B"], Float[Array, "B"]]:
    """What each row's mask keeps, summed, and how many entries that is."""
    total = jnp.sum(jnp.where(mask, x, 0.0), axis=-1)
    return total, jnp.sum(mask, axis=-1).astype(x.dtype)


def halves(rows: Array) -> tuple[Array, Array]:
    """Of interleaved rows [2B ...], those of the first batch and of the second."""
    return rows[0::2], rows[1::2]


def pair_sums(
    logp: Array, mask: Array
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Sums over the answers of interleaved pairs [2B T], and over their shared length.

    The shared length is as many first tokens as the shorter answer has.
    """
    shared_length = jnp.minimum(*halves(jnp.sum(mask, axis=-1)))
    shared = losses.ld_logp(logp, mask, jnp.repeat(shared_length, 2), alpha=0.0)
    return halves(row_sums(logp, mask)[0]), halves(shared)


def token_values(
    model: ScalarModel, params: Params, batch: TokenBatch
) -> Float[Array, "B T"]:
    """The value of the state before each token: the score at the token before it."""
    scores = model.scores(params, batch.tokens, batch.positions, batch.segments)
    return jnp.pad(scores[:, :-1], ((0, 0), (1, 0)))


def answers(
    batch: PreferenceBatch | UnpairedBatch | AnswerBatch,
) -> tuple[TokenBatch, Callable[[Array], Array]]:
    """The rows that go through the model, and what makes a row an answer of them.

    The function takes what is known of each token [R T] and gives it answer by answer
    [2N T], the two of a prompt side by side; 0 where an answer has no more tokens.
    """
    if isinstance(batch, AnswerBatch):
        return batch.sequences, functools.partial(apart, batch)
    if isinstance(batch, PreferenceBatch):
        return interleave(batch.chosen, batch.rejected), lambda x: x
    return interleave(batch.answers, batch.mismatched), lambda x: x


def apart(batch: AnswerBatch, x: Array) -> Array:
    """Each answer of shared prompts in a row of its own [N*K T], from its start on."""
    own, length = batch.own, x.shape[1]
    at = jnp.argmax(own, axis=1)[:, :, None] + jnp.arange(length)[None, None, :]
    there = at < (batch.ends + jnp.any(own, axis=1))[:, :, None]
    taken = jnp.take_along_axis(x[:, None], jnp.minimum(at, length - 1), axis=2)
    return jnp.where(there, taken, jnp.zeros((), x.dtype)).reshape(-1, length)


def interleave(first: TokenBatch, second: TokenBatch) -> TokenBatch:
    """Both in one batch [2B T], row b of each side by side: none changes its device."""
    return jax.tree.map(
        lambda a, b: jnp.stack([a, b], axis=1).reshape(-1, *a.shape[1:]), first, second
    )
