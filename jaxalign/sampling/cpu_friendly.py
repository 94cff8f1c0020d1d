"""Selection and sampling without sorts, reductions by index or per-token noise.

On a CPU, XLA sorts a row in ten times the time of 31 sums of it, and computes an
argmax in ten times the time of a maximum; Gumbel noise takes V random numbers per row
where the inverse CDF takes one. These functions run on every backend, not on CPUs
alone, so that a seed samples the same tokens on all of them.
"""

import jax
import jax.numpy as jnp

from jaxalign.types import Array, Float, Int, typed

BLOCK = 128  # entries of a block in the first level of a two-level cumulative sum
FLOAT_BITS = 31  # bits of a float32 of at least 0, whose sign bit is 0


def smallest_top_set(mass: Array, weight: Array, target: float) -> Array:
    """Keep the fewest largest masses whose weights sum to a target; 0 elsewhere.

    The smallest mass to keep is found bit by bit: the bit patterns of positive floats
    are ordered as the floats are, so 31 masked sums do the work of a sort. Of equal
    masses at the threshold, the first ones are kept.

    Args:
      mass: at least 0 [B V] float32.
      weight: at least 0 [B V] float32, equal for equal masses of a row.
      target: sum of the weights to reach.

    Returns:
      The masses, with 0 in the place of those not kept [B V].
    """
    bits = jax.lax.bitcast_convert_type(mass, jnp.int32)

    def try_bit(i: Array, threshold: Array) -> Array:
        higher = threshold | jnp.left_shift(1, FLOAT_BITS - 1 - i)
        total = jnp.sum(jnp.where(bits >= higher, weight, 0.0), axis=-1)
        return jnp.where((total >= target)[:, None], higher, threshold)

    zero = jnp.zeros((len(mass), 1), jnp.int32)
    threshold = jax.lax.fori_loop(0, FLOAT_BITS, try_bit, zero)
    above, equal = bits > threshold, bits == threshold
    missing = target - jnp.sum(jnp.where(above, weight, 0.0), axis=-1, keepdims=True)
    each = jnp.max(jnp.where(equal, weight, 0.0), axis=-1, keepdims=True)
    ties = jnp.maximum(jnp.ceil(missing / each), 1.0)
    keep = above | (equal & (jnp.cumsum(equal, axis=-1) <= ties))
    return jnp.where(keep, mass, 0.0)


def first_argmax(x: Array, highest: Array) -> Array:
    """The first index of the maximum of each row [B], as `jnp.argmax`.

    Args:
      x: [B V].
      highest: the maximum of each row [B 1].
    """
    size = x.shape[1]
    index = jnp.arange(size, dtype=jnp.int32)[None, :]
    return jnp.min(jnp.where(x == highest, index, size - 1), axis=-1)


@typed
def sample_categorical(
    mass: Float[Array, "B V"], uniform: Float[Array, "B"]
) -> Int[Array, "B"]:
    """Sample an index of each row in proportion to its mass, by the inverse CDF.

    index = min { v : sum over w <= v of mass(w) > uniform * sum of mass }

    Cumulative sums of blocks come first, then one within the block found: one uniform
    number per row, where Gumbel noise needs V. An index of mass 0 is never sampled.

    Args:
      mass: probabilities up to a factor, at least 0, not all 0.
      uniform: in [0, 1).
    """
    rows, vocabulary = mass.shape
    blocks = -(-vocabulary // BLOCK)
    padded = jnp.pad(mass, ((0, 0), (0, blocks * BLOCK - vocabulary)))
    padded = padded.reshape(rows, blocks, BLOCK)
    sums = jnp.sum(padded, axis=-1)
    block, rest = inverse_cdf(sums, uniform * jnp.sum(sums, axis=-1))
    entries = jnp.take_along_axis(padded, block[:, None, None], axis=1)[:, 0]
    index, _ = inverse_cdf(entries, rest)
    return (block * BLOCK + index).astype(jnp.int32)


def inverse_cdf(mass: Array, target: Array) -> tuple[Array, Array]:
    """The entry at which each row's cumulative mass first exceeds a target.

    Rounding may leave the total short of the target: the last entry of positive mass is
    returned then.

    Returns:
      The index [B], and the target less the mass before that entry [B].
    """
    total = jnp.cumsum(mass, axis=-1)
    entries = jnp.arange(mass.shape[-1])
    last = jnp.max(jnp.where(mass > 0, entries[None, :], 0), axis=-1)
    past = (total > target[:, None]) & (mass > 0)
    index = jnp.where(jnp.any(past, axis=-1), jnp.argmax(past, axis=-1), last)
    before = jnp.take_along_axis(total - mass, index[:, None], axis=-1)[:, 0]
    return index, jnp.maximum(target - before, 0.0)
