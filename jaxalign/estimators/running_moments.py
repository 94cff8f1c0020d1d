"""Running mean and variance of a stream of batches, for normalizing rewards."""

import dataclasses

import jax
import jax.numpy as jnp
from jax import lax

from jaxalign.masks import masked_mean, masked_sum
from jaxalign.types import Array, Bool, Float, typed


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class RunningMoments:
    """First two moments of a stream of numbers, in constant memory.

    Attributes:
      count: how many numbers there were so far.
      mean: their mean.
      m2: sum of their squared distances from it.
    """

    count: Float[Array, ""]
    mean: Float[Array, ""]
    m2: Float[Array, ""]


def empty_moments() -> RunningMoments:
    """Moments of an empty stream.

    >>> float(empty_moments().count)
    0.0
    """
    zero = jnp.zeros((), jnp.float32)
    return RunningMoments(count=zero, mean=zero, m2=zero)


@typed
def update(
    moments: RunningMoments, x: Float[Array, "*S"], mask: Bool[Array, "*S"]
) -> RunningMoments:
    """Add a batch to the moments.

    d = mean_b - mean_a,   n = n_a + n_b
    mean = mean_a + d * n_b / n
    m2 = m2_a + m2_b + d^2 * n_a * n_b / n

    No difference of large sums is taken, so the variance of numbers far from 0 keeps
    its digits. Under `jax.jit` with sharded arrays it sees the global batch.

    Args:
      moments: moments of the stream so far.
      x: the batch.
      mask: True on counted entries.

    Returns:
      The moments of the stream with the batch.

    Reference: Chan, Golub and LeVeque 1979, "Updating formulae and a pairwise algorithm
    for computing sample variances"; Welford 1962 (one number at a time).

    >>> moments = update(empty_moments(), [1.0, 3.0, 9.0], [True, True, False])
    >>> float(moments.count), float(moments.mean), float(moments.m2)
    (2.0, 2.0, 2.0)
    """
    batch_mean = masked_mean(x, mask)
    batch_m2 = masked_sum(jnp.square(x - batch_mean), mask)
    batch_count = jnp.sum(mask).astype(moments.count.dtype)
    count = moments.count + batch_count
    share = batch_count / jnp.maximum(count, 1.0)
    d = batch_mean - moments.mean
    return RunningMoments(
        count=count,
        mean=moments.mean + d * share,
        m2=moments.m2 + batch_m2 + jnp.square(d) * moments.count * share,
    )


@typed
def variance(moments: RunningMoments) -> Float[Array, ""]:
    """Population variance of the stream; 1 for fewer than two numbers.

    variance = m2 / count

    >>> float(variance(empty_moments()))
    1.0
    """
    several = moments.count > 1.0
    return jnp.where(several, moments.m2 / jnp.maximum(moments.count, 1.0), 1.0)


@typed
def normalize(
    x: Float[Array, "*S"],
    moments: RunningMoments,
    *,
    shift_mean: bool = True,
    eps: float = 1e-8,
) -> Float[Array, "*S"]:
    """Whiten by the moments of the stream, as `masks.whiten` does by the batch's.

    normalized = (x - mean) * rsqrt(variance + eps)    (+ mean, if not shift_mean)

    >>> moments = update(empty_moments(), [1.0, 3.0], [True, True])
    >>> normalize([2.0, 4.0], moments).tolist()
    [0.0, 2.0]
    """
    normalized = (x - moments.mean) * lax.rsqrt(variance(moments) + eps)
    return normalized if shift_mean else normalized + moments.mean
