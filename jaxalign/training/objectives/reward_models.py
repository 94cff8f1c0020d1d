"""Objectives of reward models: on pairs of answers, and on rankings."""

from collections.abc import Callable

import jax.numpy as jnp

from jaxalign import losses
from jaxalign.batches import AnswerBatch, PairBatch, RankingBatch
from jaxalign.masks import masked_sum
from jaxalign.rewards import reward_model
from jaxalign.training.step import Objective, Total
from jaxalign.types import Array, Params, ScalarModel

# (scores of chosen answers [B], of rejected ones [B], the batch, inputs of the step)
# to terms [B]
RewardLoss = Callable[..., Array]
# (scores [B K] best first, mask [B K]) to terms [B]
RankingLoss = Callable[[Array, Array], Array]


def hard_label_loss(chosen: Array, rejected: Array, batch: PairBatch) -> Array:
    """Bradley-Terry with the batch's rating margins, one term per pair.

    loss = -log sigmoid(chosen - rejected - margin)

    Reference: Touvron et al. 2023, arXiv:2307.09288, eq. 2.
    """
    return losses.bradley_terry(chosen, rejected, margin=batch.margin)


def soft_label_loss(chosen: Array, rejected: Array, batch: PairBatch) -> Array:
    """Bradley-Terry with the batch's soft labels, one term per pair.

    gap = chosen - rejected
    loss = -label_prob * log sigmoid(gap) - (1 - label_prob) * log sigmoid(-gap)

    Reference: Bai et al. 2022, arXiv:2212.08073, section 4.
    """
    return losses.soft_bradley_terry(chosen, rejected, label_probs(chosen, batch))


def confidence_loss(
    chosen: Array, rejected: Array, batch: PairBatch, confidence: Array
) -> Array:
    """The soft-label loss, mixed with the model's own preferences, one term per pair.

    target = (1 - confidence) * label_prob + confidence * 1[chosen > rejected]

    Args:
      confidence: an input of the step, so that it may change from step to step.

    Reference: Burns et al. 2023, arXiv:2312.09390, section 4.3.2.
    """
    return losses.confidence_bradley_terry(
        chosen, rejected, label_probs(chosen, batch), confidence=confidence
    )


def label_probs(chosen: Array, batch: PairBatch) -> Array:
    """The soft labels of a batch [B]; 1 where it has none."""
    if batch.label_prob is None:
        return jnp.ones_like(chosen)
    return batch.label_prob


def reward(
    model: ScalarModel, *, center: float = 0.0, loss: RewardLoss = hard_label_loss
) -> Objective:
    """A reward model from pairs: Bradley-Terry on the scores at the last tokens.

    loss = -log sigmoid(chosen - rejected - margin) + center * (chosen + rejected)^2

    Takes a `PreferenceBatch` or an `AnswerBatch` of pairs; a mean over pairs. Both
    answers go through the model in one forward pass. Metrics: accuracy (a tie is half
    right), margin (chosen - rejected), score/chosen, score/rejected.

    Args:
      center: weight of the term that keeps scores, which pairs determine up to a
        constant only, near 0; 0 for none, usual is 0.01.
      loss: (chosen, rejected, batch, *inputs) -> one term per pair, such as
        `soft_label_loss`; the inputs are those of the step.

    Reference: Ouyang et al. 2022, arXiv:2203.02155, eq. 1; Touvron et al. 2023,
    arXiv:2307.09288, eq. 2 (margin); Eisenstein et al. 2023, arXiv:2312.09244, eq. 2.
    """

    def objective(params: Params, batch: PairBatch, *inputs: Array) -> Total:
        scores = reward_model.answer_scores(model, params, batch).reshape(-1, 2)
        chosen, rejected = scores[:, 0], scores[:, 1]
        terms = loss(chosen, rejected, batch, *inputs)
        terms = terms + center * jnp.square(chosen + rejected)
        weight = jnp.sum(batch.valid)
        metrics = {
            "accuracy": (chosen > rejected) + 0.5 * (chosen == rejected),
            "margin": chosen - rejected,
            "score/chosen": chosen,
            "score/rejected": rejected,
        }
        sums = {n: (masked_sum(x, batch.valid), weight) for n, x in metrics.items()}
        return masked_sum(terms, batch.valid), (weight, sums)

    return objective


def ranking(
    model: ScalarModel, *, loss: RankingLoss = losses.plackett_luce
) -> Objective:
    """A reward model from rankings, by the scores at the last tokens.

    Takes a `RankingBatch` or an `AnswerBatch`; a mean over prompts, of which those with
    fewer than two answers do not count. Metric: accuracy, the share of prompts whose
    best answer has the highest score.

    Args:
      loss: (scores [B K] best first, mask [B K]) -> [B], such as
        `losses.all_pairs_bradley_terry`.

    Reference: Ouyang et al. 2022, arXiv:2203.02155, eq. 1 (all pairs of a prompt are
    one element of the batch).
    """

    def objective(params: Params, batch: RankingBatch | AnswerBatch) -> Total:
        scores = reward_model.answer_scores(model, params, batch)
        scores = scores.reshape(batch.mask.shape)
        counts = jnp.sum(batch.mask, axis=-1) >= 2
        weight = jnp.sum(counts)
        others = jnp.where(batch.mask, scores, -jnp.inf)[:, 1:].max(axis=-1)
        right = (scores[:, 0] > others) + 0.5 * (scores[:, 0] == others)
        total = masked_sum(loss(scores, batch.mask), counts)
        return total, (weight, {"accuracy": (masked_sum(right, counts), weight)})

    return objective
