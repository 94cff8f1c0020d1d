"""Objective of a reward model with an auxiliary safety head (Llama 2)."""

import jax.numpy as jnp
import numpy as np

from jaxalign import losses
from jaxalign.batches import PairBatch
from jaxalign.masks import masked_sum
from jaxalign.rewards import reward_model
from jaxalign.training.objectives.reward_models import RewardLoss, hard_label_loss
from jaxalign.training.step import Objective, Total
from jaxalign.types import Array, Params, ScalarModel


def reward_with_safety(
    model: ScalarModel,
    unsafe: np.ndarray,
    *,
    weight: float,
    center: float = 0.0,
    loss: RewardLoss = hard_label_loss,
) -> Objective:
    """A reward model from pairs whose second head predicts which answers are unsafe.

    loss = -log sigmoid(chosen - rejected - margin) + center * (chosen + rejected)^2
           + weight * mean over both answers of BCE(log-odds, unsafe)

    A mean over pairs; an answer without a label has a BCE of 0. Metrics: those of
    `reward`, and unsafe_recall and safe_recall, the shares of unsafe and of safe
    answers that the second head recognizes at probability 0.5.

    Args:
      model: its parameters have two heads, see `models.heads.add_safety_head`.
      unsafe: labels of the chosen and the rejected answer of each row of the data set:
        1 unsafe, 0 safe, NaN without a label; float [rows 2].
      weight: of the auxiliary loss; the paper does not print it.
      center, loss: as of `reward`.

    Reference: Touvron et al. 2023, arXiv:2307.09288, section 3.2.2.
    """
    table = jnp.asarray(unsafe, jnp.float32)

    def objective(params: Params, batch: PairBatch, *inputs: Array) -> Total:
        # [pairs, chosen and rejected, score and log-odds]
        heads = reward_model.answer_scores(model, params, batch).reshape(-1, 2, 2)
        chosen, rejected = heads[:, 0, 0], heads[:, 1, 0]
        terms = loss(chosen, rejected, batch, *inputs)
        terms = terms + center * jnp.square(chosen + rejected)
        labels = table[batch.row]
        auxiliary, sums = safety_terms(heads[..., 1], labels, batch.valid)
        terms = terms + weight * auxiliary
        count = jnp.sum(batch.valid)
        metrics = {
            "accuracy": (chosen > rejected) + 0.5 * (chosen == rejected),
            "margin": chosen - rejected,
            "score/chosen": chosen,
            "score/rejected": rejected,
            "safety_loss": auxiliary,
        }
        means = {n: (masked_sum(x, batch.valid), count) for n, x in metrics.items()}
        return masked_sum(terms, batch.valid), (count, means | sums)

    return objective


def safety_terms(
    log_odds: Array, labels: Array, valid: Array
) -> tuple[Array, dict[str, tuple[Array, Array]]]:
    """The auxiliary loss of each pair [B], and sums and counts of both recalls.

    Args:
      log_odds: that an answer is unsafe [B 2].
      labels: 1 unsafe, 0 safe, NaN without a label [B 2].
      valid: False on pairs that do not count [B].
    """
    labeled = ~jnp.isnan(labels)
    bce = losses.safety_classification(log_odds, labels == 1.0)
    auxiliary = jnp.mean(jnp.where(labeled, bce, 0.0), axis=-1)
    flagged = jnp.where(log_odds > 0.0, 1.0, 0.0)
    unsafe = (labels == 1.0) & valid[:, None]
    safe = (labels == 0.0) & valid[:, None]
    return auxiliary, {
        "unsafe_recall": (masked_sum(flagged, unsafe), jnp.sum(unsafe)),
        "safe_recall": (masked_sum(1.0 - flagged, safe), jnp.sum(safe)),
    }
