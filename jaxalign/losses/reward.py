"""Losses of reward models: pairs, rankings and ratings explained by scalar scores.

loss                     paper                            data
-----------------------  -------------------------------  ----------------------------
bradley_terry            Bradley and Terry 1952           pairs, with a rating margin
soft_bradley_terry       Bai et al. 2022                  pairs with a label probability
confidence_bradley_terry Burns et al. 2023                the same, of a weaker model
plackett_luce            Plackett 1975, Luce 1959         rankings
all_pairs_bradley_terry  Ouyang et al. 2022               rankings
reward_centering         Eisenstein et al. 2023           pairs; a regularizer
reward_regression        Wang et al. 2024                 ratings
safety_classification    Touvron et al. 2023              safety labels

A score is the raw output of the reward model's head for one answer, a logit without
unit. Ties and predicted variances are in `comparison_models`.
"""

import jax
import jax.numpy as jnp

from jaxalign.types import Array, Bool, Float, Scalar, typed

# The margins of Llama 2 by how much better the chosen answer was rated:
# arXiv:2307.09288, section 3.2.2.
MARGINS_SMALL = {
    "significantly better": 1.0,
    "better": 2 / 3,
    "slightly better": 1 / 3,
    "negligibly better": 0.0,
    "unsure": 0.0,
}
MARGINS_LARGE = {
    "significantly better": 3.0,
    "better": 2.0,
    "slightly better": 1.0,
    "negligibly better": 0.0,
    "unsure": 0.0,
}


@typed
def bradley_terry(
    chosen: Float[Array, "*B"],
    rejected: Float[Array, "*B"],
    *,
    margin: Scalar | Float[Array, "*B"] = 0.0,
) -> Float[Array, "*B"]:
    """Negative log-likelihood of a preference under the Bradley-Terry model.

    loss = -log sigmoid(chosen - rejected - margin)

    Args:
      chosen, rejected: score of the answer.
      margin: rating margin, at least 0: how far apart the scores should be, one for all
        pairs or one per pair (Llama 2).

    Returns:
      One term per pair, in nats.

    Reference: Bradley and Terry 1952; Ouyang et al. 2022, arXiv:2203.02155, eq. 1;
    Touvron et al. 2023, arXiv:2307.09288, eq. 2 (margin).

    >>> round(float(bradley_terry(2.0, 1.0)), 4)  # -log sigmoid(1)
    0.3133
    """
    return -jax.nn.log_sigmoid(chosen - rejected - margin)


@typed
def soft_bradley_terry(
    chosen: Float[Array, "*B"],
    rejected: Float[Array, "*B"],
    label_prob: Scalar | Float[Array, "*B"],
    *,
    margin: Scalar | Float[Array, "*B"] = 0.0,
) -> Float[Array, "*B"]:
    """Bradley-Terry with a soft label.

    loss = -p * log sigmoid(chosen - rejected - margin)
           - (1 - p) * log sigmoid(rejected - chosen - margin)

    The mean of Bradley-Terry over labels that are correct with probability p. Label
    smoothing by e is p = 1 - e. Derived: the paper prints the labels, not the loss.

    Args:
      chosen, rejected: score of the answer.
      label_prob: p, the probability that `chosen` is better (of an LLM judge, say), in
        [0, 1]: one for all pairs or one per pair; no gradient.
      margin: rating margin, as of `bradley_terry`.

    Returns:
      One term per pair, in nats.

    Reference: Bai et al. 2022, arXiv:2212.08073, section 4.

    >>> round(float(soft_bradley_terry(0.0, 0.0, 0.8)), 4)
    0.6931
    """
    label_prob = jax.lax.stop_gradient(label_prob)
    as_labeled = bradley_terry(chosen, rejected, margin=margin)
    flipped = bradley_terry(rejected, chosen, margin=margin)
    return label_prob * as_labeled + (1.0 - label_prob) * flipped


@typed
def confidence_bradley_terry(
    chosen: Float[Array, "*B"],
    rejected: Float[Array, "*B"],
    label_prob: Scalar | Float[Array, "*B"],
    *,
    confidence: Scalar,
) -> Float[Array, "*B"]:
    """Bradley-Terry on a weak model's labels, mixed with the model's own preferences.

    own = 1[chosen > rejected] + 1[chosen = rejected] / 2
    target = (1 - confidence) * label_prob + confidence * own
    loss = -target * log sigmoid(chosen - rejected)
           - (1 - target) * log sigmoid(rejected - chosen)

    The auxiliary confidence loss of weak-to-strong generalization: a strong model may
    overrule labels that it is sure are wrong. The paper's threshold of the hard label
    gives both classes the share that they have in the weak labels; which answer of a
    pair is called chosen is a convention, so that here it is a difference of 0.

    Args:
      chosen, rejected: score of the answer.
      label_prob: probability that `chosen` is better, of the weak model, in [0, 1].
      confidence: weight of the model's own preferences, in [0, 1]; at 0 the loss is
        `soft_bradley_terry`.

    Returns:
      One term per pair, in nats; no gradient through the target.

    Reference: Burns et al. 2023, arXiv:2312.09390, section 4.3.2 and appendix A.4.

    >>> loss = confidence_bradley_terry(1.0, 0.0, 0.0, confidence=1.0)
    >>> round(float(loss), 4)  # its own preference: -log sigmoid(1)
    0.3133
    """
    own = (chosen > rejected) + 0.5 * (chosen == rejected)
    target = (1.0 - confidence) * label_prob + confidence * own
    return soft_bradley_terry(chosen, rejected, jax.lax.stop_gradient(target))


@typed
def plackett_luce(
    scores: Float[Array, "*B K"], mask: Bool[Array, "*B K"]
) -> Float[Array, "*B"]:
    """Negative log-likelihood of a ranking under the Plackett-Luce model.

    loss = sum over k of [log sum over j >= k of exp(scores_j) - scores_k]

    With two answers it is Bradley-Terry.

    Args:
      scores: scores of K answers, best first.
      mask: True on answers; the rest does not take part.

    Returns:
      One term per ranking, in nats; 0 for less than two answers.

    Reference: Plackett 1975; Luce 1959; Rafailov et al. 2023, arXiv:2305.18290, eq. 18.

    >>> round(float(plackett_luce([0.0, 0.0, 0.0], [True] * 3)), 4)  # log 3!
    1.7918
    """
    safe = jnp.where(mask, scores, 0.0)
    # A finite stand-in for -inf, far below every score: the gradient stays finite.
    lowest = jnp.min(safe, axis=-1, keepdims=True) - 1e5
    ranked = jnp.where(mask, safe, lowest)
    last = ranked.ndim - 1
    remaining = jax.lax.cumlogsumexp(ranked, axis=last, reverse=True)
    return jnp.sum(jnp.where(mask, remaining - ranked, 0.0), axis=-1)


@typed
def all_pairs_bradley_terry(
    scores: Float[Array, "*B K"], mask: Bool[Array, "*B K"]
) -> Float[Array, "*B"]:
    """Mean Bradley-Terry loss over all pairs of a ranking.

    loss = mean over i < j of -log sigmoid(scores_i - scores_j)

    The C(K, 2) pairs of one prompt are one term: as separate terms they overfit.

    Args:
      scores: scores of K answers, best first.
      mask: True on answers; the rest does not take part.

    Returns:
      One term per ranking, in nats; 0 for less than two answers.

    Reference: Ouyang et al. 2022, arXiv:2203.02155, eq. 1.

    >>> round(float(all_pairs_bradley_terry([0.0, 0.0, 0.0], [True] * 3)), 4)
    0.6931
    """
    safe = jnp.where(mask, scores, 0.0)
    answers = mask.shape[-1]
    later = jnp.triu(jnp.ones((answers, answers), bool), k=1)
    pairs = mask[..., :, None] & mask[..., None, :]
    pairs = pairs & jnp.broadcast_to(later, pairs.shape)
    terms = -jax.nn.log_sigmoid(safe[..., :, None] - safe[..., None, :])
    total = jnp.sum(jnp.where(pairs, terms, 0.0), axis=(-2, -1))
    return total / jnp.maximum(jnp.sum(pairs, axis=(-2, -1)), 1)


@typed
def reward_centering(
    chosen: Float[Array, "*B"], rejected: Float[Array, "*B"]
) -> Float[Array, "*B"]:
    """Regularizer that centers the scores of a pair at 0.

    loss = (chosen + rejected)^2

    Preferences fix scores up to a constant only: a small multiple of this term, added
    to a preference loss, fixes the constant.

    Args:
      chosen, rejected: score of the answer.

    Returns:
      One term per pair, at least 0.

    Reference: Eisenstein et al. 2023, arXiv:2312.09244, eq. 2.

    >>> float(reward_centering(1.0, -1.0)), float(reward_centering(1.0, 1.0))
    (0.0, 4.0)
    """
    return jnp.square(chosen + rejected)


@typed
def reward_regression(
    score: Float[Array, "*B"], target: Float[Array, "*B"]
) -> Float[Array, "*B"]:
    """Half the squared error of a score against a rating.

    loss = (score - target)^2 / 2

    Args:
      score: score of the answer.
      target: rating of the answer, on the scale of the score; no gradient.

    Returns:
      One term per answer, at least 0.

    Reference: Wang et al. 2024, arXiv:2406.08673 (regression reward models).

    >>> float(reward_regression(3.0, 1.0))
    2.0
    """
    target = jax.lax.stop_gradient(target)
    return 0.5 * jnp.square(score - target)


@typed
def safety_classification(
    logit: Float[Array, "*B"], unsafe: Bool[Array, "*B"]
) -> Float[Array, "*B"]:
    """Binary cross-entropy of unsafe answers, an auxiliary task of reward models.

    loss = -log sigmoid(logit)      if unsafe
         = -log sigmoid(-logit)     if not

    The paper names the task; binary cross-entropy is not printed there.

    Args:
      logit: log-odds that the answer is unsafe.
      unsafe: label of the answer.

    Returns:
      One term per answer, in nats.

    Reference: Touvron et al. 2023, arXiv:2307.09288, section 3.2.2.

    >>> round(float(safety_classification(0.0, True)), 4)
    0.6931
    """
    return -jax.nn.log_sigmoid(jnp.where(unsafe, logit, -logit))
