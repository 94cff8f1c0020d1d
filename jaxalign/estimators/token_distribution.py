"""Statistics of whole next-token distributions, in chunks of positions.

Logits [B T V] never exist as a whole. Results are aligned with tokens: entry t is of
the distribution of token t, and entry 0 is 0, since nothing predicts the first token.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxalign.estimators.chunks import (
    balanced_chunk_size,
    join_chunks,
    scaled_logits,
    split_chunks,
)
from jaxalign.estimators.kl import exact_kl
from jaxalign.types import Array, Float, typed


@typed
def next_token_log_sum_square(
    hidden: Float[Array, "B T D"],
    unembed: Float[Array, "D V"],
    *,
    chunk: int | None = None,
    logit_cap: float | None = None,
) -> Float[Array, "B T"]:
    """Log of the mean probability of the model's own samples, log sum over v of p(v)^2.

    Args:
      hidden, unembed, chunk, logit_cap: as of `token_logprobs`.

    Returns:
      One number per token, in nats, without gradient.

    >>> hidden, unembed = jnp.ones((1, 2, 2)), jnp.zeros((2, 4))
    >>> log_sum_square = next_token_log_sum_square(hidden, unembed)
    >>> bool(jnp.allclose(log_sum_square, jnp.array([[0.0, -jnp.log(4.0)]])))
    True
    """
    hidden, unembed = jax.lax.stop_gradient((hidden, unembed))
    one = jnp.ones(())

    def of_chunk(hidden: Array) -> Array:
        logits = scaled_logits(hidden, unembed, one, logit_cap)
        return jax.nn.logsumexp(2.0 * jax.nn.log_softmax(logits), axis=-1)

    return map_chunks(of_chunk, hidden, vocabulary=unembed.shape[1], chunk=chunk)


@typed
def next_token_kl(
    hidden: Float[Array, "B T D"],
    unembed: Float[Array, "D V"],
    other_hidden: Float[Array, "B T E"],
    other_unembed: Float[Array, "E V"],
    *,
    chunk: int | None = None,
    logit_cap: float | None = None,
) -> Float[Array, "B T"]:
    """Exact KL(model || other model) of next-token distributions.

    KL = sum over v of p(v) * (log p(v) - log q(v))

    The backward pass computes each chunk's logits again; the gradients of both
    unembeddings are summed in float32.

    Args:
      hidden, unembed: p, the first model, as of `token_logprobs`.
      other_hidden, other_unembed: q, the other model.
      chunk, logit_cap: as of `token_logprobs`.

    Returns:
      One KL per token, in nats.

    >>> hidden, unembed = jnp.ones((1, 2, 2)), jnp.zeros((2, 4))
    >>> next_token_kl(hidden, unembed, hidden, unembed).tolist()
    [[0.0, 0.0]]
    """
    models = [
        LogitInputs(hidden[:, :-1], unembed, logit_cap),
        LogitInputs(other_hidden[:, :-1], other_unembed, logit_cap),
    ]
    return jnp.pad(map_logits(exact_kl, models, chunk=chunk), ((0, 0), (1, 0)))


class LogitInputs(NamedTuple):
    """What a model's logits are computed from.

    Attributes:
      hidden: hidden states, final normalization applied [B T D].
      unembed: unembedding matrix [D V].
      logit_cap: final soft-capping; None for none.
    """

    hidden: Array
    unembed: Array
    logit_cap: float | None = None


def map_logits(
    of_logits: Callable[..., Any],
    models: Sequence[LogitInputs],
    *aligned: Array,
    temperature: float = 1.0,
    chunk: int | None = None,
) -> Any:
    """Numbers of each position from the logits of several models, chunk by chunk.

    The backward pass computes each chunk's logits again; the gradients of the
    unembeddings are summed in float32.

    Args:
      of_logits: (logits [B C V] of each model in float32, then `aligned` [B C ...]) ->
        a tree of numbers [B C].
      models: of the logits; nothing is shifted.
      aligned: further numbers of each position [B T ...].
      temperature: the logits are divided by it.
      chunk: as of `token_logprobs`.

    Returns:
      The tree, of arrays [B T].
    """
    divisor = jnp.asarray(temperature)
    # The gradient of a closed-over array is summed over chunks in the array's dtype.
    widened = [
        model.unembed.astype(jnp.result_type(model.unembed, jnp.float32))
        for model in models
    ]

    @jax.checkpoint
    def of_chunk(parts: tuple[list[Array], tuple[Array, ...]]) -> Any:
        hidden, others = parts
        logits = [
            scaled_logits(x, wide.astype(m.unembed.dtype), divisor, m.logit_cap)
            for x, wide, m in zip(hidden, widened, models, strict=True)
        ]
        return of_logits(*logits, *others)

    first = models[0]
    rows, length = first.hidden.shape[:2]
    vocabulary = sum(model.unembed.shape[1] for model in models)
    chunk = balanced_chunk_size((rows, length), vocabulary, chunk)
    parts = [model.hidden for model in models], aligned
    parts = jax.tree.map(lambda x: split_chunks(x, chunk), parts)
    numbers = jax.lax.map(of_chunk, parts)
    return jax.tree.map(lambda x: join_chunks(x, length), numbers)


def map_chunks(
    of_chunk: Callable[..., Array], hidden: Array, *, vocabulary: int, chunk: int | None
) -> Array:
    """Map a function of hidden states [B C D] (or trees of them) over all tokens."""
    rows, length = jax.tree.leaves(hidden)[0].shape[:2]
    chunk = balanced_chunk_size((rows, length - 1), vocabulary, chunk)
    parts = jax.tree.map(lambda x: split_chunks(x[:, :-1], chunk), hidden)
    numbers = join_chunks(jax.lax.map(of_chunk, parts), length - 1)
    return jnp.pad(numbers, ((0, 0), (1, 0)))
