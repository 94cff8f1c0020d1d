"""Preference losses, and pieces of them, that look at the tokens of an answer."""

import jax
import jax.numpy as jnp

from jaxalign.estimators.kl import LARGEST_LOG_RATIO
from jaxalign.losses.preference import dpo
from jaxalign.types import Array, Bool, Float, Int, Scalar, typed


@typed
def tdpo2(
    chosen_ratio: Float[Array, "B"],
    rejected_ratio: Float[Array, "B"],
    chosen_kl: Float[Array, "B"],
    rejected_kl: Float[Array, "B"],
    *,
    beta: Scalar,
    alpha: Scalar,
) -> Float[Array, "B"]:
    """Token-level DPO, second version (TDPO2), one term per pair.

    drift = rejected_kl - stop_gradient(chosen_kl)
    loss = -log sigmoid(beta * [(chosen_ratio - rejected_ratio) - alpha * drift])

    Args:
      chosen_ratio: log-prob of policy minus reference, summed over the answer's tokens.
      chosen_kl: KL(reference || policy) of the next token, summed over the answer's
        positions: `exact_kl(ref_logits, logits)`, in this order, where the mask keeps.

    Whoever makes these from a reference stops its gradient.

    Reference: Zeng et al. 2024, arXiv:2404.11999, TDPO2; the stop-gradient as in its
    authors' code.

    >>> import numpy as np
    >>> zero = np.zeros(1, np.float32)
    >>> loss = tdpo2(zero, zero, zero, zero, beta=0.1, alpha=0.5)
    >>> bool(np.isclose(loss, np.log(2.0))[0])
    True
    """
    drift = rejected_kl - jax.lax.stop_gradient(chosen_kl)
    margin = chosen_ratio - rejected_ratio
    return -jax.nn.log_sigmoid(beta * (margin - alpha * drift))


@typed
def tdpo1(
    chosen_ratio: Float[Array, "B"],
    rejected_ratio: Float[Array, "B"],
    chosen_kl: Float[Array, "B"],
    rejected_kl: Float[Array, "B"],
    *,
    beta: Scalar,
) -> Float[Array, "B"]:
    """Token-level DPO, first version (TDPO1), one term per pair.

    drift = rejected_kl - chosen_kl
    loss = -log sigmoid(beta * [(chosen_ratio - rejected_ratio) - drift])

    Args:
      chosen_ratio, chosen_kl: as for `tdpo2`; here both KLs get a gradient, which
        lets that of the chosen answer grow.

    Reference: Zeng et al. 2024, arXiv:2404.11999, TDPO1.

    >>> import numpy as np
    >>> zero = np.zeros(1, np.float32)
    >>> loss = tdpo1(zero, zero, zero, zero, beta=0.1)
    >>> bool(np.isclose(loss, np.log(2.0))[0])
    True
    """
    drift = rejected_kl - chosen_kl
    margin = chosen_ratio - rejected_ratio
    return -jax.nn.log_sigmoid(beta * (margin - drift))


@typed
def ld_dpo_logp(
    logp: Float[Array, "B T"],
    mask: Bool[Array, "B T"],
    shared_length: Int[Array, "B"],
    *,
    alpha: Scalar,
) -> Float[Array, "B"]:
    """The log-prob of an answer whose tail counts less, for LD-DPO.

    shared = number of tokens up to and with this one <= shared_length
    ld_logp = sum over tokens of (logp if shared else alpha * logp)

    Use: with shared_length = min(chosen's number of tokens, rejected's), the arguments
    of `dpo` are these of both answers, under policy and reference alike.

    Args:
      mask: the answer's tokens; others neither count nor are counted.
      alpha: 1 is the plain sum, 0 cuts the longer answer to the shorter one's length.

    Reference: Liu et al. 2024, arXiv:2409.06411.

    >>> logp, mask = -jnp.ones((1, 3)), jnp.ones((1, 3), bool)
    >>> ld_dpo_logp(logp, mask, jnp.array([2]), alpha=0.5).tolist()
    [-2.5]
    """
    shared = jnp.cumsum(mask, axis=1) <= shared_length[:, None]
    weighted = jnp.where(shared, logp, alpha * logp)
    return jnp.sum(jnp.where(mask, weighted, 0.0), axis=1)


@typed
def wpo_weight(
    logp: Float[Array, "B T"],
    log_sum_square: Float[Array, "B T"],
    mask: Bool[Array, "B T"],
) -> Float[Array, "B"]:
    """How much an answer looks like the policy's own, WPO's weight; gets no gradient.

    weight = exp(mean over tokens of (logp - log_sum_square))

    A pair's loss is multiplied by the weights of both of its answers.

    Args:
      log_sum_square: log of the sum over the vocabulary of squared probabilities, at
        each token, under the policy: log of the mean probability of its own samples.

    The mean is kept within +-20; an answer without tokens weighs 1.

    Reference: Zhou et al. 2024, arXiv:2406.11827, eq. 2.

    >>> uniform, mask = jnp.full((1, 3), -jnp.log(8.0)), jnp.ones((1, 3), bool)
    >>> wpo_weight(uniform, uniform, mask).tolist()
    [1.0]
    """
    logp, log_sum_square = jax.lax.stop_gradient((logp, log_sum_square))
    surprise = jnp.where(mask, logp - log_sum_square, 0.0)
    mean = jnp.sum(surprise, axis=1) / jnp.maximum(jnp.sum(mask, axis=1), 1)
    return jnp.exp(jnp.clip(mean, -LARGEST_LOG_RATIO, LARGEST_LOG_RATIO))


@typed
def rpo(
    chosen: Float[Array, "B"],
    rejected: Float[Array, "B"],
    ref_chosen: Float[Array, "B"],
    ref_rejected: Float[Array, "B"],
    chosen_length: Float[Array, "B"],
    *,
    beta: Scalar,
    alpha: Scalar,
) -> Float[Array, "B"]:
    """DPO plus the NLL per token of the chosen answer (RPO), one term per pair.

    margin = (chosen - ref_chosen) - (rejected - ref_rejected)
    loss = -log sigmoid(beta * margin) - alpha * chosen / chosen_length

    Args:
      chosen_length: the number of tokens summed in `chosen`.
      alpha: Llama 3 takes 0.2.

    Llama 3 also keeps formatting tokens (headers, end of turn), which both answers
    share, out of the loss: make all four sums, and the length, with a mask that is
    False there.

    Reference: Pang et al. 2024, arXiv:2404.19733; Dubey et al. 2024, arXiv:2407.21783,
    section 4.1.4 (formatting tokens).

    >>> import numpy as np
    >>> zero, one = np.zeros(1, np.float32), np.ones(1, np.float32)
    >>> loss = rpo(-one, zero, -one, zero, 2 * one, beta=0.1, alpha=1.0)
    >>> bool(np.isclose(loss, np.log(2.0) + 0.5)[0])
    True
    """
    # dpo gives the reference no gradient
    preference = dpo(chosen, rejected, ref_chosen, ref_rejected, beta=beta)
    return preference - alpha * chosen / jnp.maximum(chosen_length, 1.0)
