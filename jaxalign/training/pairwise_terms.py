"""Pairwise terms made of several losses, as `training.pairwise` names them.

Arguments are fields of `PairLogps`; one term a pair.
"""

import jax
import jax.numpy as jnp

from jaxalign import losses
from jaxalign.losses import divergence
from jaxalign.types import Array, Scalar


def cdpo(*sums: Array, beta: Scalar, label_smoothing: Scalar) -> Array:
    """Conservative DPO: `label_smoothing` is the share of wrong labels."""
    return losses.dpo(*sums, beta=beta, label_smoothing=label_smoothing)


def label_of(margin: Array) -> Array:
    """The probability that a label is right, where a judge gave its log-odds.

    p = sigmoid(margin), or 1 where the margin is 0: nobody said

    >>> (4 * label_of(jnp.array([0.0, jnp.log(3.0)]))).round().tolist()
    [4.0, 3.0]
    """
    return jnp.where(margin == 0.0, 1.0, jax.nn.sigmoid(margin))


def soft_dpo(*sums_and_margin: Array, beta: Scalar) -> Array:
    """Conservative DPO with a probability of its own for each label, see `label_of`."""
    *sums, margin = sums_and_margin
    return losses.dpo(*sums, beta=beta, label_smoothing=1.0 - label_of(margin))


def orpo(chosen: Array, rejected: Array, nll: Array, *, lam: Scalar) -> Array:
    """NLL per token + the odds-ratio term; Hong et al. 2024, arXiv:2403.07691."""
    return nll + losses.orpo(chosen, rejected, lam=lam)


def cpo(
    chosen: Array, rejected: Array, nll: Array, *, beta: Scalar, alpha: Scalar
) -> Array:
    """The preference term + alpha * NLL per token; Xu et al. 2024, arXiv:2401.08417."""
    return losses.cpo(chosen, rejected, beta=beta) + alpha * nll


def unlikelihood(
    chosen_nll: Array, rejected_unlikelihood: Array, *, alpha: Scalar
) -> Array:
    """NLL per token of the chosen + alpha * unlikelihood per token of the rejected.

    Reference: Welleck et al. 2019, arXiv:1908.04319; the negative candidates of its
    token-level loss are here the tokens of the rejected answer.
    """
    return chosen_nll + alpha * rejected_unlikelihood


def shifted_bco(*sums_and_shift: Array, beta: Scalar) -> Array:
    """BCO with the running mean of rewards; Jung et al. 2024, arXiv:2404.04656."""
    *sums, shift = sums_and_shift
    return losses.bco(*sums, beta=beta, delta=shift)


def slic(
    chosen: Array, rejected: Array, nll: Array, *, delta: Scalar, alpha: Scalar
) -> Array:
    """The hinge + alpha * NLL per token; Zhao et al. 2023, arXiv:2305.10425."""
    return losses.slic(chosen, rejected, delta=delta) + alpha * nll


def alpha_dpo(*sums: Array, beta: Scalar, alpha: Scalar) -> Array:
    """f-DPO with an alpha divergence; Wang et al. 2023, arXiv:2309.16240."""
    return losses.f_dpo(*sums, beta=beta, score=divergence.alpha_score(alpha))


def forward_kl_dpo(*sums: Array, beta: Scalar) -> Array:
    """f-DPO with KL(reference || policy); Wang et al. 2023, arXiv:2309.16240."""
    return losses.f_dpo(*sums, beta=beta, score=divergence.forward_kl_score)


def jensen_shannon_dpo(*sums: Array, beta: Scalar) -> Array:
    """f-DPO with the Jensen-Shannon divergence; Wang et al. 2023, arXiv:2309.16240."""
    return losses.f_dpo(*sums, beta=beta, score=divergence.jensen_shannon_score)


def wpo(*sums_and_weights: Array, beta: Scalar) -> Array:
    """DPO, each pair by how much both answers look like the policy's own.

    Reference: Zhou et al. 2024, arXiv:2406.11827.
    """
    *sums, chosen_weight, rejected_weight = sums_and_weights
    return chosen_weight * rejected_weight * losses.dpo(*sums, beta=beta)


def ld_dpo(*sums: Array, beta: Scalar, alpha: Scalar) -> Array:
    """DPO whose longer answer counts alpha past the shorter one's length.

    Of the sums, four are over whole answers, four over their shared length:
    `losses.ld_dpo_logp` is shared + alpha * (whole - shared).

    Reference: Liu et al. 2024, arXiv:2409.06411.
    """
    both = zip(sums[:4], sums[4:], strict=True)
    tempered = [shared + alpha * (whole - shared) for whole, shared in both]
    return losses.dpo(*tempered, beta=beta)


def token_dpo(*sums_and_kls: Array, beta: Scalar, alpha: Scalar) -> Array:
    """TDPO2 of log-probs and sequential KLs; Zeng et al. 2024, arXiv:2404.11999."""
    return losses.tdpo2(*log_ratios(*sums_and_kls), beta=beta, alpha=alpha)


def token_dpo1(*sums_and_kls: Array, beta: Scalar) -> Array:
    """TDPO1 of log-probs and sequential KLs; Zeng et al. 2024, arXiv:2404.11999."""
    return losses.tdpo1(*log_ratios(*sums_and_kls), beta=beta)


def log_ratios(
    chosen: Array, rejected: Array, ref_chosen: Array, ref_rejected: Array, *kls: Array
) -> tuple[Array, ...]:
    """Log-ratios to the reference, and what else there is."""
    return (chosen - ref_chosen, rejected - ref_rejected, *kls)
