"""Losses that push each answer by itself, not only the difference of two.

Log-probs are sums over an answer's tokens. The reference's get no gradient.
"""

import jax
import jax.numpy as jnp

from jaxalign.types import Array, Bool, Float, Scalar, typed


@typed
def bco(
    chosen: Float[Array, "B"],
    rejected: Float[Array, "B"],
    ref_chosen: Float[Array, "B"],
    ref_rejected: Float[Array, "B"],
    *,
    beta: Scalar,
    delta: Scalar = 0.0,
) -> Float[Array, "B"]:
    """Binary classifier optimisation of a pair: is an answer chosen or rejected?

    chosen_ratio, rejected_ratio = chosen - ref_chosen, rejected - ref_rejected
    loss = -log sigmoid(beta * chosen_ratio - delta)
           - log sigmoid(delta - beta * rejected_ratio)

    Args:
      delta: the reward shift, a running mean of the rewards beta * ratio of chosen and
        rejected answers alike; gets no gradient.

    Reference: Jung et al. 2024, arXiv:2404.04656, section 4.

    >>> import numpy as np
    >>> zero = np.zeros(1, np.float32)
    >>> loss = bco(zero, zero, zero, zero, beta=0.1)
    >>> bool(np.isclose(loss, 2 * np.log(2.0))[0])
    True
    """
    ref_chosen, ref_rejected = jax.lax.stop_gradient((ref_chosen, ref_rejected))
    delta = jax.lax.stop_gradient(delta)
    chosen_ratio, rejected_ratio = chosen - ref_chosen, rejected - ref_rejected
    liked = -jax.nn.log_sigmoid(beta * chosen_ratio - delta)
    disliked = -jax.nn.log_sigmoid(delta - beta * rejected_ratio)
    return liked + disliked


@typed
def bco_unpaired(
    logp: Float[Array, "B"],
    ref_logp: Float[Array, "B"],
    desirable: Bool[Array, "B"],
    *,
    beta: Scalar,
    delta: Scalar = 0.0,
) -> Float[Array, "B"]:
    """Binary classifier optimisation, one term per single answer.

    ratio = logp - ref_logp
    loss = -log sigmoid(beta * ratio - delta)      if desirable
         = -log sigmoid(delta - beta * ratio)      if not

    Args:
      delta: the reward shift, a running mean of the rewards beta * ratio; gets no
        gradient.

    Reference: Jung et al. 2024, arXiv:2404.04656, section 4.

    >>> import numpy as np
    >>> zero = np.zeros(1, np.float32)
    >>> loss = bco_unpaired(zero, zero, np.array([True]), beta=0.1)
    >>> bool(np.isclose(loss, np.log(2.0))[0])
    True
    """
    ref_logp, delta = jax.lax.stop_gradient((ref_logp, delta))
    reward = beta * (logp - ref_logp)
    liked = -jax.nn.log_sigmoid(reward - delta)
    disliked = -jax.nn.log_sigmoid(delta - reward)
    return jnp.where(desirable, liked, disliked)


@typed
def apo_zero(
    chosen: Float[Array, "B"],
    rejected: Float[Array, "B"],
    ref_chosen: Float[Array, "B"],
    ref_rejected: Float[Array, "B"],
    *,
    beta: Scalar,
) -> Float[Array, "B"]:
    """Anchored preference optimisation: chosen answers up, rejected ones down.

    chosen_ratio, rejected_ratio = chosen - ref_chosen, rejected - ref_rejected
    loss = 1 - sigmoid(beta * chosen_ratio) + sigmoid(beta * rejected_ratio)

    For answers chosen better than the model's own.

    Reference: D'Oosterlinck et al. 2024, arXiv:2408.06266, eq. 7 (APO-zero).

    >>> import numpy as np
    >>> zero = np.zeros(1, np.float32)
    >>> apo_zero(zero, zero, zero, zero, beta=0.1).tolist()
    [1.0]
    """
    ref_chosen, ref_rejected = jax.lax.stop_gradient((ref_chosen, ref_rejected))
    chosen_ratio, rejected_ratio = chosen - ref_chosen, rejected - ref_rejected
    liked = jax.nn.sigmoid(-beta * chosen_ratio)
    return liked + jax.nn.sigmoid(beta * rejected_ratio)


@typed
def apo_zero_unpaired(
    logp: Float[Array, "B"],
    ref_logp: Float[Array, "B"],
    desirable: Bool[Array, "B"],
    *,
    beta: Scalar,
) -> Float[Array, "B"]:
    """Anchored preference optimisation, one term per single answer.

    ratio = logp - ref_logp
    loss = 1 - sigmoid(beta * ratio)      if desirable
         = sigmoid(beta * ratio)          if not

    It is KTO with its reference point at 0.

    Reference: D'Oosterlinck et al. 2024, arXiv:2408.06266, eq. 7 (APO-zero).

    >>> import numpy as np
    >>> zero = np.zeros(1, np.float32)
    >>> apo_zero_unpaired(zero, zero, np.array([True]), beta=0.1).tolist()
    [0.5]
    """
    ref_logp = jax.lax.stop_gradient(ref_logp)
    ratio = logp - ref_logp
    liked = jax.nn.sigmoid(-beta * ratio)
    disliked = jax.nn.sigmoid(beta * ratio)
    return jnp.where(desirable, liked, disliked)


@typed
def apo_down(
    chosen: Float[Array, "B"],
    rejected: Float[Array, "B"],
    ref_chosen: Float[Array, "B"],
    ref_rejected: Float[Array, "B"],
    *,
    beta: Scalar,
) -> Float[Array, "B"]:
    """Anchored preference optimisation: both answers down, the rejected one further.

    chosen_ratio, rejected_ratio = chosen - ref_chosen, rejected - ref_rejected
    loss = sigmoid(beta * chosen_ratio)
           + 1 - sigmoid(beta * (chosen_ratio - rejected_ratio))

    For answers chosen worse than the model's own.

    Reference: D'Oosterlinck et al. 2024, arXiv:2408.06266, eq. 8 (APO-down).

    >>> import numpy as np
    >>> zero = np.zeros(1, np.float32)
    >>> apo_down(zero, zero, zero, zero, beta=0.1).tolist()
    [1.0]
    """
    ref_chosen, ref_rejected = jax.lax.stop_gradient((ref_chosen, ref_rejected))
    chosen_ratio, rejected_ratio = chosen - ref_chosen, rejected - ref_rejected
    anchor = jax.nn.sigmoid(beta * chosen_ratio)
    return anchor + jax.nn.sigmoid(-beta * (chosen_ratio - rejected_ratio))


@typed
def sppo(
    chosen: Float[Array, "B"],
    rejected: Float[Array, "B"],
    ref_chosen: Float[Array, "B"],
    ref_rejected: Float[Array, "B"],
    *,
    beta: Scalar,
) -> Float[Array, "B"]:
    """Self-play preference optimisation with certain preferences, a term per pair.

    chosen_ratio, rejected_ratio = chosen - ref_chosen, rejected - ref_rejected
    loss = (chosen_ratio - 1 / (2 * beta))^2 + (rejected_ratio + 1 / (2 * beta))^2

    Args:
      beta: 1 / eta of the paper, whose target eta * (P(answer wins) - 1/2) is that of P
        = 1 and 0.

    Reference: Wu et al. 2024, arXiv:2405.00675, eq. 4.7.

    >>> import numpy as np
    >>> zero = np.zeros(1, np.float32)
    >>> sppo(zero, zero, zero, zero, beta=0.5).tolist()
    [2.0]
    """
    ref_chosen, ref_rejected = jax.lax.stop_gradient((ref_chosen, ref_rejected))
    chosen_ratio, rejected_ratio = chosen - ref_chosen, rejected - ref_rejected
    target = 1.0 / (2.0 * beta)
    return jnp.square(chosen_ratio - target) + jnp.square(rejected_ratio + target)


@typed
def nca(
    chosen: Float[Array, "B"],
    rejected: Float[Array, "B"],
    ref_chosen: Float[Array, "B"],
    ref_rejected: Float[Array, "B"],
    *,
    beta: Scalar,
) -> Float[Array, "B"]:
    """Noise contrastive alignment of a pair, one term per pair.

    chosen_ratio, rejected_ratio = chosen - ref_chosen, rejected - ref_rejected
    loss = -log sigmoid(beta * chosen_ratio)
           - log sigmoid(-beta * chosen_ratio) / 2
           - log sigmoid(-beta * rejected_ratio) / 2

    Reference: Chen et al. 2024, arXiv:2402.05369, section 4.1, for two answers.

    >>> import numpy as np
    >>> zero = np.zeros(1, np.float32)
    >>> loss = nca(zero, zero, zero, zero, beta=0.1)
    >>> bool(np.isclose(loss, 2 * np.log(2.0))[0])
    True
    """
    ref_chosen, ref_rejected = jax.lax.stop_gradient((ref_chosen, ref_rejected))
    chosen_ratio, rejected_ratio = chosen - ref_chosen, rejected - ref_rejected
    liked = -jax.nn.log_sigmoid(beta * chosen_ratio)
    noise_chosen = -jax.nn.log_sigmoid(-beta * chosen_ratio)
    noise_rejected = -jax.nn.log_sigmoid(-beta * rejected_ratio)
    return liked + 0.5 * noise_chosen + 0.5 * noise_rejected
