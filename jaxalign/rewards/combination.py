"""Combination of several rewards into one: scores of M models -> rewards.

function                 paper                            reward
-----------------------  -------------------------------  ------------------------------
weighted_sum                                              weighted sum
group_normalized_sum     Chang et al. 2025 (BLEUBERI)     weighted sum of z-scores
piecewise_safety         Touvron et al. 2023 (Llama 2)    safety or helpfulness
ensemble_mean                                             mean
ensemble_minimum         Coste et al. 2023 (WCO)          worst case
variance_penalized_mean  Coste et al. 2023 (UWO)          mean less a variance penalty
"""

from collections.abc import Callable

import jax.numpy as jnp

from jaxalign.rewards.safety_gate import either_gate, whiten_batch
from jaxalign.types import Array, Bool, Float, Scalar, typed


@typed
def weighted_sum(
    scores: Float[Array, "M *S"], weights: Float[Array, "M"]
) -> Float[Array, "*S"]:
    """Weighted sum of rewards.

    reward = sum over m of weights_m * scores_m

    Args:
      scores: scores of M models.
      weights: one weight per model.

    Returns:
      One reward per answer.

    >>> weighted_sum([[1.0, 2.0], [4.0, 0.0]], [1.0, 0.5]).tolist()
    [3.0, 2.0]
    """
    return jnp.tensordot(weights, scores, axes=1)


@typed
def group_normalized_sum(
    scores: Float[Array, "M P N"], weights: Float[Array, "M"], *, eps: Scalar = 1e-6
) -> Float[Array, "P N"]:
    """Weighted sum of rewards normalized within the answers to a prompt.

    reward = sum over m of weights_m * (scores_m - mean of the group) / (std + eps)

    So no reward dominates by its scale alone. The deviation is the population's.

    Args:
      scores: scores of M models for N answers to each of P prompts; a batch given as
        the answers to one prompt is normalized as a whole.
      weights: one weight per model; 1 / M for the mean.
      eps: added to the deviation, at least 0.

    Returns:
      One reward per answer; a model with equal scores within a group contributes 0.

    Reference: Chang et al. 2025, arXiv:2505.11080 (BLEUBERI: BLEU with a reward model).

    >>> scores = [[[1.0, 3.0]], [[9.0, 5.0]]]
    >>> group_normalized_sum(scores, [1.0, 0.5], eps=0).tolist()
    [[-0.5, 0.5]]
    """
    centered = scores - jnp.mean(scores, axis=-1, keepdims=True)
    variance = jnp.mean(jnp.square(centered), axis=-1, keepdims=True)
    differ = variance > 0.0
    std = jnp.where(differ, jnp.sqrt(jnp.where(differ, variance, 1.0)), 1.0)
    return weighted_sum(centered / (std + eps), weights)


@typed
def piecewise_safety(
    helpfulness: Float[Array, "*B"],
    safety: Float[Array, "*B"],
    is_safety_prompt: Bool[Array, "*B"],
    *,
    threshold: Scalar = 0.15,
    gate: Callable[..., Array] = either_gate,
    whitening: Callable[..., Array] = whiten_batch,
) -> Float[Array, "*B"]:
    """Llama 2's piecewise reward: safety where it matters, else helpfulness.

    combined = safety         if is_safety_prompt or sigmoid(safety) < threshold
             = helpfulness    if not
    reward = whiten(combined)    over the batch

    The paper combines probabilities and then takes their logit; the scores of both
    models before the sigmoid are that logit.

    Args:
      helpfulness, safety: raw scores of the two models, not probabilities.
      is_safety_prompt: True for prompts tagged as likely to elicit unsafe answers.
      threshold: probability of a safe answer below which safety decides, in [0, 1].
      gate: (safety, is_safety_prompt, threshold=) -> where safety decides, bool, such
        as `safety_gate.both_gate`.
      whitening: (combined, where safety decides) -> rewards, such as
        `safety_gate.whiten_branches`.

    Returns:
      One whitened reward per answer.

    Reference: Touvron et al. 2023, arXiv:2307.09288, section 3.2.3.

    >>> zero = jnp.zeros(2)
    >>> piecewise_safety(zero + 1, jnp.array([-3.0, 3.0]), zero > 0).tolist()
    [-1.0, 1.0]
    """
    by_safety = gate(safety, is_safety_prompt, threshold=threshold)
    combined = jnp.where(by_safety, safety, helpfulness)
    return whitening(combined, by_safety)


@typed
def ensemble_mean(scores: Float[Array, "M *B"]) -> Float[Array, "*B"]:
    """Mean of an ensemble of reward models.

    reward = mean over m of scores_m

    >>> ensemble_mean(jnp.array([[1.0, 2.0], [3.0, 0.0]])).tolist()
    [2.0, 1.0]
    """
    return jnp.mean(scores, axis=0)


@typed
def ensemble_minimum(scores: Float[Array, "M *B"]) -> Float[Array, "*B"]:
    """Worst case of an ensemble: the lowest score of any model.

    reward = min over m of scores_m

    Reference: Coste et al. 2023, arXiv:2310.02743 (worst-case optimisation).

    >>> ensemble_minimum(jnp.array([[1.0, 2.0], [3.0, 0.0]])).tolist()
    [1.0, 0.0]
    """
    return jnp.min(scores, axis=0)


@typed
def variance_penalized_mean(
    scores: Float[Array, "M *B"], *, coefficient: Scalar
) -> Float[Array, "*B"]:
    """Mean of an ensemble less a penalty on its variance.

    reward = mean over m of scores_m - coefficient * variance over m of scores_m

    Args:
      scores: scores of M models.
      coefficient: weight of the variance, at least 0. The variance is the population's.

    Reference: Coste et al. 2023, arXiv:2310.02743 (uncertainty-weighted optimisation).

    >>> scores = jnp.array([[1.0, 2.0], [3.0, 0.0]])
    >>> variance_penalized_mean(scores, coefficient=0.5).tolist()
    [1.5, 0.5]
    """
    return jnp.mean(scores, axis=0) - coefficient * jnp.var(scores, axis=0)
