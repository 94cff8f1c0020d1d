"""Losses: arrays in, one term per pair or token out. The heart of the library.

preference, pairwise     of the difference between two answers: DPO and its relatives
absolute, transport      of each answer by itself; of whole distributions of answers
divergence               DPO held to its reference by other divergences (`divergence.*`)
tokens                   what token-level variants of DPO add up before a pair's loss
reward, ties, uncertain  of reward models: pairs, rankings, ties, annotators who differ
policy, aggregate        policy gradients, and how their tokens become one number
value, supervised        of value models; of demonstrations
distillation             a student's distributions against a teacher's
"""

from jaxalign.losses import divergence
from jaxalign.losses.distillation import (
    forward_kl_distillation,
    generalized_jsd,
    reverse_kl_distillation,
    top_k_distillation,
)
from jaxalign.losses.divergence import f_dpo
from jaxalign.losses.dpo_variants import (
    cpo,
    discopop,
    dpop,
    exo,
    hinge,
    length_normalized_dpo,
    r_dpo,
    reference_free_dpo,
    robust_dpo,
    slic,
)
from jaxalign.losses.optimal_transport import aot, aot_unpaired
from jaxalign.losses.pointwise import (
    apo_down,
    apo_zero,
    apo_zero_unpaired,
    bco,
    bco_unpaired,
    nca,
    sppo,
)
from jaxalign.losses.policy import (
    cispo,
    clipped_surrogate,
    dual_clip,
    entropy_bonus,
    gspo,
    kl_loss,
    reinforce,
    sequence_clipped_surrogate,
    truncated_importance_weight,
)
from jaxalign.losses.preference import dpo, ipo, kto, log_odds, orpo, simpo
from jaxalign.losses.reduction import constant_length_mean, sequence_mean, token_mean
from jaxalign.losses.reward import (
    MARGINS_LARGE,
    MARGINS_SMALL,
    all_pairs,
    bradley_terry,
    plackett_luce,
    reward_centering,
    reward_regression,
    soft_bradley_terry,
)
from jaxalign.losses.supervised import nll, unlikelihood, z_loss
from jaxalign.losses.ties import davidson, rao_kupper
from jaxalign.losses.token_level import ld_dpo_logp, rpo, tdpo1, tdpo2, wpo_weight
from jaxalign.losses.uncertain import safety_classification, thurstone
from jaxalign.losses.value import clipped_value, huber_value, squared_value

__all__ = [
    "MARGINS_LARGE",
    "MARGINS_SMALL",
    "all_pairs",
    "sequence_clipped_surrogate",
    "aot",
    "aot_unpaired",
    "apo_down",
    "apo_zero",
    "apo_zero_unpaired",
    "bco",
    "bco_unpaired",
    "bradley_terry",
    "reward_centering",
    "cispo",
    "clipped_surrogate",
    "clipped_value",
    "constant_length_mean",
    "cpo",
    "davidson",
    "discopop",
    "divergence",
    "dpo",
    "rpo",
    "dpop",
    "dual_clip",
    "entropy_bonus",
    "exo",
    "f_dpo",
    "forward_kl_distillation",
    "generalized_jsd",
    "hinge",
    "huber_value",
    "ipo",
    "kl_loss",
    "kto",
    "ld_dpo_logp",
    "length_normalized_dpo",
    "r_dpo",
    "log_odds",
    "thurstone",
    "nca",
    "nll",
    "orpo",
    "plackett_luce",
    "rao_kupper",
    "reference_free_dpo",
    "reward_regression",
    "reinforce",
    "reverse_kl_distillation",
    "robust_dpo",
    "safety_classification",
    "sequence_mean",
    "gspo",
    "simpo",
    "slic",
    "soft_bradley_terry",
    "sppo",
    "squared_value",
    "tdpo2",
    "tdpo1",
    "token_mean",
    "top_k_distillation",
    "truncated_importance_weight",
    "unlikelihood",
    "wpo_weight",
    "z_loss",
]
