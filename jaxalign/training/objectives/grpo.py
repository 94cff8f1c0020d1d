"""The objective of group methods (GRPO, RLOO, DAPO, GSPO ...): no value model."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxalign import estimators, losses
from jaxalign.batches import GroupBatch
from jaxalign.estimators.kl import LARGEST_LOG_RATIO
from jaxalign.masks import masked_sum
from jaxalign.training import forward
from jaxalign.training.step import Objective, Total
from jaxalign.types import Array, LanguageModel, Params

# (logp, old_logp, advantage, mask), [A T] each, to terms [A T]
TokenLoss = Callable[[Array, Array, Array, Array], Array]
# (terms, mask), [A T] each, to their sum and its weight, such as `losses.token_mean`
Reduction = Callable[[Array, Array], tuple[Array, Array]]


def group(
    policy: LanguageModel,
    loss: TokenLoss,
    mean: Reduction,
    *,
    kl_coef: float = 0.0,
    on_policy: bool = False,
    temperature: float = 1.0,
    chunk: int | None = None,
) -> Objective:
    """Policy gradient with advantages from groups of answers to one prompt.

    kl = kl_loss(logp, old_logp, ref_logp)
    terms = loss(logp, old_logp, advantage) + kl_coef * kl

    reduced by `mean`. Takes a `GroupBatch`. In a later update on the same answers the
    expectation over them needs importance ratios: the KL has its own, of each token;
    `loss` must have one. Metrics, over answer tokens: policy_loss, kl_ref (k3, weighted
    by the ratio), entropy (nats), ratio, approxkl (k3).

    Args:
      loss: terms per token; an answer's advantage is repeated for each of its tokens,
        unless the batch has one for each token.
      mean: the sum of the terms, and its weight.
      kl_coef: weight of the KL to the reference; 0 for none.
      on_policy: the first and only update on these answers, which the current policy
        sampled: its log-probs need no forward pass of their own. `old_logp` is then the
        sampler's, used only for `rollout_diagnostics`, whose metrics are added.
      temperature: of the policy's log-probs; must be that of `old_logp`.
      chunk: as in `forward.token_logps`.

    Reference: Shao et al. 2024, arXiv:2402.03300, eq. 3 (GRPO).
    """

    def objective(params: Params, batch: GroupBatch) -> Total:
        rows, per_answer = batch.sequences.rows(), batch.sequences.per_answer
        mask = per_answer(rows.loss_mask)
        logp, entropy = map(
            per_answer,
            forward.token_statistics(
                policy, params, rows, chunk=chunk, temperature=temperature
            ),
        )
        sampler_logp = per_answer(batch.old_logp)
        ref_logp = per_answer(batch.ref_logp)
        old_logp = jax.lax.stop_gradient(logp) if on_policy else sampler_logp
        advantage = batch.advantage
        if advantage.ndim == 1:
            advantage = jnp.broadcast_to(advantage[:, None], logp.shape)
        surrogate = loss(logp, old_logp, advantage, mask)
        kl = losses.kl_loss(logp, old_logp, ref_logp)
        terms = surrogate + kl_coef * kl if kl_coef else surrogate
        bound = LARGEST_LOG_RATIO
        metrics = {
            "policy_loss": surrogate,
            "kl_ref": kl,
            "entropy": entropy,
            "ratio": jnp.exp(jnp.clip(logp - old_logp, -bound, bound)),
            "approxkl": estimators.kl_k3(old_logp, logp),
        }
        count = jnp.sum(mask)
        sums = {name: (masked_sum(x, mask), count) for name, x in metrics.items()}
        if on_policy:
            sums |= rollout_diagnostics(logp, ref_logp, sampler_logp, mask)
        total, weight = mean(terms, mask)
        return total, (weight, sums)

    return objective


def rollout_diagnostics(
    logp: Array, ref_logp: Array, sampler_logp: Array, mask: Array
) -> dict[str, tuple[Array, Array]]:
    """Metrics of sampled answers before the policy trains on them.

    Args:
      logp, ref_logp: of each token under the policy and its reference [A T].
      sampler_logp: of each token as the sampler computed it [A T].
      mask: True on answer tokens [A T].

    Returns:
      (sum, weight) by name: `kl` and `kl_k3` to the reference, nats per answer;
      `length`, tokens per answer; and `logp_gap`, the largest difference of a token's
      `sampler_logp` from its `logp`.
    """
    answers = jnp.sum(jnp.any(mask, axis=1))
    gap = jnp.max(jnp.where(mask, jnp.abs(logp - sampler_logp), 0.0))
    return {
        "kl": (masked_sum(estimators.kl_k1(logp, ref_logp), mask), answers),
        "kl_k3": (masked_sum(estimators.kl_k3(logp, ref_logp), mask), answers),
        "length": (jnp.sum(mask), answers),
        "logp_gap": (gap, jnp.ones(())),
    }
