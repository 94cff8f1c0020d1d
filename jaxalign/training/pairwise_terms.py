"""Pairwise losses made of others, one term per pair.

Arguments are the inputs that `loss_registry` lists for each: `chosen` and `rejected`
are sums over answer tokens of the policy's log-probs, `ref_...` the reference's, and
`..._mean` means over answer tokens; nats, [B] each.
"""

from jaxalign import losses
from jaxalign.losses import divergence
from jaxalign.types import Array, Scalar


def cdpo(
    chosen: Array,
    rejected: Array,
    ref_chosen: Array,
    ref_rejected: Array,
    *,
    beta: Scalar,
    label_smoothing: Scalar,
) -> Array:
    """Conservative DPO: DPO with a label smoothing greater than 0.

    Args:
      label_smoothing: share of the labels assumed wrong, in [0, 0.5).
    """
    return losses.dpo(
        chosen,
        rejected,
        ref_chosen,
        ref_rejected,
        beta=beta,
        label_smoothing=label_smoothing,
    )


def soft_dpo(
    chosen: Array,
    rejected: Array,
    ref_chosen: Array,
    ref_rejected: Array,
    label_prob: Array,
    *,
    beta: Scalar,
) -> Array:
    """DPO with soft labels: conservative DPO whose label smoothing differs per pair.

    label_smoothing = 1 - label_prob
    """
    return losses.dpo(
        chosen,
        rejected,
        ref_chosen,
        ref_rejected,
        beta=beta,
        label_smoothing=1.0 - label_prob,
    )


def orpo(chosen_mean: Array, rejected_mean: Array, *, lam: Scalar) -> Array:
    """Odds-ratio preference optimization, with its supervised term.

    loss = -chosen_mean + losses.orpo(chosen_mean, rejected_mean)

    Reference: Hong et al. 2024, arXiv:2403.07691.
    """
    return -chosen_mean + losses.orpo(chosen_mean, rejected_mean, lam=lam)


def cpo(
    chosen: Array, rejected: Array, chosen_mean: Array, *, beta: Scalar, alpha: Scalar
) -> Array:
    """Contrastive preference optimization, with its supervised term.

    loss = losses.cpo(chosen, rejected) + alpha * (-chosen_mean)

    Reference: Xu et al. 2024, arXiv:2401.08417.
    """
    return losses.cpo(chosen, rejected, beta=beta) + alpha * -chosen_mean


def slic(
    chosen: Array, rejected: Array, chosen_mean: Array, *, delta: Scalar, alpha: Scalar
) -> Array:
    """Sequence likelihood calibration: its hinge and its supervised term.

    loss = losses.slic(chosen, rejected) + alpha * (-chosen_mean)

    Reference: Zhao et al. 2023, arXiv:2305.10425.
    """
    return losses.slic(chosen, rejected, delta=delta) + alpha * -chosen_mean


def unlikelihood(
    chosen_mean: Array, rejected_unlikelihood: Array, *, alpha: Scalar
) -> Array:
    """NLL of the chosen answer and unlikelihood of the rejected one, per token.

    loss = -chosen_mean + alpha * rejected_unlikelihood

    Args:
      rejected_unlikelihood: `losses.unlikelihood`, a mean over answer tokens.

    Reference: Welleck et al. 2019, arXiv:1908.04319; the negative candidates of its
    token-level loss are here the tokens of the rejected answer.
    """
    return -chosen_mean + alpha * rejected_unlikelihood


def bco(
    chosen: Array,
    rejected: Array,
    ref_chosen: Array,
    ref_rejected: Array,
    reward_shift: Array,
    *,
    beta: Scalar,
) -> Array:
    """Binary classifier optimization, with the running mean of rewards as its shift.

    Reference: Jung et al. 2024, arXiv:2404.04656.
    """
    return losses.bco(
        chosen, rejected, ref_chosen, ref_rejected, beta=beta, delta=reward_shift
    )


def alpha_dpo(*sums: Array, beta: Scalar, alpha: Scalar) -> Array:
    """f-DPO with an alpha divergence; Wang et al. 2023, arXiv:2309.16240."""
    return losses.f_dpo(*sums, beta=beta, score=divergence.alpha_score(alpha))


def forward_kl_dpo(*sums: Array, beta: Scalar) -> Array:
    """f-DPO with KL(reference || policy); Wang et al. 2023, arXiv:2309.16240."""
    return losses.f_dpo(*sums, beta=beta, score=divergence.forward_kl_score)


def jensen_shannon_dpo(*sums: Array, beta: Scalar) -> Array:
    """f-DPO with the Jensen-Shannon divergence; Wang et al. 2023, arXiv:2309.16240."""
    return losses.f_dpo(*sums, beta=beta, score=divergence.jensen_shannon_score)


def wpo(
    chosen: Array,
    rejected: Array,
    ref_chosen: Array,
    ref_rejected: Array,
    chosen_weight: Array,
    rejected_weight: Array,
    *,
    beta: Scalar,
) -> Array:
    """Weighted preference optimization: DPO, off-policy pairs weighted down.

    loss = chosen_weight * rejected_weight * losses.dpo(...)

    Args:
      chosen_weight, rejected_weight: `losses.wpo_weight` of the answers, in (0, 1].

    Reference: Zhou et al. 2024, arXiv:2406.11827.
    """
    dpo = losses.dpo(chosen, rejected, ref_chosen, ref_rejected, beta=beta)
    return chosen_weight * rejected_weight * dpo


def ld_dpo(*sums: Array, beta: Scalar, alpha: Scalar) -> Array:
    """Length-desensitized DPO: tokens past the shorter answer's length count alpha.

    logp = shared + alpha * (whole - shared)

    of each of the four log-probs that DPO takes, as in `losses.ld_dpo_logp`.

    Args:
      sums: the four sums over whole answers, then the four over the shared length.
      alpha: weight of the tail, in [0, 1]; 1 is DPO.

    Reference: Liu et al. 2024, arXiv:2409.06411.
    """
    pairs = zip(sums[:4], sums[4:], strict=True)
    tempered = [shared + alpha * (whole - shared) for whole, shared in pairs]
    return losses.dpo(*tempered, beta=beta)


def tdpo2(
    chosen: Array,
    rejected: Array,
    ref_chosen: Array,
    ref_rejected: Array,
    chosen_kl: Array,
    rejected_kl: Array,
    *,
    beta: Scalar,
    alpha: Scalar,
) -> Array:
    """Token-level DPO (TDPO2) of log-probs and of KLs summed over the answer.

    Reference: Zeng et al. 2024, arXiv:2404.11999.
    """
    ratios = chosen - ref_chosen, rejected - ref_rejected
    return losses.tdpo2(*ratios, chosen_kl, rejected_kl, beta=beta, alpha=alpha)


def tdpo1(
    chosen: Array,
    rejected: Array,
    ref_chosen: Array,
    ref_rejected: Array,
    chosen_kl: Array,
    rejected_kl: Array,
    *,
    beta: Scalar,
) -> Array:
    """Token-level DPO (TDPO1) of log-probs and of KLs summed over the answer.

    Reference: Zeng et al. 2024, arXiv:2404.11999.
    """
    ratios = chosen - ref_chosen, rejected - ref_rejected
    return losses.tdpo1(*ratios, chosen_kl, rejected_kl, beta=beta)
