"""Estimators of the KL from the reference, and controllers of its coefficient.

estimator                    value of KL(policy || ref)   gradient, as a loss
---------------------------  ---------------------------  -----------------------
kl_k1                        unbiased, high variance      0 in expectation
kl_k2                        biased, low variance         that of KL(policy || ref)
kl_k3                        unbiased, at least 0         that of KL(ref || policy)
exact_kl                     exact, of whole logits       exact
adaptive_kl_coefficient      controller of Ziegler et al. 2019
proportional_kl_coefficient  the same in log space

The first three are of sampled tokens, in nats, on samples of the policy.
"""

import jax
import jax.numpy as jnp

from jaxalign.types import Array, Float, Scalar, typed

# Log-ratios are clamped to this before exp, so that a single token cannot overflow.
LARGEST_LOG_RATIO = 20.0


@typed
def kl_k1(logp: Float[Array, "*S"], ref_logp: Float[Array, "*S"]) -> Float[Array, "*S"]:
    """k1 estimator of the KL, the log-ratio: unbiased, of high variance.

    k1 = logp - ref_logp

    As a loss its gradient is 0 in expectation: use it inside the reward only.

    Args:
      logp, ref_logp: log-prob of each token under the policy and the reference, in
        nats.

    Returns:
      One term per token, in nats; it may be negative.

    Reference: Schulman 2020, "Approximating KL divergence", k1.

    >>> kl_k1(jnp.array([-1.0]), jnp.array([-1.5])).tolist()
    [0.5]
    """
    return logp - ref_logp


@typed
def kl_k2(logp: Float[Array, "*S"], ref_logp: Float[Array, "*S"]) -> Float[Array, "*S"]:
    """k2 estimator of the KL, half the squared log-ratio: biased, of low variance.

    k2 = (logp - ref_logp)^2 / 2

    Its gradient, on samples of the policy, is that of KL(policy || reference).

    Args:
      logp, ref_logp: log-prob of each token under the policy and the reference, in
        nats.

    Returns:
      One term per token, in squared nats.

    Reference: Schulman 2020, "Approximating KL divergence", k2.

    >>> kl_k2(jnp.array([-1.0]), jnp.array([-1.5])).tolist()
    [0.125]
    """
    return 0.5 * jnp.square(logp - ref_logp)


@typed
def kl_k3(logp: Float[Array, "*S"], ref_logp: Float[Array, "*S"]) -> Float[Array, "*S"]:
    """k3 estimator of the KL: unbiased, never negative.

    k3 = exp(ref_logp - logp) - 1 + (logp - ref_logp)

    Its gradient is that of KL(reference || policy), the other direction.

    Args:
      logp, ref_logp: log-prob of each token under the policy and the reference, in
        nats; their difference is clamped to [-20, 20].

    Returns:
      One term per token, in nats, at least 0.

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
    """Exact KL(policy || reference) of next-token distributions.

    KL = sum over v of p(v) * (log p(v) - log q(v))

    Args:
      logits, ref_logits: logits of the policy and the reference; a token that the
        policy rules out (logit -inf) contributes 0.

    Returns:
      One KL per position, in nats.

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
    """Next KL coefficient of the adaptive controller, linear in the error.

    error = clip(kl / target - 1, -0.2, 0.2)
    beta = beta * (1 + error * samples / horizon)

    Args:
      beta: coefficient of this batch, above 0.
      kl: mean over answers of the summed log-ratios, in nats.
      target: KL to keep, in nats, above 0.
      horizon: samples over which the coefficient adapts, above 0.
      samples: answers in the batch.

    Returns:
      The coefficient of the next batch.

    Reference: Ziegler et al. 2019, arXiv:1909.08593, section 2.2.

    >>> beta = adaptive_kl_coefficient(1.0, 12.0, target=6.0, horizon=1e4, samples=512)
    >>> round(float(beta), 5)
    1.01024
    """
    error = jnp.clip(jnp.asarray(kl, jnp.float32) / target - 1.0, -0.2, 0.2)
    return jnp.asarray(beta, jnp.float32) * (1.0 + error * samples / horizon)


@typed
def proportional_kl_coefficient(
    beta: Scalar, kl: Scalar, *, target: Scalar, gain: Scalar
) -> Float[Array, ""]:
    """Next KL coefficient of the log-space proportional controller.

    error = clip(kl / target - 1, -0.2, 0.2)
    beta = beta * exp(gain * error)

    Equal errors up and down undo each other exactly, and beta stays positive whatever
    the gain. To first order in the error it is `adaptive_kl_coefficient` with gain =
    samples / horizon, the form of the paper's code.

    Args:
      beta: coefficient of this batch, above 0.
      kl: mean over answers of the summed log-ratios, in nats.
      target: KL to keep, in nats, above 0.
      gain: K_beta of the paper, above 0 (0.1 there).

    Returns:
      The coefficient of the next batch.

    Reference: Ziegler et al. 2019, arXiv:1909.08593, section 2.2 ("log-space
    proportional controller").

    >>> round(float(proportional_kl_coefficient(1.0, 12.0, target=6.0, gain=0.1)), 5)
    1.0202
    """
    error = jnp.clip(jnp.asarray(kl, jnp.float32) / target - 1.0, -0.2, 0.2)
    return jnp.asarray(beta, jnp.float32) * jnp.exp(gain * error)
