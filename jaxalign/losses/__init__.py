"""Losses: arrays in, one term per pair, answer or token out, in nats.

module             losses
-----------------  -----------------------------------------------------------------
preference         margin losses of pairs: DPO, IPO, RSO's hinge, SLiC, SimPO, CPO, ORPO
dpo_variants       robust DPO, RPO, DPOP, R-DPO, length-normalized DPO, EXO, DiscoPOP
divergence         f-DPO, and the scores of its divergences (`losses.divergence`)
pointwise          BCO, APO, SPPO, NCA: each answer against its reference
unpaired           KTO, BCO, APO of single answers labeled desirable or undesirable
optimal_transport  AOT: optimal transport between the distributions of a batch
token_level        TDPO; log-probs and weights for LD-DPO and WPO
reward             reward models: Bradley-Terry, Plackett-Luce, regression, safety
comparison_models  reward models: ties, predicted variances
annotations        reward models: graded scales; annotators' sharpness, bias, lapses
policy             policy gradients: PPO, dual-clip, REINFORCE, CISPO, GSPO
regularizers       entropy bonus, KL loss
reduction          token terms -> (sum, weight): DAPO, GRPO, Dr. GRPO
value              value models: PPO's clipped error, squared error, Huber
supervised         NLL, unlikelihood, z-loss
distillation       forward and reverse KL, generalized JSD, top K

Data are positional, hyperparameters keyword-only. Nothing is reduced, except over the
tokens of an answer; `jax.grad`, `jax.vmap` and `jax.jit` apply to all of them.
"""

from jaxalign.losses import divergence
from jaxalign.losses.annotations import annotator_bradley_terry, cumulative_logit
from jaxalign.losses.comparison_models import davidson, rao_kupper, thurstone
from jaxalign.losses.distillation import (
    forward_kl_distillation,
    generalized_jsd,
    reverse_kl_distillation,
    top_k_distillation,
)
from jaxalign.losses.divergence import f_dpo
from jaxalign.losses.dpo_variants import (
    discopop,
    dpop,
    exo,
    length_normalized_dpo,
    r_dpo,
    robust_dpo,
    rpo,
)
from jaxalign.losses.optimal_transport import aot, aot_unpaired
from jaxalign.losses.pointwise import apo_down, apo_zero, bco, nca, sppo
from jaxalign.losses.policy import (
    cispo,
    clipped_surrogate,
    dual_clip,
    gspo,
    reinforce,
    sequence_clipped_surrogate,
    truncated_importance_weight,
)
from jaxalign.losses.preference import (
    cpo,
    dpo,
    hinge,
    ipo,
    log_odds,
    orpo,
    reference_free_dpo,
    simpo,
    slic,
)
from jaxalign.losses.reduction import (
    constant_length_mean,
    sequence_mean,
    token_mean,
)
from jaxalign.losses.regularizers import entropy_bonus, kl_loss
from jaxalign.losses.reward import (
    MARGINS_LARGE,
    MARGINS_SMALL,
    all_pairs_bradley_terry,
    bradley_terry,
    confidence_bradley_terry,
    plackett_luce,
    reward_centering,
    reward_regression,
    safety_classification,
    soft_bradley_terry,
)
from jaxalign.losses.supervised import nll, unlikelihood, z_loss
from jaxalign.losses.token_level import ld_dpo_logp, tdpo1, tdpo2, wpo_weight
from jaxalign.losses.unpaired import apo_zero_unpaired, bco_unpaired, kto
from jaxalign.losses.value import clipped_value, huber_value, squared_value

__all__ = [
    "MARGINS_LARGE",
    "MARGINS_SMALL",
    "all_pairs_bradley_terry",
    "annotator_bradley_terry",
    "aot",
    "aot_unpaired",
    "apo_down",
    "apo_zero",
    "apo_zero_unpaired",
    "bco",
    "bco_unpaired",
    "bradley_terry",
    "cispo",
    "clipped_surrogate",
    "clipped_value",
    "confidence_bradley_terry",
    "constant_length_mean",
    "cpo",
    "cumulative_logit",
    "davidson",
    "discopop",
    "divergence",
    "dpo",
    "dpop",
    "dual_clip",
    "entropy_bonus",
    "exo",
    "f_dpo",
    "forward_kl_distillation",
    "generalized_jsd",
    "gspo",
    "hinge",
    "huber_value",
    "ipo",
    "kl_loss",
    "kto",
    "ld_dpo_logp",
    "length_normalized_dpo",
    "log_odds",
    "nca",
    "nll",
    "orpo",
    "plackett_luce",
    "r_dpo",
    "rao_kupper",
    "reference_free_dpo",
    "reinforce",
    "reverse_kl_distillation",
    "reward_centering",
    "reward_regression",
    "robust_dpo",
    "rpo",
    "safety_classification",
    "sequence_clipped_surrogate",
    "sequence_mean",
    "simpo",
    "slic",
    "soft_bradley_terry",
    "sppo",
    "squared_value",
    "tdpo1",
    "tdpo2",
    "thurstone",
    "token_mean",
    "top_k_distillation",
    "truncated_importance_weight",
    "unlikelihood",
    "wpo_weight",
    "z_loss",
]
