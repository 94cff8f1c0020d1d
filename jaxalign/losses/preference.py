"""Preference losses: what is preferred becomes likelier, relative to the reference.

Log-probs are sums over an answer's tokens, unless the name says `mean`. The reference's
get no gradient.
"""

import jax
import jax.numpy as jnp

from jaxalign.estimators.logprobs import LARGEST_LOGP, log1mexp
from jaxalign.types import Array, Bool, Float, Scalar, typed


@typed
def dpo(
    chosen: Float[Array, "B"],
    rejected: Float[Array, "B"],
    ref_chosen: Float[Array, "B"],
    ref_rejected: Float[Array, "B"],
    *,
    beta: Scalar,
    label_smoothing: Scalar | Float[Array, "B"] = 0.0,
) -> Float[Array, "B"]:
    """Direct preference optimisation, one term per pair.

    margin = (chosen - ref_chosen) - (rejected - ref_rejected)
    loss = -(1 - e) * log sigmoid(beta * margin) - e * log sigmoid(-beta * margin)

    Args:
      label_smoothing: e, the share of labels taken to be wrong (conservative DPO), or
        the probability that each one is; 0 is DPO itself.

    Reference: Rafailov et al. 2023, arXiv:2305.18290, eq. 7; Mitchell 2023, "A note on
    DPO with noisy preferences", eq. 3 (e > 0).

    >>> import numpy as np
    >>> zero = np.zeros(1, np.float32)
    >>> bool(np.isclose(dpo(zero, zero, zero, zero, beta=0.1), np.log(2.0))[0])
    True
    """
    ref_chosen, ref_rejected = jax.lax.stop_gradient((ref_chosen, ref_rejected))
    margin = (chosen - ref_chosen) - (rejected - ref_rejected)
    right = -jax.nn.log_sigmoid(beta * margin)
    wrong = -jax.nn.log_sigmoid(-beta * margin)
    return (1.0 - label_smoothing) * right + label_smoothing * wrong


@typed
def ipo(
    chosen: Float[Array, "B"],
    rejected: Float[Array, "B"],
    ref_chosen: Float[Array, "B"],
    ref_rejected: Float[Array, "B"],
    *,
    tau: Scalar,
) -> Float[Array, "B"]:
    """Identity preference optimisation, one term per pair.

    margin = (chosen - ref_chosen) - (rejected - ref_rejected)
    loss = (margin - 1 / (2 * tau))^2

    Takes log-probs as they are given: its authors confirmed means over tokens.

    Reference: Azar et al. 2023, arXiv:2310.12036, eq. 17.

    >>> import numpy as np
    >>> zero = np.zeros(1, np.float32)
    >>> ipo(zero, zero, zero, zero, tau=0.5).tolist()
    [1.0]
    """
    ref_chosen, ref_rejected = jax.lax.stop_gradient((ref_chosen, ref_rejected))
    margin = (chosen - ref_chosen) - (rejected - ref_rejected)
    return jnp.square(margin - 1.0 / (2.0 * tau))


@typed
def simpo(
    chosen_mean: Float[Array, "B"],
    rejected_mean: Float[Array, "B"],
    *,
    beta: Scalar,
    gamma: Scalar,
) -> Float[Array, "B"]:
    """Simple preference optimisation, without a reference, one term per pair.

    loss = -log sigmoid(beta * (chosen_mean - rejected_mean) - gamma)

    Args:
      chosen_mean: log-prob of the chosen answer per token; likewise rejected_mean.
      gamma: the margin aimed at (its authors tune gamma / beta).

    Reference: Meng et al. 2024, arXiv:2405.14734, eq. 6.

    >>> import numpy as np
    >>> one = np.ones(1, np.float32)
    >>> loss = simpo(-one, -2 * one, beta=2.0, gamma=2.0)
    >>> bool(np.isclose(loss, np.log(2.0))[0])
    True
    """
    return -jax.nn.log_sigmoid(beta * (chosen_mean - rejected_mean) - gamma)


@typed
def kto(
    logp: Float[Array, "B"],
    ref_logp: Float[Array, "B"],
    desirable: Bool[Array, "B"],
    kl: Scalar,
    *,
    beta: Scalar,
    desirable_weight: Scalar = 1.0,
    undesirable_weight: Scalar = 1.0,
) -> Float[Array, "B"]:
    """Kahneman-Tversky optimisation, one term per single answer.

    ratio = logp - ref_logp
    loss = desirable_weight * (1 - sigmoid(beta * (ratio - kl)))        if desirable
         = undesirable_weight * (1 - sigmoid(beta * (kl - ratio)))      if not

    Args:
      kl: the reference point z0 = max(0, mean log-ratio of mismatched answers); gets no
        gradient.

    Reference: Ethayarajh et al. 2024, arXiv:2402.01306, eq. 7 and 8.

    >>> import numpy as np
    >>> zero = np.zeros(1, np.float32)
    >>> kto(zero, zero, np.array([True]), 0.0, beta=0.1).tolist()
    [0.5]
    """
    ref_logp, kl = jax.lax.stop_gradient((ref_logp, kl))
    ratio = logp - ref_logp
    liked = desirable_weight * jax.nn.sigmoid(-beta * (ratio - kl))
    disliked = undesirable_weight * jax.nn.sigmoid(-beta * (kl - ratio))
    return jnp.where(desirable, liked, disliked)


@typed
def log_odds(mean_logp: Float[Array, "B"]) -> Float[Array, "B"]:
    """The log-odds of an answer of this mean log-prob.

    log_odds = mean_logp - log(1 - exp(mean_logp))

    Log-probs are kept below -1e-6: the odds of a certain answer are infinite.

    Reference: Hong et al. 2024, arXiv:2403.07691, eq. 4.

    >>> import numpy as np
    >>> bool(abs(log_odds(np.log([0.5]))[0]) < 1e-6)
    True
    """
    mean_logp = jnp.minimum(mean_logp, LARGEST_LOGP)
    return mean_logp - log1mexp(mean_logp)


@typed
def orpo(
    chosen_mean: Float[Array, "B"], rejected_mean: Float[Array, "B"], *, lam: Scalar
) -> Float[Array, "B"]:
    """The odds-ratio term of ORPO, one per pair; the objective adds the NLL.

    loss = -lam * log sigmoid(log_odds(chosen_mean) - log_odds(rejected_mean))

    Args:
      chosen_mean: log-prob of the chosen answer per token; likewise rejected_mean.

    Reference: Hong et al. 2024, arXiv:2403.07691, eq. 6 and 7.

    >>> import numpy as np
    >>> same = np.full(1, -0.5, np.float32)
    >>> bool(np.isclose(orpo(same, same, lam=1.0), np.log(2.0))[0])
    True
    """
    margin = log_odds(chosen_mean) - log_odds(rejected_mean)
    return -lam * jax.nn.log_sigmoid(margin)
