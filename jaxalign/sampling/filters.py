"""Which tokens may be sampled, and how one is drawn."""

import jax
import jax.numpy as jnp

from jaxalign.types import Array, Float, Int, typed

BLOCK = 128


@typed
def top_k(logits: Float[Array, "B V"], k: int) -> Float[Array, "B V"]:
    """Keeps the k largest logits of a row (and what ties with the k-th), -inf elsewhere.

    Reference: Fan et al. 2018, arXiv:1805.04833, section 5.4.
    """
    if k >= logits.shape[1]:
        return logits
    smallest = jax.lax.top_k(logits, k)[0][:, -1:]
    return jnp.where(logits >= smallest, logits, -jnp.inf)


@typed
def top_p(logits: Float[Array, "B V"], p: float) -> Float[Array, "B V"]:
    """Keeps the fewest likeliest tokens whose probabilities reach p; one at least.

    Reference: Holtzman et al. 2019, arXiv:1904.09751, eq. 2.
    """
    falling = -jnp.sort(-logits, axis=-1)
    probs = jax.nn.softmax(falling, axis=-1)
    before = jnp.cumsum(probs, axis=-1) - probs
    kept = before < p
    smallest = jnp.min(jnp.where(kept, falling, jnp.inf), axis=-1, keepdims=True)
    return jnp.where(logits >= smallest, logits, -jnp.inf)


@typed
def draw(logits: Float[Array, "B V"], uniform: Float[Array, "B"]) -> Int[Array, "B"]:
    """The token at which the cumulative probability passes a uniform number of [0, 1).

    token = min { v : sum over w <= v of p(w) > uniform }

    In two levels, sums of blocks and then within one block: one uniform a row, where
    Gumbel noise needs V. Never a token of probability 0.
    """
    rows, vocabulary = logits.shape
    blocks = -(-vocabulary // BLOCK)
    spare = blocks * BLOCK - vocabulary
    padded = jnp.pad(logits, ((0, 0), (0, spare)), constant_values=-jnp.inf)
    highest = jnp.max(padded, axis=-1, keepdims=True)
    mass = jnp.exp(padded - highest).reshape(rows, blocks, BLOCK)
    sums = jnp.sum(mass, axis=-1)
    block, left = passes(sums, uniform * jnp.sum(sums, axis=-1))
    within = jnp.take_along_axis(mass, block[:, None, None], axis=1)[:, 0]
    token, _ = passes(within, left)
    return (block * BLOCK + token).astype(jnp.int32)


def passes(mass: Array, target: Array) -> tuple[Array, Array]:
    """Where each row's cumulative mass passes its target, and what is left of that.

    Rounding may let the total fall short of the target: then it is the last entry with
    any mass.
    """
    total = jnp.cumsum(mass, axis=-1)
    entries = jnp.arange(mass.shape[-1])
    last = jnp.max(jnp.where(mass > 0, entries[None, :], 0), axis=-1)
    past = (total > target[:, None]) & (mass > 0)
    index = jnp.where(jnp.any(past, axis=-1), jnp.argmax(past, axis=-1), last)
    before = jnp.take_along_axis(total - mass, index[:, None], axis=-1)[:, 0]
    return index, jnp.maximum(target - before, 0.0)
