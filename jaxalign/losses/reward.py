"""Losses of reward models: scores explain what people preferred."""

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
    chosen: Float[Array, "B"],
    rejected: Float[Array, "B"],
    *,
    margin: Scalar | Float[Array, "B"] = 0.0,
) -> Float[Array, "B"]:
    """Negative log-likelihood of a preference, one term per pair.

    loss = -log sigmoid(chosen - rejected - margin)

    Args:
      margin: by how much the scores should differ, per pair or for all (Llama 2).

    Reference: Bradley and Terry 1952; Ouyang et al. 2022, arXiv:2203.02155, eq. 1;
    Touvron et al. 2023, arXiv:2307.09288, eq. 2 (margin).

    >>> import numpy as np
    >>> zero = np.zeros(1, np.float32)
    >>> bool(np.isclose(bradley_terry(zero, zero), np.log(2.0))[0])
    True
    """
    return -jax.nn.log_sigmoid(chosen - rejected - margin)


@typed
def plackett_luce(
    scores: Float[Array, "B K"], mask: Bool[Array, "B K"]
) -> Float[Array, "B"]:
    """Negative log-likelihood of a ranking, best first, one term per prompt.

    loss = sum over k of [log sum over j >= k of exp(scores_j) - scores_k]

    With two answers it is Bradley-Terry. What the mask drops does not take part.

    Reference: Plackett 1975; Luce 1959; Rafailov et al. 2023, arXiv:2305.18290, eq. 18.

    >>> import numpy as np
    >>> equal, mask = np.zeros((1, 3), np.float32), np.ones((1, 3), bool)
    >>> bool(np.isclose(plackett_luce(equal, mask), np.log(6.0))[0])
    True
    """
    safe = jnp.where(mask, scores, 0.0)
    # A finite stand-in for -inf, far below every score: the gradient stays finite.
    lowest = jnp.min(safe, axis=1, keepdims=True) - 1e5
    ranked = jnp.where(mask, safe, lowest)
    remaining = jax.lax.cumlogsumexp(ranked, axis=1, reverse=True)
    return jnp.sum(jnp.where(mask, remaining - ranked, 0.0), axis=1)


@typed
def soft_bradley_terry(
    chosen: Float[Array, "B"],
    rejected: Float[Array, "B"],
    label_prob: Scalar | Float[Array, "B"],
    *,
    margin: Scalar | Float[Array, "B"] = 0.0,
) -> Float[Array, "B"]:
    """Bradley-Terry with a soft label, one term per pair.

    loss = -p * log sigmoid(chosen - rejected - margin)
           - (1 - p) * log sigmoid(rejected - chosen - margin)

    This is Bradley-Terry's mean over labels that are right with probability p. Label
    smoothing by e is p = 1 - e. Derived: the paper prints the labels, not the loss.

    Args:
      label_prob: probability that `chosen` is the better one, as a judge gives it, per pair or
        for all; gets no gradient.

    Reference: Bai et al. 2022, arXiv:2212.08073, section 4.

    >>> import numpy as np
    >>> zero, p = np.zeros(1, np.float32), np.full(1, 0.8, np.float32)
    >>> bool(np.isclose(soft_bradley_terry(zero, zero, p), np.log(2.0))[0])
    True
    """
    label_prob = jax.lax.stop_gradient(label_prob)
    right = bradley_terry(chosen, rejected, margin=margin)
    wrong = bradley_terry(rejected, chosen, margin=margin)
    return label_prob * right + (1.0 - label_prob) * wrong


@typed
def all_pairs(
    scores: Float[Array, "B K"], mask: Bool[Array, "B K"]
) -> Float[Array, "B"]:
    """Bradley-Terry's mean over the pairs of a ranking, one term per prompt.

    loss = mean over i < j of -log sigmoid(scores_i - scores_j)

    The C(K, 2) pairs of one prompt are one term: as terms of their own they overfit.
    What the mask drops does not take part; a prompt with less than two answers gives 0.

    Args:
      scores: best first.

    Reference: Ouyang et al. 2022, arXiv:2203.02155, eq. 1.

    >>> import numpy as np
    >>> equal, mask = np.zeros((1, 3), np.float32), np.ones((1, 3), bool)
    >>> bool(np.isclose(all_pairs(equal, mask), np.log(2.0))[0])
    True
    """
    safe = jnp.where(mask, scores, 0.0)
    later = jnp.triu(jnp.ones((mask.shape[1], mask.shape[1]), bool), k=1)
    pairs = mask[:, :, None] & mask[:, None, :] & later[None]
    terms = -jax.nn.log_sigmoid(safe[:, :, None] - safe[:, None, :])
    total = jnp.sum(jnp.where(pairs, terms, 0.0), axis=(1, 2))
    return total / jnp.maximum(jnp.sum(pairs, axis=(1, 2)), 1)


@typed
def reward_centering(
    chosen: Float[Array, "B"], rejected: Float[Array, "B"]
) -> Float[Array, "B"]:
    """Keeps the scores of a pair around 0, one term per pair.

    loss = (chosen + rejected)^2

    Preferences say nothing about the level of scores; a little of this, added to a
    preference loss, settles it.

    Reference: Eisenstein et al. 2023, arXiv:2312.09244, eq. 2.

    >>> import numpy as np
    >>> one = np.ones(1, np.float32)
    >>> reward_centering(one, -one).tolist(), reward_centering(one, one).tolist()
    ([0.0], [4.0])
    """
    return jnp.square(chosen + rejected)


@typed
def reward_regression(
    score: Float[Array, "B"], target: Float[Array, "B"]
) -> Float[Array, "B"]:
    """Half the squared error of a score, one term per answer.

    loss = (score - target)^2 / 2

    Args:
      target: a rating of the answer; gets no gradient.

    Reference: Wang et al. 2024, arXiv:2406.08673 (regression reward models).

    >>> import numpy as np
    >>> one = np.ones(1, np.float32)
    >>> reward_regression(3 * one, one).tolist()
    [2.0]
    """
    target = jax.lax.stop_gradient(target)
    return 0.5 * jnp.square(score - target)
