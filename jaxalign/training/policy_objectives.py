"""The objective of PPO: the clipped surrogate and the clipped value loss, together."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from jaxalign import estimators, losses
from jaxalign.batches import RolloutBatch, TokenBatch
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
    """Proximal policy optimisation of a policy and its value model, a mean over tokens.

    loss = clipped_surrogate + vf_coef * clipped_value - entropy_coef * entropy

    Takes `{"policy": ..., "value": ...}` and a `RolloutBatch`; every mean is over the
    tokens of `sequences.loss_mask`, whatever the micro-batches. The policy's log-probs
    are those at `temperature`, which must be that of `old_logp`. Metrics: policy_loss,
    value_loss, entropy, ratio, clipfrac, value_clipfrac, approxkl (k3), approxkl_sq
    (half the mean square), and what `explained_variance` needs.

    Reference: Schulman et al. 2017, arXiv:1707.06347, eq. 7 and 9; defaults of Ziegler
    et al. 2019, arXiv:1909.08593.
    """

    def objective(params: Params, batch: RolloutBatch) -> Total:
        mask = batch.sequences.loss_mask
        logp, entropy = logp_and_entropy(
            policy, params["policy"], batch.sequences, chunk, temperature
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
        moved = jnp.abs(values - batch.old_value) > value_clip
        watched = {
            "policy_loss": surrogate,
            "value_loss": value_loss,
            "entropy": entropy,
            "ratio": ratio,
            "clipfrac": is_outside(ratio, 1.0 - clip_low, 1.0 + clip_high),
            "value_clipfrac": moved.astype(jnp.float32),
            "approxkl": estimators.kl_k3(batch.old_logp, logp),
            "approxkl_sq": 0.5 * jnp.square(logp - batch.old_logp),
            "returns": batch.returns,
            "returns_sq": jnp.square(batch.returns),
            "value_error": batch.returns - values,
            "value_error_sq": jnp.square(batch.returns - values),
        }
        weight = jnp.sum(mask)
        metrics = {n: (masked_sum(x, mask), weight) for n, x in watched.items()}
        return masked_sum(terms, mask), (weight, metrics)

    return objective


def logp_and_entropy(
    model: LanguageModel,
    params: Params,
    batch: TokenBatch,
    chunk: int | None,
    temperature: float,
) -> tuple[Array, Array]:
    """Log-prob and entropy of each token's distribution, aligned with tokens."""
    told, aligned = forward.scored_inputs(model, params, batch)
    found = estimators.token_statistics(
        *told, chunk=chunk, logit_cap=model.config.logit_cap, temperature=temperature
    )
    return aligned(found.logp), aligned(found.entropy)


def is_outside(x: Array, low: float, high: float) -> Array:
    """1.0 where x is not within its bounds."""
    return ((x < low) | (x > high)).astype(jnp.float32)


def explained_variance(metrics: Mapping[str, Any]) -> Any:
    """The share of the returns' variance that values explain, from a step's metrics.

    1 - var(returns - values) / var(returns): 1 is perfect, 0 no better than a constant.
    """
    error = metrics["value_error_sq"] - metrics["value_error"] ** 2
    variance = metrics["returns_sq"] - metrics["returns"] ** 2
    return 1.0 - error / jnp.maximum(variance, 1e-8)
