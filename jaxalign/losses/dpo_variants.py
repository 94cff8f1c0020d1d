"""Variants of DPO: label noise, length, the likelihood of the chosen answer.

loss                   paper                           besides DPO's arguments
---------------------  ------------------------------  ----------------------------
robust_dpo             Chowdhury et al. 2024 (rDPO)    flip_rate
rpo                    Pang et al. 2024 (RPO)          chosen_length, alpha
dpop                   Pal et al. 2024 (DPO-Positive)  lam
r_dpo                  Park et al. 2024 (R-DPO)        lengths of both answers, alpha
length_normalized_dpo  Lambert et al. 2024 (Tulu 3)    means in the place of sums
exo                    Ji et al. 2024 (EXO)            label_smoothing above 0
discopop               Lu et al. 2024 (DiscoPOP)       temperature

Sums and means are those of an answer's token log-probs, in nats. The reference gets no
gradient. Every loss returns one term per pair and takes arrays of any one shape [*B].
"""

import jax
import jax.numpy as jnp

from jaxalign.estimators.kl import LARGEST_LOG_RATIO
from jaxalign.losses.preference import dpo
from jaxalign.types import Array, Float, Scalar, typed


@typed
def robust_dpo(
    chosen: Float[Array, "*B"],
    rejected: Float[Array, "*B"],
    ref_chosen: Float[Array, "*B"],
    ref_rejected: Float[Array, "*B"],
    *,
    beta: Scalar,
    flip_rate: Scalar,
) -> Float[Array, "*B"]:
    """Unbiased DPO under random label flips (robust DPO, rDPO).

    logratio_margin = (chosen - ref_chosen) - (rejected - ref_rejected)
    loss = [-(1 - e) * log sigmoid(beta * logratio_margin)
            + e * log sigmoid(-beta * logratio_margin)] / (1 - 2 * e)

    Its mean over pairs flipped at rate e is DPO's over the true labels.

    Args:
      chosen, rejected, ref_chosen, ref_rejected: sums of log-probs, as of `dpo`.
      beta: weight of the KL constraint, above 0.
      flip_rate: e, the share of wrong labels, in [0, 1/2); 0 is DPO itself.

    Returns:
      One term per pair, in nats; it may be negative.

    Reference: Chowdhury et al. 2024, arXiv:2403.00409, section 3.1.

    >>> round(float(robust_dpo(0.0, 0.0, 0.0, 0.0, beta=0.1, flip_rate=0.2)), 4)
    0.6931
    """
    ref_chosen, ref_rejected = jax.lax.stop_gradient((ref_chosen, ref_rejected))
    logratio_margin = (chosen - ref_chosen) - (rejected - ref_rejected)
    as_labeled = -jax.nn.log_sigmoid(beta * logratio_margin)
    flipped = -jax.nn.log_sigmoid(-beta * logratio_margin)
    numerator = (1.0 - flip_rate) * as_labeled - flip_rate * flipped
    return numerator / (1.0 - 2.0 * flip_rate)


@typed
def rpo(
    chosen: Float[Array, "*B"],
    rejected: Float[Array, "*B"],
    ref_chosen: Float[Array, "*B"],
    ref_rejected: Float[Array, "*B"],
    chosen_length: Float[Array, "*B"],
    *,
    beta: Scalar,
    alpha: Scalar,
) -> Float[Array, "*B"]:
    """DPO plus the per-token NLL of the chosen answer (RPO).

    logratio_margin = (chosen - ref_chosen) - (rejected - ref_rejected)
    loss = -log sigmoid(beta * logratio_margin) - alpha * chosen / chosen_length

    Args:
      chosen, rejected, ref_chosen, ref_rejected: sums of log-probs, as of `dpo`.
      chosen_length: number of tokens summed in `chosen`; less than 1 counts as 1.
      beta: weight of the KL constraint, above 0.
      alpha: weight of the NLL, at least 0 (1 in the paper, 0.2 in Llama 3).

    Llama 3 also excludes formatting tokens (headers, end of turn), which both answers
    share: compute all four sums, and the length, with a mask that is False there.

    Returns:
      One term per pair, in nats.

    Reference: Pang et al. 2024, arXiv:2404.19733; Dubey et al. 2024, arXiv:2407.21783,
    section 4.1.4 (formatting tokens).

    >>> loss = rpo(-1.0, 0.0, -1.0, 0.0, 2.0, beta=0.1, alpha=1.0)
    >>> round(float(loss), 4)  # log 2 + 1 / 2
    1.1931
    """
    # dpo stops the reference's gradient
    preference = dpo(chosen, rejected, ref_chosen, ref_rejected, beta=beta)
    return preference - alpha * chosen / jnp.maximum(chosen_length, 1.0)


@typed
def dpop(
    chosen: Float[Array, "*B"],
    rejected: Float[Array, "*B"],
    ref_chosen: Float[Array, "*B"],
    ref_rejected: Float[Array, "*B"],
    *,
    beta: Scalar,
    lam: Scalar,
) -> Float[Array, "*B"]:
    """DPO-Positive (DPOP): a penalty where the chosen answer becomes less likely.

    logratio_margin = (chosen - ref_chosen) - (rejected - ref_rejected)
    loss = -log sigmoid(beta * [logratio_margin - lam * max(0, ref_chosen - chosen)])

    Args:
      chosen, rejected, ref_chosen, ref_rejected: sums of log-probs, as of `dpo`.
      beta: weight of the KL constraint, above 0.
      lam: weight of the penalty, at least 0; 0 is DPO itself.

    Returns:
      One term per pair, in nats.

    Reference: Pal et al. 2024, arXiv:2402.13228, section 4, eq. 3.

    >>> round(float(dpop(-2.0, -4.0, -1.0, -2.0, beta=1.0, lam=1.0)), 4)
    0.6931
    """
    ref_chosen, ref_rejected = jax.lax.stop_gradient((ref_chosen, ref_rejected))
    logratio_margin = (chosen - ref_chosen) - (rejected - ref_rejected)
    penalty = lam * jax.nn.relu(ref_chosen - chosen)
    return -jax.nn.log_sigmoid(beta * (logratio_margin - penalty))


@typed
def r_dpo(
    chosen: Float[Array, "*B"],
    rejected: Float[Array, "*B"],
    ref_chosen: Float[Array, "*B"],
    ref_rejected: Float[Array, "*B"],
    chosen_length: Float[Array, "*B"],
    rejected_length: Float[Array, "*B"],
    *,
    beta: Scalar,
    alpha: Scalar,
) -> Float[Array, "*B"]:
    """Length-regularized DPO (R-DPO): DPO for a reward less alpha per token.

    logratio_margin = (chosen - ref_chosen) - (rejected - ref_rejected)
    loss = -log sigmoid(beta * logratio_margin
                        + alpha * (chosen_length - rejected_length))

    The sign is derived: the best policy for reward - alpha * length is
    ref * exp((reward - alpha * length) / beta) / Z, so reward = beta * log(policy /
    ref) + alpha * length + beta * log Z: the policy need not fit what length explains.

    Args:
      chosen, rejected, ref_chosen, ref_rejected: sums of log-probs, as of `dpo`.
      chosen_length, rejected_length: number of tokens of the answer.
      beta: weight of the KL constraint, above 0.
      alpha: price of a token, in units of reward, at least 0; 0 is DPO itself.

    Returns:
      One term per pair, in nats.

    Reference: Park et al. 2024, arXiv:2403.19159.

    >>> round(float(r_dpo(0.0, 0.0, 0.0, 0.0, 20.0, 10.0, beta=0.1, alpha=0.1)), 4)
    0.3133
    """
    ref_chosen, ref_rejected = jax.lax.stop_gradient((ref_chosen, ref_rejected))
    logratio_margin = (chosen - ref_chosen) - (rejected - ref_rejected)
    extra_length = chosen_length - rejected_length
    return -jax.nn.log_sigmoid(beta * logratio_margin + alpha * extra_length)


@typed
def length_normalized_dpo(
    chosen_mean: Float[Array, "*B"],
    rejected_mean: Float[Array, "*B"],
    ref_chosen_mean: Float[Array, "*B"],
    ref_rejected_mean: Float[Array, "*B"],
    *,
    beta: Scalar,
) -> Float[Array, "*B"]:
    """DPO of log-probs per token (Tulu 3).

    logratio_margin = (chosen_mean - ref_chosen_mean)
                      - (rejected_mean - ref_rejected_mean)
    loss = -log sigmoid(beta * logratio_margin)

    Args:
      chosen_mean, rejected_mean: log-prob of the answer under the policy, the mean over
        its tokens, in nats per token.
      ref_chosen_mean, ref_rejected_mean: the same means under the reference; no
        gradient.
      beta: weight of the KL constraint, above 0; larger than DPO's, since means are
        smaller than sums (5 in Tulu 3).

    Returns:
      One term per pair, in nats.

    Reference: Lambert et al. 2024, arXiv:2411.15124, length-normalized DPO.

    >>> round(float(length_normalized_dpo(-1.0, -1.5, -1.0, -1.3, beta=5.0)), 4)
    0.3133
    """
    # dpo stops the reference's gradient
    return dpo(
        chosen_mean, rejected_mean, ref_chosen_mean, ref_rejected_mean, beta=beta
    )


@typed
def exo(
    chosen: Float[Array, "*B"],
    rejected: Float[Array, "*B"],
    ref_chosen: Float[Array, "*B"],
    ref_rejected: Float[Array, "*B"],
    *,
    beta: Scalar,
    label_smoothing: Scalar,
) -> Float[Array, "*B"]:
    """Efficient exact optimization (EXO): KL(policy's preference || smoothed label).

    logratio_margin = (chosen - ref_chosen) - (rejected - ref_rejected)
    q = sigmoid(beta * logratio_margin)
    loss = q * [log q - log(1 - e)] + (1 - q) * [log(1 - q) - log e]

    Args:
      chosen, rejected, ref_chosen, ref_rejected: sums of log-probs, as of `dpo`.
      beta: weight of the KL constraint, above 0.
      label_smoothing: e, the share of wrong labels, in (0, 1/2]: the KL from a label
        without noise is infinite.

    Returns:
      One term per pair, in nats, at least 0.

    Reference: Ji et al. 2024, arXiv:2402.00856, eq. 16 (EXO-pref), for two answers.

    >>> float(exo(0.0, 0.0, 0.0, 0.0, beta=0.1, label_smoothing=0.5))
    0.0
    """
    ref_chosen, ref_rejected = jax.lax.stop_gradient((ref_chosen, ref_rejected))
    logratio_margin = (chosen - ref_chosen) - (rejected - ref_rejected)
    log_q = jax.nn.log_sigmoid(beta * logratio_margin)
    log_1mq = jax.nn.log_sigmoid(-beta * logratio_margin)
    as_labeled = log_q - jnp.log1p(-label_smoothing)
    flipped = log_1mq - jnp.log(label_smoothing)
    q = jax.nn.sigmoid(beta * logratio_margin)
    return q * as_labeled + jax.nn.sigmoid(-beta * logratio_margin) * flipped


@typed
def discopop(
    chosen: Float[Array, "*B"],
    rejected: Float[Array, "*B"],
    ref_chosen: Float[Array, "*B"],
    ref_rejected: Float[Array, "*B"],
    *,
    beta: Scalar,
    temperature: Scalar = 0.05,
) -> Float[Array, "*B"]:
    """DiscoPOP, a loss found by a language model: logistic below 0, exponential above.

    x = beta * [(chosen - ref_chosen) - (rejected - ref_rejected)]
    m = sigmoid(x / temperature)
    loss = (1 - m) * -log sigmoid(x) + m * exp(-x)

    m * exp(-x) is computed as one exponential, of log m - x: never above 0 up to
    temperature 1.

    Args:
      chosen, rejected, ref_chosen, ref_rejected: sums of log-probs, as of `dpo`.
      beta: weight of the KL constraint, above 0.
      temperature: tau, above 0: width of the change between the two parts.

    Returns:
      One term per pair.

    Reference: Lu et al. 2024, arXiv:2406.08414, eq. 5 (log-ratio modulated).

    >>> round(float(discopop(0.0, 0.0, 0.0, 0.0, beta=0.1)), 4)  # (log 2 + 1) / 2
    0.8466
    """
    ref_chosen, ref_rejected = jax.lax.stop_gradient((ref_chosen, ref_rejected))
    x = beta * ((chosen - ref_chosen) - (rejected - ref_rejected))
    logistic = jax.nn.sigmoid(-x / temperature) * -jax.nn.log_sigmoid(x)
    exponent = jax.nn.log_sigmoid(x / temperature) - x
    return logistic + jnp.exp(jnp.minimum(exponent, LARGEST_LOG_RATIO))
