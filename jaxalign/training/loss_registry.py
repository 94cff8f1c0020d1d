"""Preference losses by name: each one object, a `PairwiseLoss`.

This table is the only one: the command line, the benchmark and docs/losses.md read
names, hyperparameters, defaults and needs from it.
"""

from collections.abc import Iterable

from jaxalign import losses
from jaxalign.training import pairwise_terms as terms
from jaxalign.training.preference_loss import KLS, PairwiseLoss, library_loss

SUMS = ("chosen", "rejected", "ref_chosen", "ref_rejected")
MEANS = ("chosen_mean", "rejected_mean", "ref_chosen_mean", "ref_rejected_mean")
LENGTHS = ("chosen_length", "rejected_length")
SHARED = tuple(f"{name}_shared" for name in SUMS)
WEIGHTS = ("chosen_weight", "rejected_weight")

# What TRL 1.16 calls the same losses; hinge, ipo, aot, aot_unpaired, apo_zero,
# apo_down, discopop and bco_pair are named alike.
TRL_NAMES = {
    "sigmoid": "dpo",
    "robust": "robust_dpo",
    "exo_pair": "exo",
    "nca_pair": "nca",
    "sppo_hard": "sppo",
    "sigmoid_norm": "length_normalised_dpo",
}


def by_name(entries: Iterable[PairwiseLoss]) -> dict[str, PairwiseLoss]:
    """The losses by name."""
    return {loss.name: loss for loss in entries}


RAFAILOV = "Rafailov et al. 2023, arXiv:2305.18290, eq. 7"
MITCHELL = "Mitchell 2023, conservative DPO, eq. 3"
WANG = "Wang et al. 2023, arXiv:2309.16240"
JUNG = "Jung et al. 2024, arXiv:2404.04656, section 4"
APO = "D'Oosterlinck et al. 2024, arXiv:2408.06266"
AOT = "Melnyk et al. 2024, arXiv:2406.05882, section 3"
TDPO = "Zeng et al. 2024, arXiv:2404.11999"
TRL = "TRL 1.16"
UNVERIFIED = "not verified against the paper"

PAIRWISE_LOSSES = by_name(
    [
        library_loss(
            *("dpo", losses.dpo, SUMS, RAFAILOV),
            "TRL and Llama 3 (arXiv:2407.21783, section 4.1.4)",
            beta=0.1,
            label_smoothing=0.0,
        ),
        library_loss(
            *("cdpo", terms.cdpo, SUMS, MITCHELL),
            f"beta: {TRL}'s DPO; label_smoothing: usual, no single source",
            beta=0.1,
            label_smoothing=0.1,
        ),
        library_loss(
            *("soft_dpo", terms.soft_dpo, (*SUMS, "margin"), f"{MITCHELL}, per label"),
            f"beta: {TRL}'s DPO",
            beta=0.1,
        ),
        library_loss(
            *("robust_dpo", losses.robust_dpo, SUMS),
            "Chowdhury et al. 2024, arXiv:2403.00409, section 3.1",
            f"beta: {TRL}'s DPO; flip_rate: {UNVERIFIED}",
            trl_names={"label_smoothing": "flip_rate"},
            beta=0.1,
            flip_rate=0.1,
        ),
        library_loss(
            *("dpo_nll", losses.rpo, (*SUMS, "chosen_length")),
            "Pang et al. 2024, arXiv:2404.19733 (RPO)",
            "Llama 3 (arXiv:2407.21783, section 4.1.4); Pang et al. have alpha 1",
            beta=0.1,
            alpha=0.2,
        ),
        library_loss(
            *("dpo_positive", losses.dpop, SUMS),
            "Pal et al. 2024, arXiv:2402.13228, section 4, eq. 3",
            UNVERIFIED,
            beta=0.1,
            lam=5.0,
        ),
        library_loss(
            *("length_normalised_dpo", losses.length_normalized_dpo, MEANS),
            "Lambert et al. 2024, arXiv:2411.15124 (Tulu 3)",
            "Tulu 3",
            beta=5.0,
        ),
        library_loss(
            *("length_regularised_dpo", losses.r_dpo),
            (*SUMS, *LENGTHS),
            "Park et al. 2024, arXiv:2403.19159",
            f"beta: {TRL}'s DPO; alpha: {UNVERIFIED}",
            beta=0.1,
            alpha=0.01,
        ),
        library_loss(
            *("reference_free_dpo", losses.reference_free_dpo, SUMS[:2]),
            f"{RAFAILOV}, uniform reference",
            f"{TRL}'s DPO",
            beta=0.1,
        ),
        library_loss(
            *("forward_kl_dpo", terms.forward_kl_dpo, SUMS, WANG),
            TRL,
            beta=0.1,
        ),
        library_loss(
            *("jensen_shannon_dpo", terms.jensen_shannon_dpo, SUMS, WANG),
            TRL,
            beta=0.1,
        ),
        library_loss(
            *("alpha_dpo", terms.alpha_dpo, SUMS, WANG),
            f"{TRL} (f_alpha_divergence_coef)",
            trl_names={"f_alpha_divergence_coef": "alpha"},
            beta=0.1,
            alpha=0.5,
        ),
        library_loss(
            # of means, as its authors confirmed
            *("ipo", losses.ipo, MEANS),
            "Azar et al. 2023, arXiv:2310.12036, eq. 17, of log-probs per token",
            "HALOs",
            trl_names={"beta": "tau"},
            tau=0.1,
        ),
        library_loss(
            *("ipo_sum", losses.ipo, SUMS),
            "Azar et al. 2023, arXiv:2310.12036, eq. 17",
            "HALOs, which average log-probs",
            trl_names={"beta": "tau"},
            tau=0.1,
        ),
        library_loss(
            *("hinge", losses.hinge, SUMS),
            "Liu et al. 2023, arXiv:2309.06657 (RSO, hinge-norm)",
            TRL,
            beta=0.1,
        ),
        library_loss(
            *("slic", terms.slic, (*SUMS[:2], "chosen_nll")),
            "Zhao et al. 2023, arXiv:2305.10425",
            "HALOs (its beta is delta here, its lambda alpha)",
            trl_names={"beta": "delta"},
            delta=1.0,
            alpha=0.1,
        ),
        library_loss(
            *("simpo", losses.simpo, MEANS[:2]),
            "Meng et al. 2024, arXiv:2405.14734, eq. 6",
            "its authors' README: beta 2, gamma / beta 0.5 to begin with",
            trl_names={"simpo_gamma": "gamma"},
            beta=2.0,
            gamma=1.0,
        ),
        library_loss(
            *("orpo", terms.orpo, (*MEANS[:2], "chosen_nll")),
            "Hong et al. 2024, arXiv:2403.07691",
            f"{TRL}; its authors' code has 1",
            trl_names={"beta": "lam"},
            lam=0.1,
        ),
        library_loss(
            *("cpo", terms.cpo, (*SUMS[:2], "chosen_nll")),
            "Xu et al. 2024, arXiv:2401.08417, eq. 3",
            TRL,
            trl_names={"cpo_alpha": "alpha"},
            beta=0.1,
            alpha=1.0,
        ),
        library_loss(
            *("unlikelihood", terms.unlikelihood),
            ("chosen_nll", "rejected_unlikelihood"),
            "Welleck et al. 2019, arXiv:1908.04319, on rejected answers",
            UNVERIFIED,
            alpha=1.0,
        ),
        library_loss(
            *("exo", losses.exo, SUMS),
            "Ji et al. 2024, arXiv:2402.00856, eq. 16",
            TRL,
            beta=0.1,
            label_smoothing=1e-3,
        ),
        library_loss(
            *("discopop", losses.discopop, SUMS),
            "Lu et al. 2024, arXiv:2406.08414, eq. 5",
            TRL,
            trl_names={"discopop_tau": "temperature"},
            beta=0.1,
            temperature=0.05,
        ),
        library_loss(
            *("bco", terms.shifted_bco, (*SUMS, "shift")),
            f"{JUNG}, with the running mean of rewards",
            f"{TRL}'s DPO; {UNVERIFIED}",
            beta=0.1,
        ),
        library_loss(
            *("bco_pair", losses.bco, SUMS),
            f"{JUNG}, with a constant shift",
            f"{TRL}, which has no shift",
            beta=0.1,
            delta=0.0,
        ),
        library_loss(
            *("apo_zero", losses.apo_zero, SUMS, f"{APO}, eq. 7"),
            TRL,
            beta=0.1,
        ),
        library_loss(
            *("apo_down", losses.apo_down, SUMS, f"{APO}, eq. 8"),
            TRL,
            beta=0.1,
        ),
        library_loss(
            *("sppo", losses.sppo, SUMS),
            "Wu et al. 2024, arXiv:2405.00675, eq. 4.7",
            f"{TRL}; {UNVERIFIED}",
            beta=0.1,
        ),
        library_loss(
            *("nca", losses.nca, SUMS),
            "Chen et al. 2024, arXiv:2402.05369, section 4.1",
            f"{TRL}; {UNVERIFIED}",
            beta=0.1,
        ),
        library_loss(
            *("aot", losses.aot, SUMS, f"{AOT}, paired"),
            TRL,
            couples_batch=True,
            beta=0.1,
            label_smoothing=0.0,
        ),
        library_loss(
            *("aot_unpaired", losses.aot_unpaired, SUMS, f"{AOT}, unpaired"),
            TRL,
            couples_batch=True,
            beta=0.1,
            label_smoothing=0.0,
        ),
        library_loss(
            *("wpo", terms.wpo, (*SUMS, *WEIGHTS)),
            "Zhou et al. 2024, arXiv:2406.11827, eq. 2",
            f"{TRL}'s DPO; {UNVERIFIED}",
            beta=0.1,
        ),
        library_loss(
            *("ld_dpo", terms.ld_dpo, (*SUMS, *SHARED)),
            "Liu et al. 2024, arXiv:2409.06411",
            f"beta: {TRL}'s DPO; alpha: {UNVERIFIED}",
            trl_names={"ld_alpha": "alpha"},
            beta=0.1,
            alpha=0.5,
        ),
        library_loss(
            *("token_dpo", terms.token_dpo, (*SUMS, *KLS), f"{TDPO}, TDPO2"),
            UNVERIFIED,
            beta=0.1,
            alpha=0.5,
        ),
        library_loss(
            *("token_dpo1", terms.token_dpo1, (*SUMS, *KLS), f"{TDPO}, TDPO1"),
            UNVERIFIED,
            beta=0.1,
        ),
    ]
)
UNPAIRED_LOSSES = by_name(
    [
        library_loss(
            *("kto", losses.kto, ("logp", "ref_logp", "desirable", "kl")),
            "Ethayarajh et al. 2024, arXiv:2402.01306, eq. 7 and 8",
            f"{TRL} and HALOs",
            beta=0.1,
            desirable_weight=1.0,
            undesirable_weight=1.0,
        )
    ]
)
