"""Objectives: `(params, batch) -> (sum, (weight, metrics))` of a model and a loss.

Sums and weights add up over micro-batches and devices; the step divides once. Here are
those of supervised finetuning and of reward models; those of preferences and of PPO
have their own modules and are listed here too.
"""

from collections.abc import Callable

import jax.numpy as jnp

from jaxalign import losses
from jaxalign.batches import AnswerBatch, PreferenceBatch, RankingBatch, TokenBatch
from jaxalign.masks import masked_sum
from jaxalign.rewards import reward_model
from jaxalign.training import forward
from jaxalign.training.group_objectives import group
from jaxalign.training.loss_names import get_loss, pairwise_loss
from jaxalign.training.loss_registry import PAIRWISE_LOSSES
from jaxalign.training.mixed_objectives import MixedBatch, mix_batches, with_ptx
from jaxalign.training.pairwise_terms import label_of
from jaxalign.training.policy_objectives import explained_variance, ppo
from jaxalign.training.preference_loss import PairLogps, PairLoss, PairwiseLoss, as_loss
from jaxalign.training.preference_objectives import (
    PairsWithReference,
    UnpairedWithReference,
    kto,
    preference,
)
from jaxalign.training.step import Objective, Total
from jaxalign.types import Array, LanguageModel, Params, ScalarModel

__all__ = [
    "as_loss",
    "get_loss",
    "MixedBatch",
    "PAIRWISE_LOSSES",
    "PairLogps",
    "PairLoss",
    "PairsWithReference",
    "PairwiseLoss",
    "UnpairedWithReference",
    "explained_variance",
    "group",
    "hard_label_loss",
    "kto",
    "label_of",
    "mix_batches",
    "pairwise_loss",
    "ppo",
    "preference",
    "ranking",
    "reward",
    "sft",
    "soft_label_loss",
    "with_ptx",
]


def sft(model: LanguageModel, *, chunk: int | None = None) -> Objective:
    """Supervised finetuning: the NLL of answer tokens, a mean over tokens.

    loss = -sum over answer tokens of logp / number of answer tokens

    Takes a `TokenBatch`. Metric: answer_length.
    """

    def objective(params: Params, batch: TokenBatch) -> Total:
        logp = forward.token_logps(model, params, batch, chunk=chunk)
        total = masked_sum(losses.nll(logp), batch.loss_mask)
        tokens = jnp.sum(batch.loss_mask)
        before = jnp.pad(batch.loss_mask[:, :-1], ((0, 0), (1, 0)))
        answers = jnp.sum(batch.loss_mask & ~before)  # where one begins, packed or not
        return total, (tokens, {"answer_length": (tokens, answers)})

    return objective


RewardLoss = Callable[[Array, Array, Array], Array]


def hard_label_loss(chosen: Array, rejected: Array, margin: Array) -> Array:
    """Bradley-Terry with Llama 2's margins."""
    return losses.bradley_terry(chosen, rejected, margin=margin)


def soft_label_loss(chosen: Array, rejected: Array, margin: Array) -> Array:
    """Bradley-Terry with the labels of a judge, see `label_of`.

    Reference: Bai et al. 2022, arXiv:2212.08073, section 4.
    """
    return losses.soft_bradley_terry(chosen, rejected, label_of(margin))


def reward(
    model: ScalarModel, *, center: float = 0.0, loss: RewardLoss = hard_label_loss
) -> Objective:
    """A reward model from pairs: Bradley-Terry on the scores at the last tokens.

    loss = -log sigmoid(chosen - rejected - margin) + center * (chosen + rejected)^2

    Takes a `PreferenceBatch` or an `AnswerBatch`; both answers go through the model in
    one forward. Metrics: accuracy (a tie is half right), margin, score/chosen,
    score/rejected.

    Args:
      center: pulls scores, which pairs fix up to a constant, to 0; 0.01 where wanted.
      loss: (chosen, rejected, margin) -> a term a pair, such as `soft_label_loss`.

    Reference: Ouyang et al. 2022, arXiv:2203.02155, eq. 1; Touvron et al. 2023,
    arXiv:2307.09288, eq. 2 (margin); Eisenstein et al. 2023, arXiv:2312.09244, eq. 2.
    """

    def objective(params: Params, batch: PreferenceBatch | AnswerBatch) -> Total:
        if isinstance(batch, AnswerBatch):
            scores = reward_model.answer_scores(model, params, batch)
        else:
            both = forward.interleave(batch.chosen, batch.rejected)
            scores = reward_model.score(model, params, both).reshape(-1, 2)
        chosen, rejected = scores[:, 0], scores[:, 1]
        terms = loss(chosen, rejected, batch.margin)
        terms = terms + center * jnp.square(chosen + rejected)
        weight = jnp.sum(batch.valid)
        right = (chosen > rejected) + 0.5 * (chosen == rejected)
        metrics = {
            "accuracy": right,
            "margin": chosen - rejected,
            "score/chosen": chosen,
            "score/rejected": rejected,
        }
        sums = {n: (masked_sum(x, batch.valid), weight) for n, x in metrics.items()}
        return masked_sum(terms, batch.valid), (weight, sums)

    return objective


RankingLoss = Callable[[Array, Array], Array]


def ranking(
    model: ScalarModel, *, loss: RankingLoss = losses.plackett_luce
) -> Objective:
    """A reward model from rankings, by the scores at the last tokens.

    Takes a `RankingBatch` or an `AnswerBatch`; a prompt with fewer than two answers
    does not count. Metric: accuracy, the share of prompts whose best answer has the
    highest score.

    Args:
      loss: (scores [B K] best first, mask [B K]) -> [B], such as
        `losses.all_pairs_bradley_terry`.

    Reference: Ouyang et al. 2022, arXiv:2203.02155, eq. 1 (all pairs of a prompt are
    one element of the batch).
    """

    def objective(params: Params, batch: RankingBatch | AnswerBatch) -> Total:
        if isinstance(batch, AnswerBatch):
            scores = reward_model.answer_scores(model, params, batch)
        else:
            scores = reward_model.score(model, params, batch.answers)
            scores = scores.reshape(batch.mask.shape)
        counts = jnp.sum(batch.mask, axis=-1) >= 2
        weight = jnp.sum(counts)
        others = jnp.where(batch.mask, scores, -jnp.inf)[:, 1:].max(axis=-1)
        right = (scores[:, 0] > others) + 0.5 * (scores[:, 0] == others)
        total = masked_sum(loss(scores, batch.mask), counts)
        return total, (weight, {"accuracy": (masked_sum(right, counts), weight)})

    return objective
