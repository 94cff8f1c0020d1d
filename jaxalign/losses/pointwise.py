"""Pointwise losses of pairs: each answer moves by its own log-ratio to the reference.

loss      paper                                   hyperparameters
--------  --------------------------------------  ---------------
bco       Jung et al. 2024 (binary classifier)    beta, delta
apo_zero  D'Oosterlinck et al. 2024 (APO-zero)    beta
apo_down  D'Oosterlinck et al. 2024 (APO-down)    beta
sppo      Wu et al. 2024 (self-play)              beta
nca       Chen et al. 2024 (noise contrastive)    beta

Log-probs are sums over an answer's tokens, in nats. The reference gets no gradient.
Every loss returns one term per pair and takes arrays of any one shape [*B]. Losses of
single answers, such as KTO, are in `unpaired`.
"""

import jax
import jax.numpy as jnp

from jaxalign.types import Array, Float, Scalar, typed


@typed
def bco(
    chosen: Float[Array, "*B"],
    rejected: Float[Array, "*B"],
    ref_chosen: Float[Array, "*B"],
    ref_rejected: Float[Array, "*B"],
    *,
    beta: Scalar,
    delta: Scalar = 0.0,
) -> Float[Array, "*B"]:
    """Binary classifier optimization (BCO) of chosen against rejected answers.

    chosen_ratio, rejected_ratio = chosen - ref_chosen, rejected - ref_rejected
    loss = -log sigmoid(beta * chosen_ratio - delta)
           - log sigmoid(delta - beta * rejected_ratio)

    Args:
      chosen, rejected: log-prob of the answer under the policy, summed over its tokens,
        in nats.
      ref_chosen, ref_rejected: the same sums under the reference; no gradient.
      beta: weight of the KL constraint, above 0.
      delta: reward shift, the running mean of the rewards beta * ratio over chosen and
        rejected answers; no gradient.

    Returns:
      One term per pair, in nats.

    Reference: Jung et al. 2024, arXiv:2404.04656, section 4.

    >>> round(float(bco(0.0, 0.0, 0.0, 0.0, beta=0.1)), 4)  # 2 * log 2
    1.3863
    """
    ref_chosen, ref_rejected = jax.lax.stop_gradient((ref_chosen, ref_rejected))
    delta = jax.lax.stop_gradient(delta)
    chosen_ratio, rejected_ratio = chosen - ref_chosen, rejected - ref_rejected
    chosen_term = -jax.nn.log_sigmoid(beta * chosen_ratio - delta)
    rejected_term = -jax.nn.log_sigmoid(delta - beta * rejected_ratio)
    return chosen_term + rejected_term


@typed
def apo_zero(
    chosen: Float[Array, "*B"],
    rejected: Float[Array, "*B"],
    ref_chosen: Float[Array, "*B"],
    ref_rejected: Float[Array, "*B"],
    *,
    beta: Scalar,
) -> Float[Array, "*B"]:
    """Anchored preference optimization (APO-zero): chosen up, rejected down.

    chosen_ratio, rejected_ratio = chosen - ref_chosen, rejected - ref_rejected
    loss = 1 - sigmoid(beta * chosen_ratio) + sigmoid(beta * rejected_ratio)

    For chosen answers that are better than the model's own.

    Args:
      chosen, rejected, ref_chosen, ref_rejected: sums of log-probs, as of `bco`.
      beta: weight of the KL constraint, above 0.

    Returns:
      One term per pair, in (0, 2).

    Reference: D'Oosterlinck et al. 2024, arXiv:2408.06266, eq. 7.

    >>> float(apo_zero(0.0, 0.0, 0.0, 0.0, beta=0.1))
    1.0
    """
    ref_chosen, ref_rejected = jax.lax.stop_gradient((ref_chosen, ref_rejected))
    chosen_ratio, rejected_ratio = chosen - ref_chosen, rejected - ref_rejected
    chosen_term = jax.nn.sigmoid(-beta * chosen_ratio)
    return chosen_term + jax.nn.sigmoid(beta * rejected_ratio)


@typed
def apo_down(
    chosen: Float[Array, "*B"],
    rejected: Float[Array, "*B"],
    ref_chosen: Float[Array, "*B"],
    ref_rejected: Float[Array, "*B"],
    *,
    beta: Scalar,
) -> Float[Array, "*B"]:
    """Anchored preference optimization (APO-down): both down, rejected further.

    chosen_ratio, rejected_ratio = chosen - ref_chosen, rejected - ref_rejected
    loss = sigmoid(beta * chosen_ratio)
           + 1 - sigmoid(beta * (chosen_ratio - rejected_ratio))

    For chosen answers that are worse than the model's own.

    Args:
      chosen, rejected, ref_chosen, ref_rejected: sums of log-probs, as of `bco`.
      beta: weight of the KL constraint, above 0.

    Returns:
      One term per pair, in (0, 2).

    Reference: D'Oosterlinck et al. 2024, arXiv:2408.06266, eq. 8.

    >>> float(apo_down(0.0, 0.0, 0.0, 0.0, beta=0.1))
    1.0
    """
    ref_chosen, ref_rejected = jax.lax.stop_gradient((ref_chosen, ref_rejected))
    chosen_ratio, rejected_ratio = chosen - ref_chosen, rejected - ref_rejected
    anchor = jax.nn.sigmoid(beta * chosen_ratio)
    return anchor + jax.nn.sigmoid(-beta * (chosen_ratio - rejected_ratio))


@typed
def sppo(
    chosen: Float[Array, "*B"],
    rejected: Float[Array, "*B"],
    ref_chosen: Float[Array, "*B"],
    ref_rejected: Float[Array, "*B"],
    *,
    beta: Scalar,
) -> Float[Array, "*B"]:
    """Self-play preference optimization (SPPO) with hard labels.

    chosen_ratio, rejected_ratio = chosen - ref_chosen, rejected - ref_rejected
    loss = (chosen_ratio - 1 / (2 * beta))^2 + (rejected_ratio + 1 / (2 * beta))^2

    Args:
      chosen, rejected, ref_chosen, ref_rejected: sums of log-probs, as of `bco`.
      beta: 1 / eta of the paper, above 0; the paper's target eta * (P(answer wins) -
        1/2), with P of 1 for the chosen answer and 0 for the rejected one.

    Returns:
      One term per pair, in squared nats.

    Reference: Wu et al. 2024, arXiv:2405.00675, eq. 4.7.

    >>> float(sppo(0.0, 0.0, 0.0, 0.0, beta=0.5))
    2.0
    """
    ref_chosen, ref_rejected = jax.lax.stop_gradient((ref_chosen, ref_rejected))
    chosen_ratio, rejected_ratio = chosen - ref_chosen, rejected - ref_rejected
    target = 1.0 / (2.0 * beta)
    return jnp.square(chosen_ratio - target) + jnp.square(rejected_ratio + target)


@typed
def nca(
    chosen: Float[Array, "*B"],
    rejected: Float[Array, "*B"],
    ref_chosen: Float[Array, "*B"],
    ref_rejected: Float[Array, "*B"],
    *,
    beta: Scalar,
) -> Float[Array, "*B"]:
    """Noise contrastive alignment (NCA) of a pair.

    chosen_ratio, rejected_ratio = chosen - ref_chosen, rejected - ref_rejected
    loss = -log sigmoid(beta * chosen_ratio)
           - log sigmoid(-beta * chosen_ratio) / 2
           - log sigmoid(-beta * rejected_ratio) / 2

    Args:
      chosen, rejected, ref_chosen, ref_rejected: sums of log-probs, as of `bco`.
      beta: weight of the KL constraint, above 0.

    Returns:
      One term per pair, in nats.

    Reference: Chen et al. 2024, arXiv:2402.05369, section 4.1, for two answers.

    >>> round(float(nca(0.0, 0.0, 0.0, 0.0, beta=0.1)), 4)  # 2 * log 2
    1.3863
    """
    ref_chosen, ref_rejected = jax.lax.stop_gradient((ref_chosen, ref_rejected))
    chosen_ratio, rejected_ratio = chosen - ref_chosen, rejected - ref_rejected
    chosen_term = -jax.nn.log_sigmoid(beta * chosen_ratio)
    chosen_as_noise = -jax.nn.log_sigmoid(-beta * chosen_ratio)
    rejected_as_noise = -jax.nn.log_sigmoid(-beta * rejected_ratio)
    return chosen_term + 0.5 * chosen_as_noise + 0.5 * rejected_as_noise
