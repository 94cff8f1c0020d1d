"""Losses of comparisons that may end in a tie, in log space."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxalign.types import Array, Float, Int, Scalar, typed

# What stands in for a probability of 0, so that its log is finite: -87.3.
SMALLEST = float(np.finfo(np.float32).tiny)


@typed
def rao_kupper(
    a: Float[Array, "B"],
    b: Float[Array, "B"],
    outcome: Int[Array, "B"],
    *,
    theta: Scalar,
) -> Float[Array, "B"]:
    """Negative log-likelihood of a comparison with ties, one term per pair.

    t = log theta
    loss = -log sigmoid(a - b - t)                                  if a wins
         = -log sigmoid(b - a - t)                                  if b wins
         = -log sigmoid(a - b - t) - log sigmoid(b - a - t) - log(theta^2 - 1)   if tied

    Scores that differ by less than t are hard to tell apart. At theta = 1 it is
    Bradley-Terry, and a tie, which cannot be, costs at least 87, not infinity.

    Args:
      a, b: scores of the first and of the second answer.
      outcome: 1 where the first wins, 0 where they tie, -1 where the second wins.
      theta: at least 1; has a gradient, so it may be learnt.

    Reference: Rao and Kupper 1967, "Ties in paired-comparison experiments".

    >>> zero = np.zeros(3, np.float32)
    >>> loss = rao_kupper(zero, zero, np.array([1, 0, -1]), theta=2.0)
    >>> np.exp(-loss).round(4).tolist() == np.float32([1 / 3] * 3).round(4).tolist()
    True
    """
    threshold = jnp.log(theta)
    first = -jax.nn.log_sigmoid(a - b - threshold)
    second = -jax.nn.log_sigmoid(b - a - threshold)
    room = jnp.log(jnp.maximum((theta - 1.0) * (theta + 1.0), SMALLEST))
    tied = first + second - room
    return jnp.where(outcome == 0, tied, jnp.where(outcome > 0, first, second))


@typed
def davidson(
    a: Float[Array, "B"],
    b: Float[Array, "B"],
    outcome: Int[Array, "B"],
    *,
    nu: Scalar,
) -> Float[Array, "B"]:
    """Negative log-likelihood of a comparison with ties, one term per pair.

    half = (a - b) / 2
    normaliser = log(exp(half) + exp(-half) + nu)
    loss = normaliser - half        if a wins
         = normaliser + half        if b wins
         = normaliser - log nu      if tied

    A tie is as likely as nu times the geometric mean of the two wins. At nu = 0 it is
    Bradley-Terry, and a tie, which cannot be, costs at least 87 rather than infinity.

    Args:
      a, b: scores of the first and of the second answer.
      outcome: 1 where the first wins, 0 where they tie, -1 where the second wins.
      nu: at least 0; has a gradient, so it may be learnt.

    Reference: Davidson 1970, "On extending the Bradley-Terry model to accommodate ties
    in paired comparison experiments".

    >>> zero = np.zeros(3, np.float32)
    >>> loss = davidson(zero, zero, np.array([1, 0, -1]), nu=2.0)
    >>> np.exp(-loss).round(4).tolist()
    [0.25, 0.5, 0.25]
    """
    half = 0.5 * (a - b)
    tie = jnp.log(jnp.maximum(nu, SMALLEST))
    normaliser = jnp.logaddexp(jnp.logaddexp(half, -half), tie)
    won = jnp.where(outcome > 0, half, -half)
    return normaliser - jnp.where(outcome == 0, tie, won)
