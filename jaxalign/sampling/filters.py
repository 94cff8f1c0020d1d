"""Which tokens may be sampled, and how one is drawn.

All work on masses: probabilities up to a factor, such as exp(logits - max(logits)), 0
for what may not be sampled.
"""

import jax
import jax.numpy as jnp

from jaxalign.types import Array, Float, Int, typed

BLOCK = 128


@typed
def top_k(mass: Float[Array, "B V"], k: int) -> Float[Array, "B V"]:
    """Keeps the k largest masses of a row (of equal ones the first), 0 elsewhere.

    Reference: Fan et al. 2018, arXiv:1805.04833, section 5.4.
    """
    if k >= mass.shape[1]:
        return mass
    return smallest_top_set(mass, jnp.ones_like(mass), float(k))


@typed
def top_p(mass: Float[Array, "B V"], p: float) -> Float[Array, "B V"]:
    """Keeps the fewest largest masses that make up a share p of a row; one at least.

    Reference: Holtzman et al. 2019, arXiv:1904.09751, eq. 2.
    """
    if p >= 1.0:
        return mass
    return smallest_top_set(mass, mass / jnp.sum(mass, axis=-1, keepdims=True), p)


def smallest_top_set(mass: Array, weight: Array, target: float) -> Array:
    """The fewest largest masses whose weights sum to the target; 0 elsewhere.

    Finds the smallest that is kept bit by bit, as the bits of floats above 0 are in the
    order of the floats: 31 sums, where a sort costs ten times as much on a CPU.
    """
    bits = jax.lax.bitcast_convert_type(mass, jnp.int32)

    def with_bit(i: Array, smallest: Array) -> Array:
        higher = smallest | jnp.left_shift(1, 30 - i)
        reached = jnp.sum(jnp.where(bits >= higher, weight, 0.0), axis=-1) >= target
        return jnp.where(reached[:, None], higher, smallest)

    none = jnp.zeros((len(mass), 1), jnp.int32)
    smallest = jax.lax.fori_loop(0, 31, with_bit, none)
    above, equal = bits > smallest, bits == smallest
    missing = target - jnp.sum(jnp.where(above, weight, 0.0), axis=-1, keepdims=True)
    each = jnp.max(jnp.where(equal, weight, 0.0), axis=-1, keepdims=True)
    wanted = jnp.maximum(jnp.ceil(missing / each), 1.0)
    kept = above | (equal & (jnp.cumsum(equal, axis=-1) <= wanted))
    return jnp.where(kept, mass, 0.0)


@typed
def sample_categorical(
    mass: Float[Array, "B V"], uniform: Float[Array, "B"]
) -> Int[Array, "B"]:
    """The token at which the cumulative mass passes a uniform number of [0, 1).

    token = min { v : sum over w <= v of mass(w) > uniform * sum of mass }

    In two levels, sums of blocks and then within one block: one uniform a row, where
    Gumbel noise needs V. Never a token of mass 0.
    """
    rows, vocabulary = mass.shape
    blocks = -(-vocabulary // BLOCK)
    padded = jnp.pad(mass, ((0, 0), (0, blocks * BLOCK - vocabulary)))
    padded = padded.reshape(rows, blocks, BLOCK)
    sums = jnp.sum(padded, axis=-1)
    block, left = inverse_cdf(sums, uniform * jnp.sum(sums, axis=-1))
    within = jnp.take_along_axis(padded, block[:, None, None], axis=1)[:, 0]
    token, _ = inverse_cdf(within, left)
    return (block * BLOCK + token).astype(jnp.int32)


def inverse_cdf(mass: Array, target: Array) -> tuple[Array, Array]:
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
