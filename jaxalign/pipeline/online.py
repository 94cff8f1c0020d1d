"""What training on one's own samples needs: a policy, prompts, a reward; and rollouts.

Each iteration samples answers to the next prompts, scores them, and makes some epochs
of minibatch updates on them; the loops are in `experiments/ppo.py`, `grpo.py` and
`online_dpo.py`. The randomness of an iteration comes from the run's key and its number
alone: a killed run samples the same answers again.
"""

import dataclasses
import functools
import warnings
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxalign import sharding
from jaxalign.batches import AnswerBatch, TokenBatch
from jaxalign.data.records import Prompt
from jaxalign.pipeline import (
    datasets,
    reward_functions,
    reward_sums,
    rollouts,
    sampling_setup,
)
from jaxalign.pipeline.evaluation import model_checks
from jaxalign.pipeline.prompts import PromptRows
from jaxalign.pipeline.reward_terms import Reward
from jaxalign.pipeline.sampling_setup import SamplingSetup
from jaxalign.rewards import shaping
from jaxalign.runtime.run import Run
from jaxalign.runtime.training_config import OnlineConfig as OnlineConfig
from jaxalign.training import forward, optimizer
from jaxalign.training.state import TrainState
from jaxalign.types import Array, Key, Params


@dataclasses.dataclass(frozen=True, kw_only=True)
class RolloutSetup(SamplingSetup):
    """The fixed parts of an online experiment: those of sampling, and the reward.

    Attributes:
      reward_fn: (prompts, sequences [A T], ended [A]) -> the reward of each answer [A].
      reward_normalization: of each reward of a sum, see `reward_sums`.
    """

    reward_fn: reward_functions.RewardFunction
    reward_normalization: reward_sums.Normalization = "none"


class Rollout(NamedTuple):
    """The answers of an iteration.

    Attributes:
      prompts: the prompt of each answer that this process scores.
      sequences: prompt and answer, one answer a row [A T].
      batch: the same answers as models read them: `sequences`, or several answers after
        one copy of their prompt in a row [R T'].
      sampler_logp: the sampler's log-prob of each token of `batch`, in nats [R T'].
      ended: whether each answer ended with a stop token, bool [A].
    """

    prompts: list[Prompt]
    sequences: TokenBatch
    batch: TokenBatch | AnswerBatch
    sampler_logp: Array
    ended: Array


def prepare(
    config: OnlineConfig,
    run: Run,
    *,
    prompts: int,
    samples: int = 1,
    reward: Reward | None = None,
) -> RolloutSetup:
    """Loads the data, the policy and the reward.

    Args:
      prompts, samples: prompts of an iteration over all devices, answers to each.
      reward: in place of --reward.

    Raises:
      ValueError: the prompts do not divide over the devices, or bad data or rewards.
    """
    reward_sums.check_normalization(config.reward_normalization, samples)
    model_checks.check_reward(config, reward or config.reward)
    setup = sampling_setup.prepare(
        *(config, run, datasets.load(config)),
        prompts=prompts,
        samples=samples,
        minibatches=config.minibatches,
        flag="--prompts (of PPO --batch)",
    )
    return RolloutSetup(
        **vars(setup),
        reward_fn=reward_functions.make_reward_function(
            *(reward or config.reward, config.dtype, setup.policy, setup.dataset),
            ensemble=config.ensemble,
        ),
        reward_normalization=config.reward_normalization,
    )


def sample_rollout(
    setup: SamplingSetup, params: Params, prompts: PromptRows, key: Key
) -> Rollout:
    """Samples answers to a batch of prompts from the current policy.

    Args:
      params: the current parameters of the policy.
      prompts: of `setup.prompt_batches`.
      key: of the iteration; an answer's noise comes from it and the answer's id.
    """
    count, samples = prompts.answer_ids.shape[:2]
    shards = sharding.row_shards(setup.mesh)
    local = sharding.rows_on_local_devices(shards, setup.mesh)
    copies = rollouts.prompt_copies(count, samples, parts=len(local))
    rows = np.repeat(np.arange(count), copies)
    ids = prompts.answer_ids.reshape(-1, 2)
    tokens, lengths, row_ids = sharding.place_batch(
        (prompts.tokens[rows], prompts.lengths[rows], ids), setup.mesh
    )
    sequences, ended, sampler_logp = rollouts.sample(
        setup.policy,
        params,
        tokens,
        lengths,
        key,
        dataclasses.replace(setup.sampling, samples=samples // copies),
        row_ids=row_ids,
        slots=setup.slots,
    )
    batch: TokenBatch | AnswerBatch = sequences
    if setup.answers_per_row > 1:
        batch, sampler_logp = forward.pack_shared_prompts(
            *(sequences, sampler_logp),
            answers=setup.answers_per_row,
            room=setup.sampling.max_new_tokens,
        )
    records = [prompt for prompt in prompts.records for _ in range(samples)]
    return Rollout(records, sequences, batch, sampler_logp, ended)


def rollout_logprobs(
    setup: RolloutSetup, params: Params, rollout: Rollout
) -> tuple[Array, Array, dict[str, Array]]:
    """Log-probs of a rollout under the current policy and under its reference.

    Returns:
      Per-token log-probs under the policy and under the reference, in nats [R T'] each;
      and scalar metrics, see `objectives.rollout_diagnostics`.
    """
    return rollouts.logprobs(
        setup.policy.model,
        params,
        setup.policy.params,
        rollout.batch,
        rollout.sampler_logp,
        temperature=setup.sampling.temperature,
    )


def reference_logprobs(setup: RolloutSetup, rollout: Rollout) -> Array:
    """Per-token log-probs of a rollout under the reference alone, in nats [R T']."""
    policy, temperature = setup.policy, setup.sampling.temperature
    return rollouts.token_logps(
        policy.model, policy.params, rollout.batch, temperature=temperature
    )


def penalize_missing_eos(config: OnlineConfig, reward: Array, ended: Array) -> Array:
    """Lowers, or sets, the reward of answers without a stop token [A].

    Args:
      reward: of each answer [A].
      ended: whether each answer ended with a stop token, bool [A].
    """
    penalty = config.missing_eos_penalty
    if config.missing_eos == "assign":
        return shaping.assign_missing_eos(reward, ended, value=-penalty)
    return shaping.penalize_missing_eos(reward, ended, penalty=penalty)


def set_update_count(state: TrainState, count: int) -> TrainState:
    """The state with its learning rate's schedule at an update, see `optimizer`."""
    opt_state = optimizer.set_schedule_count(state.opt_state, count)
    return dataclasses.replace(state, opt_state=opt_state)


def summarize_updates(updates: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    """The metrics of an iteration's updates: those of the last one, but for two.

    `updates` is their number; `finite` is False if any of them was not finite.
    """
    metrics = dict(updates[-1])
    metrics["updates"] = jnp.int32(len(updates))
    metrics["finite"] = functools.reduce(
        jnp.logical_and, [update["finite"] for update in updates]
    )
    return metrics


def exceeds_kl(metrics: Mapping[str, Array], kl_stop: float | None) -> bool:
    """Whether an update's approxkl is above --kl-stop; waits for the update if set."""
    return kl_stop is not None and float(metrics["approxkl"]) > kl_stop


def warn_logprob_mismatch(metrics: Mapping[str, float], logp_gap: float) -> None:
    """Warns if the sampler's log-probs differ from the trainer's by more than allowed.

    Args:
      metrics: of a step; `logp_gap` is the largest difference, in nats.
      logp_gap: the largest difference without a warning, in nats.
    """
    if metrics.get("logp_gap", 0.0) > logp_gap:
        warnings.warn(
            f"log-probs of sampled tokens differ by more than {logp_gap} nats between "
            "the sampler and the trainer, and ratios by as much (metric logp_gap): use "
            "--dtype float32, or raise --logp-gap",
            stacklevel=2,
        )


def check_minibatches(config: OnlineConfig, rows: int, what: str) -> None:
    """Refuses a number of rows that does not divide into the minibatches.

    Raises:
      ValueError: names the rows by `what`, which says their flags.
    """
    if rows % config.minibatches:
        raise ValueError(
            f"{rows} {what} do not divide into {config.minibatches} --minibatches"
        )
