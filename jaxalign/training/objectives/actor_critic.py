"""The objective of PPO: the clipped surrogate and the clipped value loss, together."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from jaxalign import estimators, losses
from jaxalign.batches import RolloutBatch
from jaxalign.estimators.kl import LARGEST_LOG_RATIO
from jaxalign.masks import masked_sum
from jaxalign.training import forward
from jaxalign.training.step import Objective, Total
from jaxalign.types import Array, LanguageModel, Params, ScalarModel


def ppo(
    policy: LanguageModel,
    value: ScalarModel,
    *,
    clip_low: float = 0.2,
    clip_high: float = 0.2,
    value_clip: float = 0.2,
    vf_coef: float = 0.1,
    entropy_coef: float = 0.0,
    temperature: float = 1.0,
    chunk: int | None = None,
) -> Objective:
    """Proximal policy optimization of a policy and its value model, a mean over tokens.

    loss = clipped_surrogate + vf_coef * clipped_value - entropy_coef * entropy

    Takes `{"policy": ..., "value": ...}` and a `RolloutBatch`; every mean is over the
    tokens of `sequences.loss_mask`, whatever the micro-batches. Metrics: policy_loss,
    value_loss, entropy (nats), ratio, clipfrac, value_clipfrac, approxkl (k3, nats),
    approxkl_sq (half the mean square), and the moments that `explained_variance` needs.

    Args:
      clip_low, clip_high: how far the importance ratio may fall below and rise above 1.
      value_clip: how far values may move from the old ones.
      vf_coef, entropy_coef: weights of the value loss and of the entropy bonus.
      temperature: of the policy's log-probs; must be that of `old_logp`.
      chunk: as in `forward.token_logps`.

    Reference: Schulman et al. 2017, arXiv:1707.06347, eq. 7 and 9; defaults of Ziegler
    et al. 2019, arXiv:1909.08593.
    """

    def objective(params: Params, batch: RolloutBatch) -> Total:
        mask = batch.sequences.loss_mask
        logp, entropy = forward.token_statistics(
            policy,
            params["policy"],
            batch.sequences,
            chunk=chunk,
            temperature=temperature,
        )
        values = forward.token_values(value, params["value"], batch.sequences)
        surrogate = losses.clipped_surrogate(
            logp,
            batch.old_logp,
            batch.advantage,
            clip_low=clip_low,
            clip_high=clip_high,
        )
        value_loss = losses.clipped_value(
            values, batch.old_value, batch.returns, clip=value_clip
        )
        terms = surrogate + vf_coef * value_loss
        if entropy_coef:
            terms = terms - entropy_coef * entropy
        ratio = jnp.exp(
            jnp.clip(logp - batch.old_logp, -LARGEST_LOG_RATIO, LARGEST_LOG_RATIO)
        )
        value_clipped = jnp.abs(values - batch.old_value) > value_clip
        metrics = {
            "policy_loss": surrogate,
            "value_loss": value_loss,
            "entropy": entropy,
            "ratio": ratio,
            "clipfrac": is_outside(ratio, 1.0 - clip_low, 1.0 + clip_high),
            "value_clipfrac": value_clipped.astype(jnp.float32),
            "approxkl": estimators.kl_k3(batch.old_logp, logp),
            "approxkl_sq": 0.5 * jnp.square(logp - batch.old_logp),
            "returns": batch.returns,
            "returns_sq": jnp.square(batch.returns),
            "value_error": batch.returns - values,
            "value_error_sq": jnp.square(batch.returns - values),
        }
        weight = jnp.sum(mask)
        sums = {name: (masked_sum(x, mask), weight) for name, x in metrics.items()}
        return masked_sum(terms, mask), (weight, sums)

    return objective


def is_outside(x: Array, low: float, high: float) -> Array:
    """1.0 where x is less than `low` or greater than `high`, else 0.0."""
    return ((x < low) | (x > high)).astype(jnp.float32)


def explained_variance(metrics: Mapping[str, Any]) -> Any:
    """The share of the returns' variance that values explain, from a step's metrics.

    1 - var(returns - values) / var(returns): 1 is perfect, 0 no better than a constant.
    """
    error = metrics["value_error_sq"] - metrics["value_error"] ** 2
    variance = metrics["returns_sq"] - metrics["returns"] ** 2
    return 1.0 - error / jnp.maximum(variance, 1e-8)
