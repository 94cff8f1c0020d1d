"""Reward-model losses beyond Bradley-Terry: ties and predicted variances.

loss        paper                      model
----------  -------------------------  -------------------------------------------------
rao_kupper  Rao and Kupper 1967        ties where scores differ less than a threshold
davidson    Davidson 1970              ties as likely as nu times a mean of the wins
thurstone   Siththaranjan et al. 2023  Gaussian scores of predicted variance (probit)

A score is the raw output of the reward model's head for one answer, without unit.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jaxalign.types import Array, Float, Int, Scalar, typed

# A stand-in for a probability of 0, with a finite log: -87.3.
SMALLEST = float(np.finfo(np.float32).tiny)
# Log-variances are clamped to this before exp.
LARGEST_LOG_VARIANCE = 20.0
# Below this the normal's tail is taken from its asymptotic series.
TAIL = -20.0


@typed
def rao_kupper(
    a: Float[Array, "*B"],
    b: Float[Array, "*B"],
    outcome: Int[Array, "*B"],
    *,
    theta: Scalar,
) -> Float[Array, "*B"]:
    """Negative log-likelihood of a comparison with ties (Rao and Kupper).

    t = log theta
    loss = -log sigmoid(a - b - t)                                  if a wins
         = -log sigmoid(b - a - t)                                  if b wins
         = -log sigmoid(a - b - t) - log sigmoid(b - a - t) - log(theta^2 - 1)   if tied

    Scores that differ by less than t are hard to tell apart. At theta = 1 it is
    Bradley-Terry, and a tie, which has probability 0, costs at least 87 nats rather
    than infinity.

    Args:
      a, b: scores of the first and the second answer.
      outcome: 1 where the first wins, 0 where they tie, -1 where the second wins.
      theta: at least 1; has a gradient, so it may be learned.

    Returns:
      One term per pair, in nats.

    Reference: Rao and Kupper 1967, "Ties in paired-comparison experiments".

    >>> loss = rao_kupper([0.0] * 3, [0.0] * 3, [1, 0, -1], theta=2.0)
    >>> bool(jnp.allclose(jnp.exp(-loss), 1 / 3))
    True
    """
    threshold = jnp.log(theta)
    first = -jax.nn.log_sigmoid(a - b - threshold)
    second = -jax.nn.log_sigmoid(b - a - threshold)
    tie_log_weight = jnp.log(jnp.maximum((theta - 1.0) * (theta + 1.0), SMALLEST))
    tied = first + second - tie_log_weight
    return jnp.where(outcome == 0, tied, jnp.where(outcome > 0, first, second))


@typed
def davidson(
    a: Float[Array, "*B"],
    b: Float[Array, "*B"],
    outcome: Int[Array, "*B"],
    *,
    nu: Scalar,
) -> Float[Array, "*B"]:
    """Negative log-likelihood of a comparison with ties (Davidson).

    half = (a - b) / 2
    normalizer = log(exp(half) + exp(-half) + nu)
    loss = normalizer - half        if a wins
         = normalizer + half        if b wins
         = normalizer - log nu      if tied

    A tie is as likely as nu times the geometric mean of the two wins. At nu = 0 it is
    Bradley-Terry, and a tie, which has probability 0, costs at least 87 nats rather
    than infinity.

    Args:
      a, b: scores of the first and the second answer.
      outcome: 1 where the first wins, 0 where they tie, -1 where the second wins.
      nu: at least 0; has a gradient, so it may be learned.

    Returns:
      One term per pair, in nats.

    Reference: Davidson 1970, "On extending the Bradley-Terry model to accommodate ties
    in paired comparison experiments".

    >>> loss = davidson([0.0] * 3, [0.0] * 3, [1, 0, -1], nu=2.0)
    >>> jnp.exp(-loss).round(4).tolist()
    [0.25, 0.5, 0.25]
    """
    half = 0.5 * (a - b)
    log_nu = jnp.log(jnp.maximum(nu, SMALLEST))
    normalizer = jnp.logaddexp(jnp.logaddexp(half, -half), log_nu)
    win = jnp.where(outcome > 0, half, -half)
    return normalizer - jnp.where(outcome == 0, log_nu, win)


@typed
def thurstone(
    chosen_mean: Float[Array, "*B"],
    chosen_log_var: Float[Array, "*B"],
    rejected_mean: Float[Array, "*B"],
    rejected_log_var: Float[Array, "*B"],
) -> Float[Array, "*B"]:
    """Negative log-likelihood of a preference between Gaussian scores (probit).

    variance = exp(chosen_log_var) + exp(rejected_log_var)
    loss = -log Phi((chosen_mean - rejected_mean) / sqrt(variance))

    Phi is the normal distribution function. A reward model that predicts both numbers
    of each answer (distributional preference learning, mean-and-variance model)
    expresses the disagreement of annotators.

    Args:
      chosen_mean, rejected_mean: mean of the answer's score over annotators.
      chosen_log_var, rejected_log_var: log of its variance; the variance of the
        difference is clamped to [exp(-20), exp(20)].

    Returns:
      One term per pair, in nats.

    Reference: Siththaranjan et al. 2023, arXiv:2312.08358; Thurstone 1927.

    >>> round(float(thurstone(0.0, 0.0, 0.0, 0.0)), 4)  # -log Phi(0)
    0.6931
    """
    log_variance = jnp.logaddexp(chosen_log_var, rejected_log_var)
    log_variance = jnp.clip(log_variance, -LARGEST_LOG_VARIANCE, LARGEST_LOG_VARIANCE)
    z = (chosen_mean - rejected_mean) * jnp.exp(-0.5 * log_variance)
    return -log_normal_cdf(z)


def log_normal_cdf(z: Array) -> Array:
    """log Phi(z), with an accurate gradient far down the tail.

    `log_ndtr` computes its gradient there as exp of a difference of numbers near
    z^2 / 2: in float32 it is 3000 at z = -10000 (exact: 10000) and 1 at -1e6. The
    series is
    Phi(z) = density(z) / -z * (1 - 1 / z^2 + 3 / z^4 - 15 / z^6 + ...).
    """
    near = z > TAIL
    far = jnp.where(near, TAIL, z)
    inverse = 1.0 / jnp.square(far)
    series = -inverse * (1.0 - 3.0 * inverse * (1.0 - 5.0 * inverse))
    density = -0.5 * (jnp.square(far) + jnp.log(2.0 * jnp.pi))
    tail = density - jnp.log(-far) + jnp.log1p(series)
    body = jax.scipy.special.log_ndtr(jnp.where(near, z, TAIL))
    return jnp.where(near, body, tail)
