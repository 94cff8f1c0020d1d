"""What a model says of a batch: log-probs, values and rewards, aligned with tokens."""

import jax
import jax.numpy as jnp

from jaxalign import estimators
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
    hidden = model.hidden(params, batch.tokens, batch.positions, batch.segments)
    return estimators.next_token_logprobs(
        hidden,
        model.unembed(params),
        batch.tokens,
        chunk=chunk,
        logit_cap=model.config.logit_cap,
        temperature=temperature,
    )


@typed
def row_sums(
    x: Float[Array, "B T"], mask: Bool[Array, "B T"]
) -> tuple[Float[Array, "B"], Float[Array, "B"]]:
    """What each row's mask keeps, summed, and how many entries that is."""
    total = jnp.sum(jnp.where(mask, x, 0.0), axis=-1)
    return total, jnp.sum(mask, axis=-1).astype(x.dtype)


def token_values(
    model: ScalarModel, params: Params, batch: TokenBatch
) -> Float[Array, "B T"]:
    """The value of the state before each token: the score at the token before it."""
    scores = model.scores(params, batch.tokens, batch.positions, batch.segments)
    return jnp.pad(scores[:, :-1], ((0, 0), (1, 0)))


def side_logps(
    model: LanguageModel,
    params: Params,
    batch: PreferenceBatch | UnpairedBatch | AnswerBatch,
    *,
    chunk: int | None = None,
) -> tuple[Float[Array, "N 2"], Float[Array, "N 2"]]:
    """Log-probs of both sides of a batch in one forward, summed, and tokens summed.

    The sides are chosen and rejected, or an answer and the mismatched one.
    """
    if isinstance(batch, AnswerBatch):
        logp = token_logps(model, params, batch.sequences, chunk=chunk)
        return answer_sums(logp, batch)
    if isinstance(batch, PreferenceBatch):
        both = interleave(batch.chosen, batch.rejected)
    else:
        both = interleave(batch.answers, batch.mismatched)
    logp = token_logps(model, params, both, chunk=chunk)
    sums, counts = row_sums(logp, both.loss_mask)
    return sums.reshape(-1, 2), counts.reshape(-1, 2)


def answer_sums(
    x: Float[Array, "R T"], batch: AnswerBatch
) -> tuple[Float[Array, "N K"], Float[Array, "N K"]]:
    """What the loss mask keeps of each answer, summed, and how many entries that is."""
    counted = batch.own & batch.sequences.loss_mask[:, :, None]
    total = jnp.sum(jnp.where(counted, x[:, :, None], 0.0), axis=1)
    count = jnp.sum(counted, axis=1).astype(x.dtype)
    return total.reshape(batch.mask.shape), count.reshape(batch.mask.shape)


def interleave(first: TokenBatch, second: TokenBatch) -> TokenBatch:
    """Both in one batch [2B T], row b of each side by side: none changes its device."""
    return jax.tree.map(
        lambda a, b: jnp.stack([a, b], axis=1).reshape(-1, *a.shape[1:]), first, second
    )
