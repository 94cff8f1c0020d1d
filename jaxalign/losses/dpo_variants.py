"""Losses of the difference between two answers, beside `preference`'s.

Log-probs are sums over an answer's tokens, unless the name says `mean`. The reference's
get no gradient.
"""

import jax
import jax.numpy as jnp

from jaxalign.estimators.kl import LARGEST_LOG_RATIO
from jaxalign.losses.preference import dpo
from jaxalign.types import Array, Float, Scalar, typed


@typed
def robust_dpo(
    chosen: Float[Array, "B"],
    rejected: Float[Array, "B"],
    ref_chosen: Float[Array, "B"],
    ref_rejected: Float[Array, "B"],
    *,
    beta: Scalar,
    flip_rate: Scalar,
) -> Float[Array, "B"]:
    """DPO whose mean over wrongly labelled pairs is DPO's over right ones.

    margin = (chosen - ref_chosen) - (rejected - ref_rejected)
    loss = [-(1 - e) * log sigmoid(beta * margin) + e * log sigmoid(-beta * margin)]
           / (1 - 2 * e)

    Args:
      flip_rate: e, the share of labels taken to be wrong, below 1/2; 0 is DPO itself.

    Reference: Chowdhury et al. 2024, arXiv:2403.00409, section 3.1.

    >>> import numpy as np
    >>> zero = np.zeros(1, np.float32)
    >>> loss = robust_dpo(zero, zero, zero, zero, beta=0.1, flip_rate=0.2)
    >>> bool(np.isclose(loss, np.log(2.0))[0])
    True
    """
    ref_chosen, ref_rejected = jax.lax.stop_gradient((ref_chosen, ref_rejected))
    margin = (chosen - ref_chosen) - (rejected - ref_rejected)
    right = -jax.nn.log_sigmoid(beta * margin)
    wrong = -jax.nn.log_sigmoid(-beta * margin)
    return ((1.0 - flip_rate) * right - flip_rate * wrong) / (1.0 - 2.0 * flip_rate)


@typed
def hinge(
    chosen: Float[Array, "B"],
    rejected: Float[Array, "B"],
    ref_chosen: Float[Array, "B"],
    ref_rejected: Float[Array, "B"],
    *,
    beta: Scalar,
) -> Float[Array, "B"]:
    """The hinge loss of RSO, one term per pair.

    margin = (chosen - ref_chosen) - (rejected - ref_rejected)
    loss = max(0, 1 - beta * margin)

    Reference: Liu et al. 2023, arXiv:2309.06657, "hinge-norm".

    >>> import numpy as np
    >>> zero = np.zeros(1, np.float32)
    >>> hinge(zero, zero, zero, zero, beta=0.1).tolist()
    [1.0]
    """
    ref_chosen, ref_rejected = jax.lax.stop_gradient((ref_chosen, ref_rejected))
    margin = (chosen - ref_chosen) - (rejected - ref_rejected)
    return jax.nn.relu(1.0 - beta * margin)


@typed
def slic(
    chosen: Float[Array, "B"], rejected: Float[Array, "B"], *, delta: Scalar
) -> Float[Array, "B"]:
    """The calibration term of SLiC-HF, one per pair; the objective adds the NLL.

    loss = max(0, delta - (chosen - rejected))

    Args:
      delta: the margin aimed at, in nats.

    Reference: Zhao et al. 2023, arXiv:2305.10425.

    >>> import numpy as np
    >>> one = np.ones(1, np.float32)
    >>> slic(-2 * one, -3 * one, delta=1.5).tolist()
    [0.5]
    """
    return jax.nn.relu(delta - (chosen - rejected))


@typed
def reference_free_dpo(
    chosen: Float[Array, "B"], rejected: Float[Array, "B"], *, beta: Scalar
) -> Float[Array, "B"]:
    """DPO whose reference finds all answers equally likely, one term per pair.

    loss = -log sigmoid(beta * (chosen - rejected))

    Reference: Rafailov et al. 2023, arXiv:2305.18290, eq. 7, with a uniform reference.

    >>> import numpy as np
    >>> zero = np.zeros(1, np.float32)
    >>> bool(np.isclose(reference_free_dpo(zero, zero, beta=0.1), np.log(2.0))[0])
    True
    """
    return -jax.nn.log_sigmoid(beta * (chosen - rejected))


@typed
def cpo(
    chosen: Float[Array, "B"], rejected: Float[Array, "B"], *, beta: Scalar
) -> Float[Array, "B"]:
    """The preference term of CPO, one per pair; the objective adds the NLL.

    loss = -log sigmoid(beta * (chosen - rejected))

    The NLL of the chosen answers is what tells it from `reference_free_dpo`.

    Reference: Xu et al. 2024, arXiv:2401.08417, eq. 3 (the preference term).

    >>> import numpy as np
    >>> zero = np.zeros(1, np.float32)
    >>> bool(np.isclose(cpo(zero, zero, beta=0.1), np.log(2.0))[0])
    True
    """
    return reference_free_dpo(chosen, rejected, beta=beta)


@typed
def exo(
    chosen: Float[Array, "B"],
    rejected: Float[Array, "B"],
    ref_chosen: Float[Array, "B"],
    ref_rejected: Float[Array, "B"],
    *,
    beta: Scalar,
    label_smoothing: Scalar,
) -> Float[Array, "B"]:
    """Efficient exact optimisation of a pair: KL(policy's preference || label's).

    margin = (chosen - ref_chosen) - (rejected - ref_rejected)
    q = sigmoid(beta * margin)
    loss = q * [log q - log(1 - e)] + (1 - q) * [log(1 - q) - log e]

    Args:
      label_smoothing: e, the share of labels taken to be wrong, above 0: KL from a
        certain label is infinite.

    Reference: Ji et al. 2024, arXiv:2402.00856, eq. 16 (EXO-pref), for two answers.

    >>> import numpy as np
    >>> zero = np.zeros(1, np.float32)
    >>> exo(zero, zero, zero, zero, beta=0.1, label_smoothing=0.5).tolist()
    [0.0]
    """
    ref_chosen, ref_rejected = jax.lax.stop_gradient((ref_chosen, ref_rejected))
    margin = (chosen - ref_chosen) - (rejected - ref_rejected)
    right = jax.nn.log_sigmoid(beta * margin) - jnp.log1p(-label_smoothing)
    wrong = jax.nn.log_sigmoid(-beta * margin) - jnp.log(label_smoothing)
    q = jax.nn.sigmoid(beta * margin)
    return q * right + jax.nn.sigmoid(-beta * margin) * wrong


@typed
def discopop(
    chosen: Float[Array, "B"],
    rejected: Float[Array, "B"],
    ref_chosen: Float[Array, "B"],
    ref_rejected: Float[Array, "B"],
    *,
    beta: Scalar,
    temperature: Scalar = 0.05,
) -> Float[Array, "B"]:
    """The loss that a language model discovered: DPO's below 0, exponential above.

    x = beta * [(chosen - ref_chosen) - (rejected - ref_rejected)]
    m = sigmoid(x / temperature)
    loss = (1 - m) * -log sigmoid(x) + m * exp(-x)

    Args:
      temperature: tau, how gradual the change between the two is.

    m * exp(-x) is one exponential, of log m - x: never above 0 up to temperature 1.

    Reference: Lu et al. 2024, arXiv:2406.08414, eq. 5 (log-ratio modulated).

    >>> import numpy as np
    >>> zero = np.zeros(1, np.float32)
    >>> loss = discopop(zero, zero, zero, zero, beta=0.1)
    >>> bool(np.isclose(loss, 0.5 * np.log(2.0) + 0.5)[0])
    True
    """
    ref_chosen, ref_rejected = jax.lax.stop_gradient((ref_chosen, ref_rejected))
    x = beta * ((chosen - ref_chosen) - (rejected - ref_rejected))
    logistic = jax.nn.sigmoid(-x / temperature) * -jax.nn.log_sigmoid(x)
    exponent = jax.nn.log_sigmoid(x / temperature) - x
    return logistic + jnp.exp(jnp.minimum(exponent, LARGEST_LOG_RATIO))


@typed
def dpop(
    chosen: Float[Array, "B"],
    rejected: Float[Array, "B"],
    ref_chosen: Float[Array, "B"],
    ref_rejected: Float[Array, "B"],
    *,
    beta: Scalar,
    lam: Scalar,
) -> Float[Array, "B"]:
    """DPO-Positive: DPO that pays where a chosen answer becomes less likely.

    margin = (chosen - ref_chosen) - (rejected - ref_rejected)
    loss = -log sigmoid(beta * [margin - lam * max(0, ref_chosen - chosen)])

    Reference: Pal et al. 2024, arXiv:2402.13228, section 4, eq. 3 (DPOP).

    >>> import numpy as np
    >>> zero = np.zeros(1, np.float32)
    >>> loss = dpop(zero, zero, zero, zero, beta=0.1, lam=5.0)
    >>> bool(np.isclose(loss, np.log(2.0))[0])
    True
    """
    ref_chosen, ref_rejected = jax.lax.stop_gradient((ref_chosen, ref_rejected))
    margin = (chosen - ref_chosen) - (rejected - ref_rejected)
    penalty = lam * jax.nn.relu(ref_chosen - chosen)
    return -jax.nn.log_sigmoid(beta * (margin - penalty))


@typed
def r_dpo(
    chosen: Float[Array, "B"],
    rejected: Float[Array, "B"],
    ref_chosen: Float[Array, "B"],
    ref_rejected: Float[Array, "B"],
    chosen_length: Float[Array, "B"],
    rejected_length: Float[Array, "B"],
    *,
    beta: Scalar,
    alpha: Scalar,
) -> Float[Array, "B"]:
    """R-DPO: DPO for a reward that each token costs alpha, one term per pair.

    margin = (chosen - ref_chosen) - (rejected - ref_rejected)
    loss = -log sigmoid(beta * margin + alpha * (chosen_length - rejected_length))

    The sign is derived: the best policy for reward - alpha * length is
    ref * exp((reward - alpha * length) / beta) / Z, so reward = beta * log(policy /
    ref) + alpha * length + beta * log Z. What length explains, the policy need not.

    Reference: Park et al. 2024, arXiv:2403.19159.

    >>> import numpy as np
    >>> zero, one = np.zeros(1, np.float32), np.ones(1, np.float32)
    >>> knobs = dict(beta=0.1, alpha=0.01)
    >>> loss = r_dpo(zero, zero, zero, zero, one, one, **knobs)
    >>> bool(np.isclose(loss, np.log(2.0))[0])
    True
    """
    ref_chosen, ref_rejected = jax.lax.stop_gradient((ref_chosen, ref_rejected))
    margin = (chosen - ref_chosen) - (rejected - ref_rejected)
    longer = chosen_length - rejected_length
    return -jax.nn.log_sigmoid(beta * margin + alpha * longer)


@typed
def length_normalized_dpo(
    chosen_mean: Float[Array, "B"],
    rejected_mean: Float[Array, "B"],
    ref_chosen_mean: Float[Array, "B"],
    ref_rejected_mean: Float[Array, "B"],
    *,
    beta: Scalar,
) -> Float[Array, "B"]:
    """DPO of log-probs per token, one term per pair.

    margin = (chosen_mean - ref_chosen_mean) - (rejected_mean - ref_rejected_mean)
    loss = -log sigmoid(beta * margin)

    Means are smaller than sums: beta is larger than DPO's (5 in Tulu 3).

    Reference: Lambert et al. 2024, arXiv:2411.15124, length-normalised DPO.

    >>> import numpy as np
    >>> zero = np.zeros(1, np.float32)
    >>> loss = length_normalized_dpo(zero, zero, zero, zero, beta=5.0)
    >>> bool(np.isclose(loss, np.log(2.0))[0])
    True
    """
    # dpo gives the reference no gradient
    return dpo(
        chosen_mean, rejected_mean, ref_chosen_mean, ref_rejected_mean, beta=beta
    )
