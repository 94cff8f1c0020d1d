"""What whole next-token distributions say, chunk by chunk: never [B T V] logits.

Aligned with tokens: entry t is about the distribution that token t is drawn from, and
entry 0 is 0, since nothing predicts the first token.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxalign.estimators.kl import exact_kl
from jaxalign.estimators.logprobs import (
    balanced_chunk_size,
    join_chunks,
    scaled_logits,
    split_chunks,
)
from jaxalign.types import Array, Float, typed


@typed
def next_token_log_sum_square(
    hidden: Float[Array, "B T D"],
    unembed: Float[Array, "D V"],
    *,
    chunk: int | None = None,
    logit_cap: float | None = None,
) -> Float[Array, "B T"]:
    """log of the sum over v of p(v)^2: the mean probability of the model's own samples.

    Gets no gradient. Arguments as of `token_logprobs`.

    >>> hidden, unembed = jnp.ones((1, 2, 2)), jnp.zeros((2, 4))
    >>> found = next_token_log_sum_square(hidden, unembed)
    >>> bool(jnp.allclose(found, jnp.array([[0.0, -jnp.log(4.0)]])))
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
    """KL(one model || other model) of the next token, in nats.

    KL = sum over v of p(v) * (log p(v) - log q(v))

    Going backward, each chunk's logits are computed again; the gradients of both
    unembeddings are summed in float32. Arguments as of `token_logprobs`.

    >>> hidden, unembed = jnp.ones((1, 2, 2)), jnp.zeros((2, 4))
    >>> next_token_kl(hidden, unembed, hidden, unembed).tolist()
    [[0.0, 0.0]]
    """
    one = jnp.ones(())
    # What a chunk closes over has its gradient summed over chunks in its own dtype.
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
    """A function of (a tree of) hidden states [B C D], for every next token [B T]."""
    rows, length = jax.tree.leaves(hidden)[0].shape[:2]
    chunk = balanced_chunk_size((rows, length - 1), vocabulary, chunk)
    parts = jax.tree.map(lambda x: split_chunks(x[:, :-1], chunk), hidden)
    found = join_chunks(jax.lax.map(of_chunk, parts), length - 1)
    return jnp.pad(found, ((0, 0), (1, 0)))
