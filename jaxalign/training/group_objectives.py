"""The objective of group methods: no value model, advantages of whole answers."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxalign import estimators, losses
from jaxalign.batches import GroupBatch
from jaxalign.estimators.kl import LARGEST_LOG_RATIO
from jaxalign.masks import masked_sum
from jaxalign.training import forward
from jaxalign.training.policy_objectives import logp_and_entropy
from jaxalign.training.step import Objective, Total
from jaxalign.types import Array, LanguageModel, Params

# (logp, old_logp, advantage, mask), [B T] each, to terms [B T]
TokenLoss = Callable[[Array, Array, Array, Array], Array]
# (terms, mask), [B T] each, to their sum and its weight, such as `losses.token_mean`
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
    """Policy gradients with advantages from groups of answers to one prompt.

    kl = kl_loss(logp, old_logp, ref_logp)
    terms = loss(logp, old_logp, advantage) + kl_coef * kl

    added up by `mean`. Takes a `GroupBatch`; the policy's log-probs are those at
    `temperature`, which must be that of `old_logp`. In a later update on the same
    answers the expectation over them needs importance ratios: the KL has its own, of
    each token; `loss` must have one. Metrics, over answer tokens: policy_loss, kl_ref
    (k3, weighed by the ratio), entropy, ratio, approxkl (k3).

    Args:
      loss: terms per token; an answer's advantage stands at each of its tokens, unless
        the batch has one for each token.
      on_policy: the first and only update on these answers: the policy that sampled
        them is the one at hand, so that its log-probs need no forward pass of their
        own. `old_logp` is then the sampler's, of which nothing but `rollout_diagnostics` is made;
        that adds its metrics.

    Reference: Shao et al. 2024, arXiv:2402.03300, eq. 3 (GRPO).
    """

    def objective(params: Params, batch: GroupBatch) -> Total:
        rows, apart = forward.rows_and_unpack(batch.sequences)
        found = logp_and_entropy(policy, params, rows, chunk, temperature)
        told = (*found, batch.old_logp, batch.ref_logp, rows.loss_mask)
        logp, entropy, sampled, ref_logp, mask = map(apart, told)
        old_logp = jax.lax.stop_gradient(logp) if on_policy else sampled
        advantage = batch.advantage
        if advantage.ndim == 1:
            advantage = jnp.broadcast_to(advantage[:, None], logp.shape)
        surrogate = loss(logp, old_logp, advantage, mask)
        kl = losses.kl_loss(logp, old_logp, ref_logp)
        terms = surrogate + kl_coef * kl if kl_coef else surrogate
        bound = LARGEST_LOG_RATIO
        watched = {
            "policy_loss": surrogate,
            "kl_ref": kl,
            "entropy": entropy,
            "ratio": jnp.exp(jnp.clip(logp - old_logp, -bound, bound)),
            "approxkl": estimators.kl_k3(old_logp, logp),
        }
        count = jnp.sum(mask)
        metrics = {n: (masked_sum(x, mask), count) for n, x in watched.items()}
        if on_policy:
            metrics |= rollout_diagnostics(logp, ref_logp, sampled, mask)
        total, weight = mean(terms, mask)
        return total, (weight, metrics)

    return objective


def rollout_diagnostics(
    logp: Array, ref_logp: Array, sampler_logp: Array, mask: Array
) -> dict[str, tuple[Array, Array]]:
    """What is seen of answers [A T] before the policy trains on them, and its weight.

    `kl` and `kl_k3` to the reference, nats an answer; `length`, in tokens; and
    `logp_gap`, by how much the sampler's log-prob of any token is another.
    """
    answers = jnp.sum(jnp.any(mask, axis=1))
    gap = jnp.max(jnp.where(mask, jnp.abs(logp - sampler_logp), 0.0))
    return {
        "kl": (masked_sum(estimators.kl_k1(logp, ref_logp), mask), answers),
        "kl_k3": (masked_sum(estimators.kl_k3(logp, ref_logp), mask), answers),
        "length": (jnp.sum(mask), answers),
        "logp_gap": (gap, jnp.ones(())),
    }
