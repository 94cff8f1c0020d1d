"""The objective of group methods: no value model, advantages of whole answers."""

from collections.abc import Callable

import jax.numpy as jnp

from jaxalign import estimators, losses
from jaxalign.batches import GroupBatch
from jaxalign.estimators.kl import LARGEST_LOG_RATIO
from jaxalign.masks import masked_sum
from jaxalign.training.policy_objectives import statistics
from jaxalign.training.step import Objective, Total
from jaxalign.types import Array, LanguageModel, Params

# (logp, old_logp, advantage, mask), [B T] each, to terms [B T]
TokenLoss = Callable[[Array, Array, Array, Array], Array]
# (terms, mask), [B T] each, to their sum and its weight, such as `losses.token_mean`
Mean = Callable[[Array, Array], tuple[Array, Array]]


def group(
    policy: LanguageModel,
    loss: TokenLoss,
    mean: Mean,
    *,
    kl_coef: float = 0.0,
    temperature: float = 1.0,
    chunk: int | None = None,
) -> Objective:
    """Policy gradients with advantages from groups of answers to one prompt.

    terms = loss(logp, old_logp, advantage) + kl_coef * kl_loss(logp, ref_logp)

    added up by `mean`. Takes a `GroupBatch`; the policy's log-probs are those at
    `temperature`, which must be that of `old_logp`. Metrics, over answer tokens:
    policy_loss, kl_ref (k3), entropy, ratio, approxkl (k3).

    Args:
      loss: terms per token; an answer's advantage stands at each of its tokens.

    Reference: Shao et al. 2024, arXiv:2402.03300, eq. 3 (GRPO).
    """

    def objective(params: Params, batch: GroupBatch) -> Total:
        mask = batch.sequences.loss_mask
        logp, entropy = statistics(policy, params, batch.sequences, chunk, temperature)
        advantage = jnp.broadcast_to(batch.advantage[:, None], logp.shape)
        surrogate = loss(logp, batch.old_logp, advantage, mask)
        kl = losses.kl_loss(logp, batch.ref_logp)
        terms = surrogate + kl_coef * kl if kl_coef else surrogate
        bound = LARGEST_LOG_RATIO
        watched = {
            "policy_loss": surrogate,
            "kl_ref": kl,
            "entropy": entropy,
            "ratio": jnp.exp(jnp.clip(logp - batch.old_logp, -bound, bound)),
            "approxkl": estimators.kl_k3(batch.old_logp, logp),
        }
        count = jnp.sum(mask)
        metrics = {n: (masked_sum(x, mask), count) for n, x in watched.items()}
        total, weight = mean(terms, mask)
        return total, (weight, metrics)

    return objective
