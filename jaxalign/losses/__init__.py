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
from jaxalign.losses.aot import aot, aot_unpaired
from jaxalign.losses.distillation import (
    forward_kl,
    generalised_jsd,
    reverse_kl,
    top_k_distillation,
)
from jaxalign.losses.divergence import f_dpo
from jaxalign.losses.dpo_variants import (
    cpo,
    discopop,
    dpo_positive,
    exo,
    hinge,
    length_normalised_dpo,
    length_regularised_dpo,
    reference_free_dpo,
    robust_dpo,
    slic,
)
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
    answer_ratio_surrogate,
    cispo,
    clipped_surrogate,
    dual_clip,
    entropy_bonus,
    kl_loss,
    reinforce,
    sequence_ratio_surrogate,
    truncated_importance,
)
from jaxalign.losses.preference import dpo, ipo, kto, log_odds, orpo, simpo
from jaxalign.losses.reduction import constant_length, sequence_mean, token_mean
from jaxalign.losses.reward import (
    MARGINS_LARGE,
    MARGINS_SMALL,
    all_pairs,
    bradley_terry,
    center,
    plackett_luce,
    regression,
    soft_bradley_terry,
)
from jaxalign.losses.supervised import nll, unlikelihood, z_loss
from jaxalign.losses.ties import davidson, rao_kupper
from jaxalign.losses.token_level import (
    dpo_nll,
    ld_logp,
    token_dpo,
    token_dpo1,
    wpo_weight,
)
from jaxalign.losses.uncertain import mean_and_variance, safety_classification
from jaxalign.losses.value import clipped_value, huber_value, squared_value

__all__ = [
    "MARGINS_LARGE",
    "MARGINS_SMALL",
    "all_pairs",
    "answer_ratio_surrogate",
    "aot",
    "aot_unpaired",
    "apo_down",
    "apo_zero",
    "apo_zero_unpaired",
    "bco",
    "bco_unpaired",
    "bradley_terry",
    "center",
    "cispo",
    "clipped_surrogate",
    "clipped_value",
    "constant_length",
    "cpo",
    "davidson",
    "discopop",
    "divergence",
    "dpo",
    "dpo_nll",
    "dpo_positive",
    "dual_clip",
    "entropy_bonus",
    "exo",
    "f_dpo",
    "forward_kl",
    "generalised_jsd",
    "hinge",
    "huber_value",
    "ipo",
    "kl_loss",
    "kto",
    "ld_logp",
    "length_normalised_dpo",
    "length_regularised_dpo",
    "log_odds",
    "mean_and_variance",
    "nca",
    "nll",
    "orpo",
    "plackett_luce",
    "rao_kupper",
    "reference_free_dpo",
    "regression",
    "reinforce",
    "reverse_kl",
    "robust_dpo",
    "safety_classification",
    "sequence_mean",
    "sequence_ratio_surrogate",
    "simpo",
    "slic",
    "soft_bradley_terry",
    "sppo",
    "squared_value",
    "token_dpo",
    "token_dpo1",
    "token_mean",
    "top_k_distillation",
    "truncated_importance",
    "unlikelihood",
    "wpo_weight",
    "z_loss",
]
