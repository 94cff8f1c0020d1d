"""From the scores of sampled answers to PPO's batch: normalization, then advantages."""

from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp

from jaxalign import estimators, masks
from jaxalign.batches import RolloutBatch, TokenBatch
from jaxalign.estimators import running_moments
from jaxalign.rewards import reward_model
from jaxalign.training import forward
from jaxalign.types import Array, Params, ScalarModel

ScoreNormalization = Literal["none", "reference", "running", "batch"]
# Scores of a smaller variance count as equal, and are not scaled.
SMALLEST_VARIANCE = 1e-8


def score_moments(score: Array) -> list[float]:
    """The moments of scores [A], as JSON values.

    Raises:
      ValueError: all scores are the same, so that they have no scale.
    """
    moments = running_moments.update(
        running_moments.empty_moments(), score, jnp.ones_like(score, bool)
    )
    if not running_moments.variance(moments) > SMALLEST_VARIANCE:
        raise ValueError(
            f"the reference's {len(score)} answers all have the score {score[0]}: "
            "there is nothing to normalize by; leave --normalize none"
        )
    return moments_to_json(moments)


def moments_to_json(moments: running_moments.RunningMoments) -> list[float]:
    """Moments as numbers that JSON keeps exactly: count, mean, sum of squares."""
    return [float(x) for x in (moments.count, moments.mean, moments.m2)]


def moments_from_json(numbers: list[float]) -> running_moments.RunningMoments:
    """The inverse of `moments_to_json`."""
    return running_moments.RunningMoments(*map(jnp.float32, numbers))


def normalize_scores(
    score: Array,
    how: ScoreNormalization,
    moments_json: list[float] | None,
    *,
    clip: float | None = None,
) -> tuple[Array, list[float] | None]:
    """Normalizes the scores of answers [A], then clips them.

    none        score
    reference   (score - mean) / std, of the reference's own answers
    running     score / std, of all answers so far, these included
    batch       (score - mean) / std, of these answers

    Args:
      moments_json: the moments, of `moments_to_json`; None before the first scores.
      clip: scores are clipped to [-clip, clip]; None clips nothing.

    Returns:
      The normalized scores [A], and the moments for the next iteration.

    Reference: Ziegler et al. 2019, arXiv:1909.08593, section 2.1 (reference); Touvron
    et al. 2023, arXiv:2307.09288, section 3.2.3 (batch).
    """
    every_answer = jnp.ones_like(score, bool)
    if how == "reference":
        assert moments_json is not None
        score = running_moments.normalize(score, moments_from_json(moments_json))
    if how == "running":
        moments = running_moments.empty_moments()
        if moments_json:
            moments = moments_from_json(moments_json)
        moments = running_moments.update(moments, score, every_answer)
        variance = running_moments.variance(moments)
        has_scale = variance > SMALLEST_VARIANCE
        score = score * jnp.where(has_scale, jax.lax.rsqrt(variance), 1.0)
        moments_json = moments_to_json(moments)
    if how == "batch":
        score = masks.whiten(score, every_answer)
    return score if clip is None else jnp.clip(score, -clip, clip), moments_json


@partial(
    jax.jit,
    static_argnums=0,
    static_argnames=("gamma", "lam", "whiten_rewards", "bootstrap"),
)
def rollout_batch(
    model: ScalarModel,
    params: Params,
    sequences: TokenBatch,
    logp: Array,
    ref_logp: Array,
    score: Array,
    ended: Array,
    *,
    beta: Array,
    gamma: float,
    lam: float,
    whiten_rewards: bool = False,
    bootstrap: bool = False,
) -> tuple[RolloutBatch, dict[str, Array]]:
    """The batch that PPO trains on: values, rewards per token, advantages, returns.

    reward[t] = -beta * (logp[t] - ref_logp[t]), + score at the answer's last token
    delta[t] = reward[t] + gamma * value[t + 1] - value[t]
    advantage[t] = delta[t] + gamma * lam * advantage[t + 1]
    returns = advantage + value

    Advantages are whitened over the whole batch, after the returns are computed.

    Args:
      model, params: the value model, and its parameters.
      sequences: prompts and answers, one answer a row [A T].
      logp, ref_logp: per-token log-probs under the policy that sampled the answers and
        under its reference, in nats [A T].
      score: of each answer [A].
      ended: whether each answer ended with a stop token, bool [A].
      beta: coefficient of the KL penalty, at least 0.
      gamma: discount, from 0 to 1.
      lam: GAE's lambda, from 0 to 1.
      whiten_rewards: scale the rewards per token to unit variance; their mean stays.
      bootstrap: add gamma times the value model's score of the text to the last reward
        of an answer that did not end.

    Returns:
      The batch, and scalar metrics of it.

    Reference: Schulman et al. 2016, arXiv:1506.02438, eq. 16 (GAE).
    """
    mask = sequences.loss_mask
    value = forward.token_values(model, params, sequences)
    rewards = estimators.kl_penalized_rewards(score, logp, ref_logp, mask, beta=beta)
    token_reward_std = masked_std(rewards, mask)
    if whiten_rewards:
        rewards = masks.whiten(rewards, mask, shift_mean=False)
    if bootstrap:
        beyond = gamma * reward_model.score(model, params, sequences)
        rewards += estimators.place_at_last_token(jnp.where(ended, 0.0, beyond), mask)
    advantage, returns = estimators.gae(rewards, value, mask, gamma=gamma, lam=lam)
    batch = RolloutBatch(
        sequences=sequences,
        old_logp=logp,
        old_value=value,
        advantage=masks.whiten(advantage, mask),
        returns=returns,
    )
    return batch, {
        "beta": beta,
        "score": score.mean(),
        "return": masks.masked_mean(returns, mask),
        "token_reward_std": token_reward_std,
        "advantage_mean": masks.masked_mean(advantage, mask),
        "advantage_std": masked_std(advantage, mask),
    }


def masked_std(x: Array, mask: Array) -> Array:
    """The standard deviation of the entries of `x` where `mask` is True.

    sqrt(mean((x - mean(x))^2))
    """
    return jnp.sqrt(masks.masked_mean(jnp.square(x - masks.masked_mean(x, mask)), mask))
