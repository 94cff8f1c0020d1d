"""Estimators of a policy's KL divergence from its reference, and its controller."""

import jax
import jax.numpy as jnp

from jaxalign.types import Array, Float, Scalar, typed

# Log-ratios are clamped to this before exp, so that one odd token cannot overflow.
LARGEST_LOG_RATIO = 20.0


@typed
def kl_k1(logp: Float[Array, "*S"], ref_logp: Float[Array, "*S"]) -> Float[Array, "*S"]:
    """The log-ratio, per token: unbiased, of high variance, may be negative.

    k1 = logp - ref_logp

    As a loss its gradient is 0 in expectation: use it inside the reward only.

    Reference: Schulman 2020, "Approximating KL divergence", k1.

    >>> kl_k1(jnp.array([-1.0]), jnp.array([-1.5])).tolist()
    [0.5]
    """
    return logp - ref_logp


@typed
def kl_k2(logp: Float[Array, "*S"], ref_logp: Float[Array, "*S"]) -> Float[Array, "*S"]:
    """Half the squared log-ratio, per token: biased, of low variance.

    k2 = (logp - ref_logp)^2 / 2

    Its gradient, on samples of the policy, is that of KL(policy || reference).

    Reference: Schulman 2020, "Approximating KL divergence", k2.

    >>> kl_k2(jnp.array([-1.0]), jnp.array([-1.5])).tolist()
    [0.125]
    """
    return 0.5 * jnp.square(logp - ref_logp)


@typed
def kl_k3(logp: Float[Array, "*S"], ref_logp: Float[Array, "*S"]) -> Float[Array, "*S"]:
    """exp(-d) - 1 + d of the log-ratio d, per token: unbiased, never negative.

    k3 = exp(ref_logp - logp) - 1 + (logp - ref_logp)

    Its gradient is that of KL(reference || policy), the other direction.

    Reference: Schulman 2020, "Approximating KL divergence", k3.

    >>> kl_k3(jnp.array([0.0]), jnp.array([0.0])).tolist()
    [0.0]
    """
    d = jnp.clip(logp - ref_logp, -LARGEST_LOG_RATIO, LARGEST_LOG_RATIO)
    return jnp.expm1(-d) + d


@typed
def exact_kl(
    logits: Float[Array, "*S V"], ref_logits: Float[Array, "*S V"]
) -> Float[Array, "*S"]:
    """KL(policy || reference) of whole distributions, in nats.

    KL = sum over v of p(v) * (log p(v) - log q(v))

    A token that the policy rules out (logit -inf) contributes 0.

    Reference: Kullback and Leibler 1951, eq. 2.4.

    >>> float(exact_kl(jnp.zeros(4), jnp.zeros(4)))
    0.0
    """
    wide = jnp.result_type(logits, ref_logits, jnp.float32)
    logp = jax.nn.log_softmax(logits.astype(wide), axis=-1)
    ref_logp = jax.nn.log_softmax(ref_logits.astype(wide), axis=-1)
    possible = jnp.isfinite(logp)
    safe = jnp.where(possible, logp, 0.0)
    safe_ref = jnp.where(possible, ref_logp, 0.0)
    terms = jnp.exp(safe) * (safe - safe_ref)
    return jnp.sum(jnp.where(possible, terms, 0.0), axis=-1)


@typed
def adaptive_kl_coefficient(
    beta: Scalar,
    kl: Scalar,
    *,
    target: Scalar,
    horizon: Scalar,
    samples: Scalar,
) -> Float[Array, ""]:
    """The KL coefficient, moved so that the KL comes nearer to its target.

    error = clip(kl / target - 1, -0.2, 0.2)
    beta = beta * (1 + error * n_steps / horizon)

    Args:
      kl: mean over answers of the summed log-ratios, in nats.
      samples: answers in the batch.

    Reference: Ziegler et al. 2019, arXiv:1909.08593, section 2.2.

    >>> knobs = dict(target=6.0, horizon=1e4, n_steps=512)
    >>> round(float(adaptive_kl_coefficient(1.0, 12.0, **knobs)), 5)
    1.01024
    """
    error = jnp.clip(jnp.asarray(kl, jnp.float32) / target - 1.0, -0.2, 0.2)
    return jnp.asarray(beta, jnp.float32) * (1.0 + error * samples / horizon)


@typed
def proportional_kl_coefficient(
    beta: Scalar, kl: Scalar, *, target: Scalar, gain: Scalar
) -> Float[Array, ""]:
    """The KL coefficient, moved in proportion to the error, in log space.

    error = clip(kl / target - 1, -0.2, 0.2)
    beta = beta * exp(gain * error)

    Equal errors up and down undo each other exactly, and beta stays positive whatever
    the gain. To first order in the error it is `adaptive_kl_coefficient` with gain = n_steps /
    horizon, the form that the paper's code has.

    Args:
      kl: mean over answers of the summed log-ratios, in nats.
      gain: K_beta of the paper, 0.1 there.

    Reference: Ziegler et al. 2019, arXiv:1909.08593, section 2.2 ("log-space
    proportional controller").

    >>> round(float(proportional_kl_coefficient(1.0, 12.0, target=6.0, gain=0.1)), 5)
    1.0202
    """
    error = jnp.clip(jnp.asarray(kl, jnp.float32) / target - 1.0, -0.2, 0.2)
    return jnp.asarray(beta, jnp.float32) * jnp.exp(gain * error)
