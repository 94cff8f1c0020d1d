"""Losses of scores that know how sure they are: of people who disagree, of safety."""

import jax
import jax.numpy as jnp

from jaxalign.types import Array, Bool, Float, typed

# Log-variances are clamped to this before exp.
LARGEST_LOG_VARIANCE = 20.0
# Below this the normal's tail is taken from its asymptotic series.
TAIL = -20.0


def log_normal_cdf(z: Array) -> Array:
    """log Phi(z), with a gradient that holds far down the tail.

    There `log_ndtr` gets its gradient as exp of a difference of numbers near z^2 / 2:
    in float32 it is 3000 at z = -10000 (due: 10000) and 1 at -1e6. The series is
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


@typed
def thurstone(
    chosen_mean: Float[Array, "B"],
    chosen_log_var: Float[Array, "B"],
    rejected_mean: Float[Array, "B"],
    rejected_log_var: Float[Array, "B"],
) -> Float[Array, "B"]:
    """Preferences of people who disagree: scores are Gaussian, one term per pair.

    variance = exp(chosen_log_var) + exp(rejected_log_var)
    loss = -log Phi((chosen_mean - rejected_mean) / sqrt(variance))

    Phi is the normal distribution function. The variance is kept within exp(-20) and
    exp(20).

    Args:
      chosen_mean, chosen_log_var: mean of a chosen answer's score over people, and log
        of its variance; likewise rejected_mean, rejected_log_var.

    Reference: Siththaranjan et al. 2023, arXiv:2312.08358; Thurstone 1927.

    >>> import numpy as np
    >>> zero = np.zeros(1, np.float32)
    >>> bool(np.isclose(thurstone(zero, zero, zero, zero), np.log(2.0))[0])
    True
    """
    log_variance = jnp.logaddexp(chosen_log_var, rejected_log_var)
    log_variance = jnp.clip(log_variance, -LARGEST_LOG_VARIANCE, LARGEST_LOG_VARIANCE)
    z = (chosen_mean - rejected_mean) * jnp.exp(-0.5 * log_variance)
    return -log_normal_cdf(z)


@typed
def safety_classification(
    logit: Float[Array, "B"], unsafe: Bool[Array, "B"]
) -> Float[Array, "B"]:
    """Whether an answer is unsafe, as an auxiliary task, one term per answer.

    loss = -log sigmoid(logit)      if unsafe
         = -log sigmoid(-logit)     if not

    Binary cross-entropy, which the paper names and does not print.

    Reference: Touvron et al. 2023, arXiv:2307.09288, section 3.2.2.

    >>> import numpy as np
    >>> loss = safety_classification(np.zeros(1, np.float32), np.array([True]))
    >>> bool(np.isclose(loss, np.log(2.0))[0])
    True
    """
    return -jax.nn.log_sigmoid(jnp.where(unsafe, logit, -logit))
