"""Unpaired losses: single answers with a desirable or undesirable label (KTO data).

loss               paper                                 hyperparameters
-----------------  ------------------------------------  -------------------------------
kto                Ethayarajh et al. 2024                beta, (weights of both labels)
bco_unpaired       Jung et al. 2024 (BCO)                beta, delta
apo_zero_unpaired  D'Oosterlinck et al. 2024 (APO-zero)  beta

Log-probs are sums over an answer's tokens, in nats. The reference gets no gradient.
Every loss returns one term per answer and takes arrays of any one shape [*B].
"""

import jax
import jax.numpy as jnp

from jaxalign.types import Array, Bool, Float, Scalar, typed


@typed
def kto(
    logp: Float[Array, "*B"],
    ref_logp: Float[Array, "*B"],
    desirable: Bool[Array, "*B"],
    kl: Scalar,
    *,
    beta: Scalar,
    desirable_weight: Scalar = 1.0,
    undesirable_weight: Scalar = 1.0,
) -> Float[Array, "*B"]:
    """Kahneman-Tversky optimization (KTO).

    ratio = logp - ref_logp
    loss = desirable_weight * (1 - sigmoid(beta * (ratio - kl)))        if desirable
         = undesirable_weight * (1 - sigmoid(beta * (kl - ratio)))      if not

    Args:
      logp: log-prob of the answer under the policy, summed over its tokens, in nats.
      ref_logp: the same sum under the reference; no gradient.
      desirable: label of the answer.
      kl: reference point z0 = max(0, mean log-ratio of mismatched answers), in nats,
        one for the whole batch; no gradient.
      beta: weight of the KL constraint, above 0.
      desirable_weight, undesirable_weight: weights of the two labels, at least 0.

    Returns:
      One term per answer, between 0 and its weight.

    Reference: Ethayarajh et al. 2024, arXiv:2402.01306, eq. 7 and 8.

    >>> float(kto(0.0, 0.0, True, 0.0, beta=0.1))
    0.5
    """
    ref_logp, kl = jax.lax.stop_gradient((ref_logp, kl))
    ratio = logp - ref_logp
    desirable_term = desirable_weight * jax.nn.sigmoid(-beta * (ratio - kl))
    undesirable_term = undesirable_weight * jax.nn.sigmoid(-beta * (kl - ratio))
    return jnp.where(desirable, desirable_term, undesirable_term)


@typed
def bco_unpaired(
    logp: Float[Array, "*B"],
    ref_logp: Float[Array, "*B"],
    desirable: Bool[Array, "*B"],
    *,
    beta: Scalar,
    delta: Scalar = 0.0,
) -> Float[Array, "*B"]:
    """Binary classifier optimization (BCO) of single answers.

    ratio = logp - ref_logp
    loss = -log sigmoid(beta * ratio - delta)      if desirable
         = -log sigmoid(delta - beta * ratio)      if not

    Args:
      logp: log-prob of the answer under the policy, summed over its tokens, in nats.
      ref_logp: the same sum under the reference; no gradient.
      desirable: label of the answer.
      beta: weight of the KL constraint, above 0.
      delta: reward shift, the running mean of the rewards beta * ratio; no gradient.

    Returns:
      One term per answer, in nats.

    Reference: Jung et al. 2024, arXiv:2404.04656, section 4.

    >>> round(float(bco_unpaired(0.0, 0.0, True, beta=0.1)), 4)
    0.6931
    """
    ref_logp, delta = jax.lax.stop_gradient((ref_logp, delta))
    reward = beta * (logp - ref_logp)
    desirable_term = -jax.nn.log_sigmoid(reward - delta)
    undesirable_term = -jax.nn.log_sigmoid(delta - reward)
    return jnp.where(desirable, desirable_term, undesirable_term)


@typed
def apo_zero_unpaired(
    logp: Float[Array, "*B"],
    ref_logp: Float[Array, "*B"],
    desirable: Bool[Array, "*B"],
    *,
    beta: Scalar,
) -> Float[Array, "*B"]:
    """Anchored preference optimization (APO-zero) of single answers.

    ratio = logp - ref_logp
    loss = 1 - sigmoid(beta * ratio)      if desirable
         = sigmoid(beta * ratio)          if not

    It is KTO with its reference point at 0.

    Args:
      logp: log-prob of the answer under the policy, summed over its tokens, in nats.
      ref_logp: the same sum under the reference; no gradient.
      desirable: label of the answer.
      beta: weight of the KL constraint, above 0.

    Returns:
      One term per answer, in (0, 1).

    Reference: D'Oosterlinck et al. 2024, arXiv:2408.06266, eq. 7.

    >>> float(apo_zero_unpaired(0.0, 0.0, True, beta=0.1))
    0.5
    """
    ref_logp = jax.lax.stop_gradient(ref_logp)
    ratio = logp - ref_logp
    desirable_term = jax.nn.sigmoid(-beta * ratio)
    undesirable_term = jax.nn.sigmoid(beta * ratio)
    return jnp.where(desirable, desirable_term, undesirable_term)
