"""Token-level preference losses and per-answer quantities for DPO.

function     paper                      result
-----------  -------------------------  ------------------------------------------------
tdpo2        Zeng et al. 2024 (TDPO2)   loss of log-ratios and sequential KLs
tdpo1        Zeng et al. 2024 (TDPO1)   the same with a gradient through all KLs
ld_dpo_logp  Liu et al. 2024 (LD-DPO)   log-prob with a discounted tail, for `dpo`
wpo_weight   Zhou et al. 2024 (WPO)     weight of an answer; multiplies a pair's loss

Log-probs and KLs are in nats. Answers have leading axes [*B], their tokens [*B T].
"""

import jax
import jax.numpy as jnp

from jaxalign.estimators.kl import LARGEST_LOG_RATIO
from jaxalign.types import Array, Bool, Float, Int, Scalar, typed


@typed
def tdpo2(
    chosen_ratio: Float[Array, "*B"],
    rejected_ratio: Float[Array, "*B"],
    chosen_kl: Float[Array, "*B"],
    rejected_kl: Float[Array, "*B"],
    *,
    beta: Scalar,
    alpha: Scalar,
) -> Float[Array, "*B"]:
    """Token-level DPO, second version (TDPO2).

    kl_difference = rejected_kl - stop_gradient(chosen_kl)
    logratio_margin = chosen_ratio - rejected_ratio
    loss = -log sigmoid(beta * [logratio_margin - alpha * kl_difference])

    Args:
      chosen_ratio, rejected_ratio: log-prob of the answer under the policy minus that
        under the reference, summed over its tokens, in nats.
      chosen_kl, rejected_kl: KL(reference || policy) of the next token, summed over the
        answer's positions, in nats: `exact_kl(ref_logits, logits)`, in this order.
      beta: weight of the KL constraint, above 0.
      alpha: weight of the sequential KLs, at least 0.

    The caller stops the gradient of the reference in all four.

    Returns:
      One term per pair, in nats.

    Reference: Zeng et al. 2024, arXiv:2404.11999, TDPO2; the stop-gradient as in its
    authors' code.

    >>> round(float(tdpo2(0.0, 0.0, 3.0, 1.0, beta=1.0, alpha=0.5)), 4)
    0.3133
    """
    kl_difference = rejected_kl - jax.lax.stop_gradient(chosen_kl)
    logratio_margin = chosen_ratio - rejected_ratio
    return -jax.nn.log_sigmoid(beta * (logratio_margin - alpha * kl_difference))


@typed
def tdpo1(
    chosen_ratio: Float[Array, "*B"],
    rejected_ratio: Float[Array, "*B"],
    chosen_kl: Float[Array, "*B"],
    rejected_kl: Float[Array, "*B"],
    *,
    beta: Scalar,
) -> Float[Array, "*B"]:
    """Token-level DPO, first version (TDPO1).

    kl_difference = rejected_kl - chosen_kl
    logratio_margin = chosen_ratio - rejected_ratio
    loss = -log sigmoid(beta * [logratio_margin - kl_difference])

    Args:
      chosen_ratio, rejected_ratio, chosen_kl, rejected_kl: sums over the answer, as of
        `tdpo2`. Both KLs have a gradient here, which lets the chosen answer's KL grow.
      beta: weight of the KL constraint, above 0.

    Returns:
      One term per pair, in nats.

    Reference: Zeng et al. 2024, arXiv:2404.11999, TDPO1.

    >>> round(float(tdpo1(1.0, 0.0, 2.0, 2.0, beta=1.0)), 4)  # -log sigmoid(1)
    0.3133
    """
    kl_difference = rejected_kl - chosen_kl
    logratio_margin = chosen_ratio - rejected_ratio
    return -jax.nn.log_sigmoid(beta * (logratio_margin - kl_difference))


@typed
def ld_dpo_logp(
    logp: Float[Array, "*B T"],
    mask: Bool[Array, "*B T"],
    shared_length: Int[Array, "*B"],
    *,
    alpha: Scalar,
) -> Float[Array, "*B"]:
    """Log-prob of an answer with a discounted tail, for LD-DPO.

    shared = number of tokens up to and with this one <= shared_length
    ld_dpo_logp = sum over tokens of (logp if shared else alpha * logp)

    Use: with shared_length = min(chosen's number of tokens, rejected's), the arguments
    of `dpo` are these sums of both answers, under policy and reference alike.

    Args:
      logp: log-prob of each token, in nats.
      mask: True on the answer's tokens; the others do not count.
      shared_length: tokens before the tail, at least 0.
      alpha: weight of the tail, in [0, 1]: 1 is the plain sum, 0 cuts the longer answer
        to the shorter one's length.

    Returns:
      One log-prob per answer, in nats.

    Reference: Liu et al. 2024, arXiv:2409.06411.

    >>> float(ld_dpo_logp([-1.0, -1.0, -1.0], [True] * 3, 2, alpha=0.5))
    -2.5
    """
    shared = jnp.cumsum(mask, axis=-1) <= shared_length[..., None]
    weighted = jnp.where(shared, logp, alpha * logp)
    return jnp.sum(jnp.where(mask, weighted, 0.0), axis=-1)


@typed
def wpo_weight(
    logp: Float[Array, "*B T"],
    log_sum_square: Float[Array, "*B T"],
    mask: Bool[Array, "*B T"],
) -> Float[Array, "*B"]:
    """WPO's weight of an answer: how close it is to the policy's own samples.

    weight = exp(mean over tokens of (logp - log_sum_square))

    A pair's loss is multiplied by the weights of both answers.

    Args:
      logp: log-prob of each token under the policy, in nats.
      log_sum_square: log of the sum over the vocabulary of squared probabilities, at
        each token, under the policy: log of the mean probability of its own samples.
      mask: True on the answer's tokens.

    Returns:
      One weight per answer, without gradient: the mean is clamped to [-20, 20], and an
      answer without tokens has weight 1.

    Reference: Zhou et al. 2024, arXiv:2406.11827, eq. 2.

    >>> uniform = jnp.full(3, -jnp.log(8.0))
    >>> float(wpo_weight(uniform, uniform, [True] * 3))
    1.0
    """
    logp, log_sum_square = jax.lax.stop_gradient((logp, log_sum_square))
    log_ratio = jnp.where(mask, logp - log_sum_square, 0.0)
    mean = jnp.sum(log_ratio, axis=-1) / jnp.maximum(jnp.sum(mask, axis=-1), 1)
    return jnp.exp(jnp.clip(mean, -LARGEST_LOG_RATIO, LARGEST_LOG_RATIO))
