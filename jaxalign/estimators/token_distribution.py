"""Statistics of whole next-token distributions, in chunks of positions.

Logits [B T V] never exist as a whole. Results are aligned with tokens: entry t is of
the distribution of token t, and entry 0 is 0, since nothing predicts the first token.
"""

from collections.abc import Callable

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
    one = jnp.ones(())
    # The gradient of a closed-over array is summed over chunks in the array's dtype.
    widened = [
        x.astype(jnp.result_type(x, jnp.float32)) for x in (unembed, other_unembed)
    ]

    @jax.checkpoint
    def of_chunk(parts: tuple[Array, Array]) -> Array:
        first, second = (
            scaled_logits(x, wide.astype(narrow.dtype), one, logit_cap)
            for x, wide, narrow in zip(
                parts, widened, (unembed, other_unembed), strict=True
            )
        )
        return exact_kl(first, second)

    both = hidden, other_hidden
    return map_chunks(of_chunk, both, vocabulary=2 * unembed.shape[1], chunk=chunk)


def map_chunks(
    of_chunk: Callable[..., Array], hidden: Array, *, vocabulary: int, chunk: int | None
) -> Array:
    """Map a function of hidden states [B C D] (or trees of them) over all tokens."""
    rows, length = jax.tree.leaves(hidden)[0].shape[:2]
    chunk = balanced_chunk_size((rows, length - 1), vocabulary, chunk)
    parts = jax.tree.map(lambda x: split_chunks(x[:, :-1], chunk), hidden)
    numbers = join_chunks(jax.lax.map(of_chunk, parts), length - 1)
    return jnp.pad(numbers, ((0, 0), (1, 0)))
