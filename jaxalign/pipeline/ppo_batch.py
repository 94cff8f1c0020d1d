"""From the scores of answers to what PPO trains on: normalisation, then advantages."""

from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp

from jaxalign import estimators, masks
from jaxalign.batches import RolloutBatch, TokenBatch
from jaxalign.estimators import running_moments
from jaxalign.pipeline import online, reward_functions, rollouts
from jaxalign.rewards import reward_model
from jaxalign.training import forward
from jaxalign.types import Array, Params, ScalarModel

ScoreNormalization = Literal["none", "reference", "running", "batch"]
# Scores that differ by less are all the same, and are left as they are.
SMALLEST_VARIANCE = 1e-8


def reference_moments(
    setting: online.RolloutSetup, key: jax.Array, count: int
) -> list[Any]:
    """The moments of the scores of the reference's own answers, as JSON.

    Args:
      count: how many training prompts it answers, once each.

    Raises:
      ValueError: all scores are the same.
    """
    answers = rollouts.sample_answers(
        setting.policy,
        setting.prompts[:count],
        key,
        max_new_tokens=setting.room,
        temperature=setting.config.temperature,
    )
    ended = jnp.asarray(answers.finished)
    score = jnp.asarray(
        reward_functions.score_answers(setting.score, answers, mesh=setting.mesh)
    )
    score = online.penalize_missing_eos(setting.config, score, ended)
    moments = running_moments.update(
        running_moments.empty_moments(), score, jnp.ones_like(ended)
    )
    if not running_moments.variance(moments) > SMALLEST_VARIANCE:
        raise ValueError(
            f"the reference's {len(score)} answers all have the score {score[0]}: "
            "there is nothing to normalise by; leave --normalise none"
        )
    return moments_to_json(moments)


def moments_to_json(moments: running_moments.RunningMoments) -> list[float]:
    """Moments as numbers that JSON keeps exactly."""
    return [float(x) for x in (moments.count, moments.mean, moments.m2)]


def moments_from_json(numbers: list[float]) -> running_moments.RunningMoments:
    """What `moments_to_json` was given."""
    return running_moments.RunningMoments(*map(jnp.float32, numbers))


def normalize_scores(
    score: Array,
    how: ScoreNormalization,
    moments_json: list[float] | None,
    *,
    clip: float | None = None,
) -> tuple[Array, list[float] | None]:
    """Scores as `how` normalises them, then cut; and the moments to carry on.

    none        as they are
    reference   (score - mean) / deviation, of the reference's own answers
    running     score / deviation, of all answers so far, these among them
    batch       (score - mean) / deviation, of these answers

    Args:
      moments_json: the moments, as JSON; None before the first scores.
      clip: the largest score, and, negated, the smallest; None cuts nothing.

    Reference: Ziegler et al. 2019, arXiv:1909.08593, section 2.1 (reference); Touvron
    et al. 2023, arXiv:2307.09288, section 3.2.3 (batch).
    """
    everything = jnp.ones_like(score, bool)
    if how == "reference":
        assert moments_json is not None
        score = running_moments.normalize(score, moments_from_json(moments_json))
    if how == "running":
        moments = (
            moments_from_json(moments_json)
            if moments_json
            else running_moments.empty_moments()
        )
        moments = running_moments.update(moments, score, everything)
        variance = running_moments.variance(moments)
        varied = variance > SMALLEST_VARIANCE
        score = score * jnp.where(varied, jax.lax.rsqrt(variance), 1.0)
        moments_json = moments_to_json(moments)
    if how == "batch":
        score = masks.whiten(score, everything)
    return score if clip is None else jnp.clip(score, -clip, clip), moments_json


@partial(
    jax.jit,
    static_argnums=0,
    static_argnames=("gamma", "lam", "whiten_rewards", "bootstrap"),
)
def experience(
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
    """What PPO trains on, of one batch: values, rewards, advantages; and their spread.

    Args:
      model, params: the value model.
      bootstrap: an answer that did not end is worth, after its last token, what the
        value model says, rather than 0.
    """
    mask = sequences.loss_mask
    value = forward.token_values(model, params, sequences)
    rewards = estimators.kl_penalized_rewards(score, logp, ref_logp, mask, beta=beta)
    spread = {"token_reward_std": masked_std(rewards, mask)}
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
    return batch, spread | {
        "score": score.mean(),
        "return": masks.masked_mean(returns, mask),
        "advantage_mean": masks.masked_mean(advantage, mask),
        "advantage_std": masked_std(advantage, mask),
    }


def masked_std(x: Array, mask: Array) -> Array:
    """The population's standard deviation of what the mask keeps."""
    return jnp.sqrt(masks.masked_mean(jnp.square(x - masks.masked_mean(x, mask)), mask))
