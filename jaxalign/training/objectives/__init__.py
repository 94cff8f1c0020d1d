"""Objectives: `(params, batch) -> (sum, (weight, metrics))` of a model and a loss.

Sums and weights add up over micro-batches and devices; the step divides once. Each
metric is a pair, too: its sum and its weight.
"""

from jaxalign.training.loss_names import get_loss, pairwise_loss
from jaxalign.training.loss_registry import PAIRWISE_LOSSES
from jaxalign.training.objectives.actor_critic import explained_variance, ppo
from jaxalign.training.objectives.distillation import (
    DistillationBatch,
    DistillationTerms,
    distillation,
    distillation_terms,
    gkd_divergence,
)
from jaxalign.training.objectives.grpo import group, rollout_diagnostics
from jaxalign.training.objectives.preferences import (
    for_loss,
    pair_logps,
    preference,
    step_inputs,
)
from jaxalign.training.objectives.ptx import MixedBatch, mix_batches, with_ptx
from jaxalign.training.objectives.reward_models import (
    RewardLoss,
    confidence_loss,
    hard_label_loss,
    ranking,
    reward,
    soft_label_loss,
)
from jaxalign.training.objectives.safety import reward_with_safety
from jaxalign.training.objectives.supervised import sft
from jaxalign.training.objectives.unpaired import kto
from jaxalign.training.preference_loss import (
    ModelLogps,
    PairLogps,
    PairLoss,
    PairwiseLoss,
    Sides,
    UnpairedLoss,
    as_loss,
)

__all__ = [
    "DistillationBatch",
    "DistillationTerms",
    "MixedBatch",
    "ModelLogps",
    "PAIRWISE_LOSSES",
    "PairLogps",
    "PairLoss",
    "PairwiseLoss",
    "RewardLoss",
    "Sides",
    "UnpairedLoss",
    "as_loss",
    "confidence_loss",
    "distillation",
    "distillation_terms",
    "explained_variance",
    "for_loss",
    "get_loss",
    "gkd_divergence",
    "group",
    "hard_label_loss",
    "kto",
    "mix_batches",
    "pair_logps",
    "pairwise_loss",
    "ppo",
    "preference",
    "ranking",
    "reward",
    "reward_with_safety",
    "rollout_diagnostics",
    "sft",
    "soft_label_loss",
    "step_inputs",
    "with_ptx",
]
