"""Log-probs of tokens from hidden states, without ever holding [B T V] logits."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxalign.types import Array, Float, Int, typed

# Logits of one chunk are kept within this many numbers (256 MiB in float32).
CHUNK_LOGITS = 2**26


class TokenStatistics(NamedTuple):
    """What a distribution says of one token: its log-prob, and the entropy, in nats."""

    logp: Array
    entropy: Array


def chunk_logits(
    hidden: Array, unembed: Array, logit_cap: float | None, temperature: float | Array
) -> Array:
    """Logits [B C V] in float32: capped, then divided by the temperature."""
    logits = jnp.einsum(
        "bcd,dv->bcv", hidden, unembed, preferred_element_type=jnp.float32
    )
    if logit_cap is not None:
        logits = logit_cap * jnp.tanh(logits / logit_cap)
    return logits / temperature


def chosen(logits: Array, targets: Array) -> Array:
    """The log-prob of each target [B C]."""
    picked = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    return picked - jax.nn.logsumexp(logits, axis=-1)


def entropy(logits: Array) -> Array:
    """The entropy of each distribution [B C], in nats."""
    logp = jax.nn.log_softmax(logits, axis=-1)
    return -jnp.sum(jnp.exp(logp) * logp, axis=-1)


def over_chunks(per_chunk, hidden, targets, vocabulary, chunk):  # type: ignore[no-untyped-def]
    """Maps chunks of time [B C ...] through a function, recomputed going backward."""
    rows, length = targets.shape
    chunk = chunk or max(1, CHUNK_LOGITS // (rows * vocabulary))
    if chunk >= length:
        return jax.checkpoint(per_chunk)(hidden, targets)
    parts = -(-length // chunk)
    spare = parts * chunk - length

    def cut(x: Array) -> Array:
        rest = x.shape[2:]
        padded = jnp.pad(x, ((0, 0), (0, spare), *((0, 0) for _ in rest)))
        return jnp.moveaxis(padded.reshape(rows, parts, chunk, *rest), 1, 0)

    def join(x: Array) -> Array:
        return jnp.moveaxis(x, 0, 1).reshape(rows, parts * chunk)[:, :length]

    found = jax.lax.map(
        lambda part: jax.checkpoint(per_chunk)(*part), (cut(hidden), cut(targets))
    )
    return jax.tree.map(join, found)


@typed
def token_logprobs(
    hidden: Float[Array, "B T D"],
    unembed: Float[Array, "D V"],
    targets: Int[Array, "B T"],
    *,
    chunk: int | None = None,
    logit_cap: float | None = None,
    temperature: float | Float[Array, ""] = 1.0,
) -> Float[Array, "B T"]:
    """Log-probs of targets, chunk by chunk of time; nothing is shifted.

    logits = hidden @ unembed;  logits = cap * tanh(logits / cap)
    logp = log_softmax(logits / temperature)[target]

    The products accumulate in float32 whatever the inputs are. Going backward, each
    chunk's logits are computed again.

    Args:
      chunk: positions whose logits exist at one time; by default what keeps a chunk's
        logits within 256 MiB.
      logit_cap: final soft-capping (Gemma 2, arXiv:2408.00118, section 2).
      temperature: of the sampling that these log-probs are compared with.

    >>> hidden, unembed = jnp.ones((1, 1, 2)), jnp.zeros((2, 4))
    >>> logp = token_logprobs(hidden, unembed, jnp.array([[3]]))
    >>> bool(jnp.allclose(logp, -jnp.log(4.0)))
    True
    """

    def per_chunk(hidden: Array, targets: Array) -> Array:
        logits = chunk_logits(hidden, unembed, logit_cap, temperature)
        return chosen(logits, targets)

    return over_chunks(per_chunk, hidden, targets, unembed.shape[1], chunk)


@typed
def token_statistics(
    hidden: Float[Array, "B T D"],
    unembed: Float[Array, "D V"],
    targets: Int[Array, "B T"],
    *,
    chunk: int | None = None,
    logit_cap: float | None = None,
    temperature: float | Float[Array, ""] = 1.0,
) -> TokenStatistics:
    """Log-probs of targets and entropies of their distributions, [B T] each.

    Arguments as of `token_logprobs`.

    >>> hidden, unembed = jnp.ones((1, 1, 2)), jnp.zeros((2, 4))
    >>> found = token_statistics(hidden, unembed, jnp.array([[3]]))
    >>> bool(jnp.allclose(found.entropy, jnp.log(4.0)))
    True
    """

    def per_chunk(hidden: Array, targets: Array) -> TokenStatistics:
        logits = chunk_logits(hidden, unembed, logit_cap, temperature)
        return TokenStatistics(chosen(logits, targets), entropy(logits))

    return over_chunks(per_chunk, hidden, targets, unembed.shape[1], chunk)


@typed
def next_token_logprobs(
    hidden: Float[Array, "B T D"],
    unembed: Float[Array, "D V"],
    tokens: Int[Array, "B T"],
    *,
    chunk: int | None = None,
    logit_cap: float | None = None,
    temperature: float | Float[Array, ""] = 1.0,
) -> Float[Array, "B T"]:
    """Log-probs of a row's own tokens: entry t is of token t given those before it.

    Entry 0 is 0, since nothing predicts the first token. Arguments as of
    `token_logprobs`.

    >>> hidden, unembed = jnp.ones((1, 2, 2)), jnp.zeros((2, 4))
    >>> logp = next_token_logprobs(hidden, unembed, jnp.array([[3, 1]]))
    >>> bool(jnp.allclose(logp, jnp.array([[0.0, -jnp.log(4.0)]])))
    True
    """
    logp = token_logprobs(
        hidden[:, :-1],
        unembed,
        tokens[:, 1:],
        chunk=chunk,
        logit_cap=logit_cap,
        temperature=temperature,
    )
    return jnp.pad(logp, ((0, 0), (1, 0)))
