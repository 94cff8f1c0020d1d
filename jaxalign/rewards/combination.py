"""Several rewards as one: scores of M models -> rewards."""

import jax
import jax.numpy as jnp

from jaxalign.masks import whiten
from jaxalign.types import Array, Bool, Float, Scalar, typed


@typed
def weighted_sum(
    scores: Float[Array, "M *S"], weights: Float[Array, "M"]
) -> Float[Array, "*S"]:
    """The weighted sum of rewards.

    reward = sum over m of weights_m * scores_m

    >>> weighted_sum(jnp.array([[1.0, 2.0], [4.0, 0.0]]), jnp.array([1.0, 0.5])).tolist()
    [3.0, 2.0]
    """
    return jnp.tensordot(weights, scores, axes=1)


@typed
def group_normalized_sum(
    scores: Float[Array, "M P N"], weights: Float[Array, "M"], *, eps: Scalar = 1e-6
) -> Float[Array, "P N"]:
    """The weighted sum of rewards that are normalised among the answers to a prompt.

    reward = sum over m of weights_m * (scores_m - mean of the group) / (std + eps)

    So none decides by its scale alone. The deviation is the population's. To normalise
    over a whole batch, give it as the answers to one prompt.

    Args:
      weights: 1 / M for the mean.

    Reference: Chang et al. 2025, arXiv:2505.11080 (BLEUBERI: BLEU with a reward model).

    >>> group_normalized_sum(jnp.array([[[1.0, 3.0]], [[9.0, 5.0]]]), jnp.array([1.0, 0.5]), eps=0)
    Array([[-0.5,  0.5]], dtype=float32)
    """
    centred = scores - jnp.mean(scores, axis=-1, keepdims=True)
    variance = jnp.mean(jnp.square(centred), axis=-1, keepdims=True)
    differ = variance > 0.0
    std = jnp.where(differ, jnp.sqrt(jnp.where(differ, variance, 1.0)), 1.0)
    return weighted_sum(centred / (std + eps), weights)


@typed
def piecewise_safety(
    helpfulness: Float[Array, "B"],
    safety: Float[Array, "B"],
    is_safety_prompt: Bool[Array, "B"],
    *,
    threshold: Scalar = 0.15,
) -> Float[Array, "B"]:
    """Llama 2's reward: of safety where it matters, of helpfulness elsewhere.

    combined = safety         if tagged or sigmoid(safety) < threshold
             = helpfulness    if not
    reward = whiten(combined)    over the batch

    The paper combines probabilities and then takes their logit; the scores of both
    models before the sigmoid are that logit.

    Args:
      helpfulness, safety: scores as the models give them, not probabilities.
      is_safety_prompt: prompts that might draw an unsafe answer.

    Reference: Touvron et al. 2023, arXiv:2307.09288, section 3.2.3.

    >>> zero = jnp.zeros(2)
    >>> piecewise_safety(zero + 1, jnp.array([-3.0, 3.0]), zero > 0).tolist()
    [-1.0, 1.0]
    """
    matters = is_safety_prompt | (jax.nn.sigmoid(safety) < threshold)
    combined = jnp.where(matters, safety, helpfulness)
    return whiten(combined, jnp.ones_like(combined, bool))


@typed
def ensemble_mean(scores: Float[Array, "M B"]) -> Float[Array, "B"]:
    """The mean of an ensemble of reward models.

    >>> ensemble_mean(jnp.array([[1.0, 2.0], [3.0, 0.0]])).tolist()
    [2.0, 1.0]
    """
    return jnp.mean(scores, axis=0)


@typed
def ensemble_minimum(scores: Float[Array, "M B"]) -> Float[Array, "B"]:
    """The worst case: the reward of the model that likes an answer least.

    Reference: Coste et al. 2023, arXiv:2310.02743 (worst-case optimisation).

    >>> ensemble_minimum(jnp.array([[1.0, 2.0], [3.0, 0.0]])).tolist()
    [1.0, 0.0]
    """
    return jnp.min(scores, axis=0)


@typed
def variance_penalized_mean(
    scores: Float[Array, "M B"], *, coefficient: Scalar
) -> Float[Array, "B"]:
    """The mean of an ensemble less what its models disagree.

    reward = mean over m of scores_m - coefficient * variance over m of scores_m

    The variance is the population's.

    Reference: Coste et al. 2023, arXiv:2310.02743 (uncertainty-weighted optimisation).

    >>> scores = jnp.array([[1.0, 2.0], [3.0, 0.0]])
    >>> variance_penalized_mean(scores, coefficient=0.5).tolist()
    [1.5, 0.5]
    """
    return jnp.mean(scores, axis=0) - coefficient * jnp.var(scores, axis=0)
