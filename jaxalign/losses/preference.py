"""Margin losses: the chosen answer of a pair becomes likelier than the rejected one.

loss                paper                  log-probs      reference  hyperparameters
------------------  ---------------------  -------------  ---------  -------------------
dpo                 Rafailov et al. 2023   sums           yes        beta, (smoothing)
ipo                 Azar et al. 2023       sums or means  yes        tau
hinge               Liu et al. 2023 (RSO)  sums           yes        beta
slic                Zhao et al. 2023       sums           no         delta
simpo               Meng et al. 2024       means          no         beta, gamma
reference_free_dpo  Rafailov et al. 2023   sums           no         beta
cpo                 Xu et al. 2024         sums           no         beta
orpo                Hong et al. 2024       means          no         lam

Sums and means are those of an answer's token log-probs, in nats. The reference gets no
gradient. Every loss returns one term per pair and takes arrays of any one shape [*B].
Variants of DPO are in `dpo_variants`; losses of each answer by itself in `pointwise`.
"""

import jax
import jax.numpy as jnp

from jaxalign.estimators.logprobs import LARGEST_LOGP, log1mexp
from jaxalign.types import Array, Float, Scalar, typed


@typed
def dpo(
    chosen: Float[Array, "*B"],
    rejected: Float[Array, "*B"],
    ref_chosen: Float[Array, "*B"],
    ref_rejected: Float[Array, "*B"],
    *,
    beta: Scalar,
    label_smoothing: Scalar | Float[Array, "*B"] = 0.0,
) -> Float[Array, "*B"]:
    """Direct preference optimization (DPO).

    logratio_margin = (chosen - ref_chosen) - (rejected - ref_rejected)
    loss = -(1 - e) * log sigmoid(beta * logratio_margin)
           - e * log sigmoid(-beta * logratio_margin)

    Args:
      chosen, rejected: log-prob of the answer under the policy, summed over its tokens,
        in nats.
      ref_chosen, ref_rejected: the same sums under the reference; no gradient.
      beta: weight of the KL constraint, above 0.
      label_smoothing: e, the probability that a label is wrong, in [0, 1]: one for
        all pairs or one per pair; 0 is DPO itself, above 0 conservative DPO.

    Returns:
      One term per pair, in nats.

    Reference: Rafailov et al. 2023, arXiv:2305.18290, eq. 7; Mitchell 2023, "A note on
    DPO with noisy preferences", eq. 3 (e > 0).

    >>> round(float(dpo(-2.0, -3.0, -2.0, -2.0, beta=1.0)), 4)  # -log sigmoid(1)
    0.3133
    """
    ref_chosen, ref_rejected = jax.lax.stop_gradient((ref_chosen, ref_rejected))
    logratio_margin = (chosen - ref_chosen) - (rejected - ref_rejected)
    as_labeled = -jax.nn.log_sigmoid(beta * logratio_margin)
    flipped = -jax.nn.log_sigmoid(-beta * logratio_margin)
    return (1.0 - label_smoothing) * as_labeled + label_smoothing * flipped


@typed
def ipo(
    chosen: Float[Array, "*B"],
    rejected: Float[Array, "*B"],
    ref_chosen: Float[Array, "*B"],
    ref_rejected: Float[Array, "*B"],
    *,
    tau: Scalar,
) -> Float[Array, "*B"]:
    """Identity preference optimization (IPO).

    logratio_margin = (chosen - ref_chosen) - (rejected - ref_rejected)
    loss = (logratio_margin - 1 / (2 * tau))^2

    Args:
      chosen, rejected: log-prob of the answer under the policy, in nats: the sum over
        its tokens, as the paper writes it, or their mean, as its authors confirmed.
      ref_chosen, ref_rejected: the same under the reference; no gradient.
      tau: weight of the KL constraint, above 0; the target margin is 1 / (2 * tau).

    Returns:
      One term per pair, in squared nats.

    Reference: Azar et al. 2023, arXiv:2310.12036, eq. 17.

    >>> float(ipo(-1.0, -1.0, -1.0, -1.0, tau=0.5))
    1.0
    """
    ref_chosen, ref_rejected = jax.lax.stop_gradient((ref_chosen, ref_rejected))
    logratio_margin = (chosen - ref_chosen) - (rejected - ref_rejected)
    return jnp.square(logratio_margin - 1.0 / (2.0 * tau))


@typed
def hinge(
    chosen: Float[Array, "*B"],
    rejected: Float[Array, "*B"],
    ref_chosen: Float[Array, "*B"],
    ref_rejected: Float[Array, "*B"],
    *,
    beta: Scalar,
) -> Float[Array, "*B"]:
    """Hinge loss of the log-ratio margin, as in RSO.

    logratio_margin = (chosen - ref_chosen) - (rejected - ref_rejected)
    loss = max(0, 1 - beta * logratio_margin)

    Args:
      chosen, rejected: log-prob of the answer under the policy, summed over its tokens,
        in nats.
      ref_chosen, ref_rejected: the same sums under the reference; no gradient.
      beta: scale of the margin, above 0; the loss is 0 from a margin of 1 / beta on.

    Returns:
      One term per pair, at least 0.

    Reference: Liu et al. 2023, arXiv:2309.06657, "hinge-norm".

    >>> float(hinge(-1.0, -3.0, -1.0, -1.0, beta=0.25))  # 1 - 0.25 * 2
    0.5
    """
    ref_chosen, ref_rejected = jax.lax.stop_gradient((ref_chosen, ref_rejected))
    logratio_margin = (chosen - ref_chosen) - (rejected - ref_rejected)
    return jax.nn.relu(1.0 - beta * logratio_margin)


@typed
def slic(
    chosen: Float[Array, "*B"], rejected: Float[Array, "*B"], *, delta: Scalar
) -> Float[Array, "*B"]:
    """Calibration term of SLiC-HF; the objective adds the NLL of the chosen answer.

    loss = max(0, delta - (chosen - rejected))

    Args:
      chosen, rejected: log-prob of the answer under the policy, summed over its tokens,
        in nats.
      delta: target difference of the two, in nats, above 0.

    Returns:
      One term per pair, in nats, at least 0.

    Reference: Zhao et al. 2023, arXiv:2305.10425.

    >>> float(slic(-2.0, -3.0, delta=1.5))
    0.5
    """
    return jax.nn.relu(delta - (chosen - rejected))


@typed
def simpo(
    chosen_mean: Float[Array, "*B"],
    rejected_mean: Float[Array, "*B"],
    *,
    beta: Scalar,
    gamma: Scalar,
) -> Float[Array, "*B"]:
    """Simple preference optimization (SimPO), without a reference.

    loss = -log sigmoid(beta * (chosen_mean - rejected_mean) - gamma)

    Args:
      chosen_mean, rejected_mean: log-prob of the answer under the policy, the mean over
        its tokens, in nats per token.
      beta: scale of the difference, above 0 (2 to 10 in the paper).
      gamma: target reward margin, at least 0 (its authors tune gamma / beta).

    Returns:
      One term per pair, in nats.

    Reference: Meng et al. 2024, arXiv:2405.14734, eq. 6.

    >>> round(float(simpo(-1.0, -2.0, beta=2.0, gamma=1.0)), 4)  # -log sigmoid(1)
    0.3133
    """
    return -jax.nn.log_sigmoid(beta * (chosen_mean - rejected_mean) - gamma)


@typed
def reference_free_dpo(
    chosen: Float[Array, "*B"], rejected: Float[Array, "*B"], *, beta: Scalar
) -> Float[Array, "*B"]:
    """DPO with a uniform reference policy.

    loss = -log sigmoid(beta * (chosen - rejected))

    Args:
      chosen, rejected: log-prob of the answer under the policy, summed over its tokens,
        in nats.
      beta: scale of the difference, above 0.

    Returns:
      One term per pair, in nats.

    Reference: Rafailov et al. 2023, arXiv:2305.18290, eq. 7, with a uniform reference.

    >>> round(float(reference_free_dpo(-2.0, -3.0, beta=1.0)), 4)  # -log sigmoid(1)
    0.3133
    """
    return -jax.nn.log_sigmoid(beta * (chosen - rejected))


@typed
def cpo(
    chosen: Float[Array, "*B"], rejected: Float[Array, "*B"], *, beta: Scalar
) -> Float[Array, "*B"]:
    """Preference term of CPO; the objective adds the NLL of the chosen answer.

    loss = -log sigmoid(beta * (chosen - rejected))

    Without that NLL it is `reference_free_dpo`.

    Args:
      chosen, rejected: log-prob of the answer under the policy, summed over its tokens,
        in nats.
      beta: scale of the difference, above 0.

    Returns:
      One term per pair, in nats.

    Reference: Xu et al. 2024, arXiv:2401.08417, eq. 3 (the preference term).

    >>> round(float(cpo(-2.0, -3.0, beta=1.0)), 4)  # -log sigmoid(1)
    0.3133
    """
    return -jax.nn.log_sigmoid(beta * (chosen - rejected))


@typed
def log_odds(mean_logp: Float[Array, "*B"]) -> Float[Array, "*B"]:
    """Log-odds of an answer, from its mean token log-prob.

    log_odds = mean_logp - log(1 - exp(mean_logp))

    Args:
      mean_logp: log-prob of the answer, the mean over its tokens, in nats per token;
        clamped to at most -1e-6, since the odds of a certain answer are infinite.

    Returns:
      Log-odds per answer.

    Reference: Hong et al. 2024, arXiv:2403.07691, eq. 4.

    >>> round(float(log_odds(jnp.log(0.75))), 4)  # log 3
    1.0986
    """
    mean_logp = jnp.minimum(mean_logp, LARGEST_LOGP)
    return mean_logp - log1mexp(mean_logp)


@typed
def orpo(
    chosen_mean: Float[Array, "*B"], rejected_mean: Float[Array, "*B"], *, lam: Scalar
) -> Float[Array, "*B"]:
    """Odds-ratio term of ORPO; the objective adds the NLL of the chosen answer.

    loss = -lam * log sigmoid(log_odds(chosen_mean) - log_odds(rejected_mean))

    Args:
      chosen_mean, rejected_mean: log-prob of the answer under the policy, the mean over
        its tokens, in nats per token.
      lam: weight of the term beside the NLL, at least 0.

    Returns:
      One term per pair, in nats times lam.

    Reference: Hong et al. 2024, arXiv:2403.07691, eq. 6 and 7.

    >>> round(float(orpo(-0.5, -0.5, lam=1.0)), 4)  # -log sigmoid(0)
    0.6931
    """
    logodds_margin = log_odds(chosen_mean) - log_odds(rejected_mean)
    return -lam * jax.nn.log_sigmoid(logodds_margin)
