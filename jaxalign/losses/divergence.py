"""f-DPO: DPO under other divergences from the reference than reverse KL.

score                 divergence                paper (all: Wang et al. 2023)
--------------------  ------------------------  -----------------------------
reverse_kl_score      KL(policy || ref)         DPO itself
forward_kl_score      KL(ref || policy)
jensen_shannon_score  Jensen-Shannon
alpha_score(a)        alpha divergence          a = 1 - alpha

With u = policy / ref = exp(h), a divergence is D_f = mean over ref of f(u). The best
policy for reward - beta * D_f has reward = beta * f'(u) + a constant of the prompt. A
score is f'(exp(h)), of f with f(1) = f'(1) = 0; adding c * (u - 1) to f, and so c to
f', changes neither D_f nor any loss of differences. The log-ratio h is of a whole
answer, log-probs summed over its tokens, in nats.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxalign.estimators.kl import LARGEST_LOG_RATIO
from jaxalign.types import Array, Float, Scalar, typed

# Closer to 1 than this, an alpha divergence is reverse KL, its limit.
NEAR_1 = 1e-6


@typed
def reverse_kl_score(h: Float[Array, "*B"]) -> Float[Array, "*B"]:
    """Score of KL(policy || ref), the divergence of RLHF and DPO.

    f(u) = u * log u - u + 1
    f'(u) = log u + 1 - 1 = h
    score = h

    Args:
      h: log-ratio of the answer, in nats.

    Returns:
      One score per answer.

    Reference: Wang et al. 2023, arXiv:2309.16240.

    >>> float(reverse_kl_score(0.5))
    0.5
    """
    return h


@typed
def forward_kl_score(h: Float[Array, "*B"]) -> Float[Array, "*B"]:
    """Score of KL(ref || policy), which covers the reference's answers.

    f(u) = -log u + u - 1
    f'(u) = 1 - 1 / u
    score = 1 - exp(-h)

    Args:
      h: log-ratio of the answer, in nats; clamped to at least -20.

    Returns:
      One score per answer.

    Reference: Wang et al. 2023, arXiv:2309.16240.

    >>> float(forward_kl_score(0.0))
    0.0
    """
    return -jnp.expm1(jnp.minimum(-h, LARGEST_LOG_RATIO))


@typed
def jensen_shannon_score(h: Float[Array, "*B"]) -> Float[Array, "*B"]:
    """Score of the Jensen-Shannon divergence, at most log 2.

    f(u) = u * log u - (1 + u) * log((1 + u) / 2)
    f'(u) = log u + 1 - log((1 + u) / 2) - 1 = log 2 + log(u / (1 + u))
    score = log 2 + log sigmoid(h)

    D_f is the sum of KL(policy || mean) and KL(ref || mean), twice the usual half-sum.

    Args:
      h: log-ratio of the answer, in nats.

    Returns:
      One score per answer.

    Reference: Wang et al. 2023, arXiv:2309.16240.

    >>> round(float(jensen_shannon_score(100.0)), 4)  # log 2
    0.6931
    """
    return jnp.log(2.0) + jax.nn.log_sigmoid(h)


@typed
def alpha_score(a: Scalar) -> Callable[[Array], Array]:
    """Score of an alpha divergence, as a function: 0 is forward KL, 1 reverse KL.

    f(u) = (u^a - a * u + a - 1) / (a * (a - 1))
    f'(u) = (a * u^(a - 1) - a) / (a * (a - 1)) = (u^(a - 1) - 1) / (a - 1)
    score = (exp((a - 1) * h) - 1) / (a - 1)

    Args:
      a: 1 - alpha of the paper. It may be traced: within 1e-6 of 1 the score is its
        limit h.

    Returns:
      A function from the log-ratio h, in nats, to its score. (a - 1) * h is clamped to
      at most 20.

    Reference: Wang et al. 2023, arXiv:2309.16240.

    >>> float(alpha_score(2.0)(0.0))
    0.0
    """
    is_limit = jnp.abs(a - 1.0) < NEAR_1
    power = jnp.where(is_limit, 1.0, a - 1.0)

    @typed
    def score(h: Float[Array, "*B"]) -> Float[Array, "*B"]:
        exponent = jnp.minimum(power * h, LARGEST_LOG_RATIO)
        return jnp.where(is_limit, h, jnp.expm1(exponent) / power)

    return score


@typed
def f_dpo(
    chosen: Float[Array, "*B"],
    rejected: Float[Array, "*B"],
    ref_chosen: Float[Array, "*B"],
    ref_rejected: Float[Array, "*B"],
    *,
    beta: Scalar,
    score: Callable[[Array], Array],
) -> Float[Array, "*B"]:
    """DPO under an f-divergence from the reference (f-DPO).

    score_margin = score(chosen - ref_chosen) - score(rejected - ref_rejected)
    loss = -log sigmoid(beta * score_margin)

    Args:
      chosen, rejected: log-prob of the answer under the policy, summed over its tokens,
        in nats.
      ref_chosen, ref_rejected: the same sums under the reference; no gradient.
      beta: weight of the divergence, above 0.
      score: f' of the divergence as a function of the log-ratio: `reverse_kl_score`
        (DPO itself), `forward_kl_score`, `jensen_shannon_score`, `alpha_score(a)`. Its
        unknown constant per prompt cancels in this difference, and would not in losses
        of single answers.

    Returns:
      One term per pair, in nats.

    Reference: Wang et al. 2023, arXiv:2309.16240.

    >>> loss = f_dpo(0.0, 0.0, 0.0, 0.0, beta=0.1, score=forward_kl_score)
    >>> round(float(loss), 4)
    0.6931
    """
    ref_chosen, ref_rejected = jax.lax.stop_gradient((ref_chosen, ref_rejected))
    score_margin = score(chosen - ref_chosen) - score(rejected - ref_rejected)
    return -jax.nn.log_sigmoid(beta * score_margin)
