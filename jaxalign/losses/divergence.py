"""DPO held to its reference by other divergences than reverse KL.

With u = policy / ref = exp(h), a divergence is D_f = mean over ref of f(u). The best
policy for reward - beta * D_f has reward = beta * f'(u) + a constant of the prompt. A
score is f'(exp(h)), of f with f(1) = f'(1) = 0; f may gain c * (u - 1), and f' then c,
without changing D_f or any loss of differences.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxalign.estimators.kl import LARGEST_LOG_RATIO
from jaxalign.types import Array, Float, Scalar, typed

# Closer to 1 than this, an alpha divergence is reverse KL, its limit.
NEAR_1 = 1e-6


@typed
def reverse_kl_score(h: Float[Array, "*S"]) -> Float[Array, "*S"]:
    """The score of KL(policy || ref), the divergence of RLHF and DPO.

    f(u) = u * log u - u + 1
    f'(u) = log u + 1 - 1 = h
    score = h

    Reference: Wang et al. 2023, arXiv:2309.16240.

    >>> reverse_kl_score(jnp.array([0.5])).tolist()
    [0.5]
    """
    return h


@typed
def forward_kl_score(h: Float[Array, "*S"]) -> Float[Array, "*S"]:
    """The score of KL(ref || policy), which wants the reference's answers covered.

    f(u) = -log u + u - 1
    f'(u) = 1 - 1 / u
    score = 1 - exp(-h)

    Log-ratios below -20 count as -20.

    Reference: Wang et al. 2023, arXiv:2309.16240.

    >>> forward_kl_score(jnp.array([0.0])).tolist()
    [0.0]
    """
    return -jnp.expm1(jnp.minimum(-h, LARGEST_LOG_RATIO))


@typed
def jensen_shannon_score(h: Float[Array, "*S"]) -> Float[Array, "*S"]:
    """The score of the Jensen-Shannon divergence, bounded above.

    f(u) = u * log u - (1 + u) * log((1 + u) / 2)
    f'(u) = log u + 1 - log((1 + u) / 2) - 1 = log 2 + log(u / (1 + u))
    score = log 2 + log sigmoid(h)

    D_f is the sum of KL(policy || mean) and KL(ref || mean), twice the usual half-sum.

    Reference: Wang et al. 2023, arXiv:2309.16240.

    >>> import numpy as np
    >>> bool(np.isclose(jensen_shannon_score(jnp.array([100.0])), np.log(2.0))[0])
    True
    """
    return jnp.log(2.0) + jax.nn.log_sigmoid(h)


@typed
def alpha_score(a: Scalar) -> Callable[[Array], Array]:
    """The score of an alpha divergence, as a function: 0 is forward KL, 1 reverse KL.

    f(u) = (u^a - a * u + a - 1) / (a * (a - 1))
    f'(u) = (a * u^(a - 1) - a) / (a * (a - 1)) = (u^(a - 1) - 1) / (a - 1)
    score = (exp((a - 1) * h) - 1) / (a - 1)

    Args:
      a: what the paper calls 1 - alpha. It may be traced: within 1e-6 of 1 the score is
        its limit h.

    (a - 1) * h is kept below 20.

    Reference: Wang et al. 2023, arXiv:2309.16240.

    >>> alpha_score(2.0)(jnp.array([0.0])).tolist()
    [0.0]
    """
    is_limit = jnp.abs(a - 1.0) < NEAR_1
    power = jnp.where(is_limit, 1.0, a - 1.0)

    @typed
    def score(h: Float[Array, "*S"]) -> Float[Array, "*S"]:
        exponent = jnp.minimum(power * h, LARGEST_LOG_RATIO)
        return jnp.where(is_limit, h, jnp.expm1(exponent) / power)

    return score


@typed
def f_dpo(
    chosen: Float[Array, "B"],
    rejected: Float[Array, "B"],
    ref_chosen: Float[Array, "B"],
    ref_rejected: Float[Array, "B"],
    *,
    beta: Scalar,
    score: Callable[[Array], Array],
) -> Float[Array, "B"]:
    """DPO under any f-divergence from the reference, one term per pair.

    margin = score(chosen - ref_chosen) - score(rejected - ref_rejected)
    loss = -log sigmoid(beta * margin)

    Args:
      score: f' of the divergence as a function of the log-ratio: `reverse_kl_score` (DPO
        itself), `forward_kl_score`, `jensen_shannon_score`, `alpha(a)`. Its unknown constant per
        prompt cancels in this difference, and would not in losses of single answers.

    Reference: Wang et al. 2023, arXiv:2309.16240.

    >>> import numpy as np
    >>> zero = np.zeros(1, np.float32)
    >>> loss = f_dpo(zero, zero, zero, zero, beta=0.1, score=forward_kl_score)
    >>> bool(np.isclose(loss, np.log(2.0))[0])
    True
    """
    ref_chosen, ref_rejected = jax.lax.stop_gradient((ref_chosen, ref_rejected))
    margin = score(chosen - ref_chosen) - score(rejected - ref_rejected)
    return -jax.nn.log_sigmoid(beta * margin)
