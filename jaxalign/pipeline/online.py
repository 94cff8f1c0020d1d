"""What experiments share that train on answers which they sample: draws, and the loop.

An iteration samples answers to the next prompts, has them scored, and takes some epochs
of minibatches on them. Its randomness comes of the run's key and its number alone, and
checkpoints are made between iterations only. So a run that is killed within one samples
the same answers again: none is lost, and none counts twice.
"""

import dataclasses
import functools
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxalign import sharding, streams
from jaxalign.batches import AnswerBatch, TokenBatch
from jaxalign.data import batch_size, loader, mixing
from jaxalign.data.records import Prompt
from jaxalign.pipeline import (
    datasets,
    policies,
    reward_functions,
    rollouts,
    run_plan,
    shares,
    trainable,
)
from jaxalign.rewards import shaping
from jaxalign.runtime.loop import LoopState
from jaxalign.runtime.run import Run
from jaxalign.runtime.training_config import OnlineConfig as OnlineConfig
from jaxalign.training import forward, optimizer
from jaxalign.training.state import TrainState
from jaxalign.types import Array, Params


@dataclasses.dataclass(frozen=True)
class RolloutSetup:
    """What sampling and scoring need, beside the parameters.

    Attributes:
      policy: as the run starts; its parameters are the reference's.
      lengths: of the prompts, in tokens [P].
      ids: of the prompts, by which their answers' noise is told apart.
      batches: of prompts.
      samples: answers to a prompt, which stand side by side.
      together: how many of them stay together in minibatches, on any mesh.
      shared: how many of them follow one copy of it, where models read them.
      room: the longest answer, in tokens.
      score: (prompts, sequences, ended) -> the rewards of whole answers [B].
      tokens: places for tokens in an iteration.
    """

    config: OnlineConfig
    mesh: Mesh
    source: datasets.Dataset
    policy: policies.Policy
    prompts: list[Prompt]
    lengths: np.ndarray
    ids: list[int]
    batches: loader.BatchIterator
    samples: int
    together: int
    shared: int
    room: int
    score: Callable[[list[Prompt], TokenBatch, Array], Array]
    tokens: int


class ScoredRollout(NamedTuple):
    """Sampled answers, and what they are worth.

    Attributes:
      sequences: one answer a row [B T].
      answers: the same as models are to read them, prompts shared.
      sampled: the sampler's log-prob of each of their tokens [R T].
      ended: whether each answer ended [B].
      reward: of each answer, as it was scored [B].
      score: the reward once a missing end has had its price [B].
    """

    sequences: TokenBatch
    answers: TokenBatch | AnswerBatch
    sampled: Array
    ended: Array
    reward: Array
    score: Array

    @property
    def numbers(self) -> dict[str, Array]:
        """What is watched of them."""
        return {"reward": self.reward.mean(), "eos": self.ended.mean()}


def prepare(
    config: OnlineConfig, run: Run, *, prompts: int, samples: int = 1
) -> RolloutSetup:
    """Reads the data and the policy.

    Args:
      prompts: in an iteration, over all devices.
      samples: answers to each.

    Raises:
      ValueError: prompts that do not divide over the devices, or too many of them.
    """
    if prompts % (parts := sharding.row_shards(run.mesh)):
        raise ValueError(
            f"the {prompts} prompts of an iteration (--prompts, of PPO --batch) do not "
            f"divide over {parts} devices: give a multiple of {parts}, or mend --mesh"
        )
    source = datasets.load(config)
    policy = policies.load(config, source, run.mesh)
    room = config.max_new_tokens or source.max_new_tokens
    fitting = rollouts.select_prompts(
        policy, source.prompts()[0], room, run.note, "prompts"
    )
    flag = "--prompts (of PPO --batch)"
    batch_size.check_size(prompts, len(fitting), flag=flag, may_repeat=True)
    run.describe_data(source.accounts())
    tokens, lengths = rollouts.padded_prompts(policy, fitting, room)
    policy = policies.extend_longrope(policy, tokens.shape[1] + room)
    policy = trainable.with_frozen_base(config, policy)
    most = functools.partial(shares.answers_per_row, policy.config)
    together = most(prompts, samples, parts=config.minibatches)
    return RolloutSetup(
        config=config,
        mesh=run.mesh,
        source=source,
        policy=policy,
        prompts=fitting,
        lengths=lengths,
        ids=[streams.prompt_id(prompt.messages) for prompt in fitting],
        batches=loader.prompt_batches(
            *(tokens, lengths, prompts),
            seed=config.seed,
            mixture=mixing.sizes_and_weights(fitting),
            mesh=run.mesh,
        ),
        samples=samples,
        together=together,
        shared=most(
            prompts * samples // together,
            together,
            parts=config.minibatches * sharding.row_shards(run.mesh),
        ),
        room=room,
        score=reward_functions.make_reward_function(
            config.reward, config.dtype, policy, source, ensemble=config.ensemble
        ),
        tokens=prompts * samples * (tokens.shape[1] + room),
    )


def sample_and_score(
    setting: RolloutSetup, params: Params, key: jax.Array
) -> ScoredRollout:
    """Answers to the next prompts, scored.

    Args:
      params: the policy's, as it is now.
    """
    config, samples = setting.config, setting.samples
    batch = next(setting.batches)
    asked = np.repeat(np.arange(len(batch.row)), samples)
    every = [setting.ids[row] for row in setting.batches.global_indices]
    by_prompt = streams.answer_ids(every, samples).reshape(-1, samples, 2)
    row_ids = by_prompt[setting.batches.share].reshape(-1, 2)
    shards = sharding.row_shards(setting.mesh)
    local = sharding.rows_on_local_devices(shards, setting.mesh)
    copies = shares.prompt_copies(len(batch.row), samples, parts=len(local))
    read = asked[:: samples // copies]
    told = (batch.tokens[read], batch.lengths[read], row_ids)
    tokens, lengths, ids = sharding.place_batch(told, setting.mesh)
    sequences, ended, sampled = rollouts.sample(
        setting.policy,
        params,
        tokens,
        lengths,
        key,
        max_new_tokens=setting.room,
        samples=samples // copies,
        temperature=config.temperature,
        row_ids=ids,
        slots=config.slots,
    )
    prompts = [setting.prompts[r] for r in batch.row[asked]]
    reward = setting.score(prompts, sequences, ended)
    score = penalize_missing_eos(config, reward, ended)
    answers: TokenBatch | AnswerBatch = sequences
    if setting.shared > 1:
        answers, sampled = forward.pack_shared_prompts(
            sequences, sampled, answers=setting.shared, room=setting.room
        )
    return ScoredRollout(sequences, answers, sampled, ended, reward, score)


def penalize_missing_eos(config: OnlineConfig, score: Array, ended: Array) -> Array:
    """The scores, once a missing end has had its price [B]."""
    penalty = config.missing_eos_penalty
    if config.missing_eos == "assign":
        return shaping.assign_missing_eos(score, ended, value=-penalty)
    return shaping.penalize_missing_eos(score, ended, penalty=penalty)


def logprobs(
    setting: RolloutSetup, params: Params, drawn: ScoredRollout
) -> tuple[Array, Array, dict[str, Array]]:
    """Log-probs under the policy and its reference [R T], and what is seen of them."""
    return rollouts.logprobs(
        setting.policy.model,
        params,
        setting.policy.params,
        drawn.answers,
        drawn.sampled,
        temperature=setting.config.temperature,
    )


def reference_logps(setting: RolloutSetup, drawn: ScoredRollout) -> Array:
    """Log-probs under the reference alone [R T]."""
    policy, temperature = setting.policy, setting.config.temperature
    return rollouts.token_logps(
        policy.model, policy.params, drawn.answers, temperature=temperature
    )


def passes(
    config: OnlineConfig,
    update: Callable[[TrainState, Any], tuple[TrainState, dict[str, Array]]],
    current: TrainState,
    rollout: Any,
    key: jax.Array,
    *,
    blocks: int | None = None,
    kl_stop: float | None = None,
) -> tuple[TrainState, dict[str, Array]]:
    """Some epochs of minibatches; the state, and the metrics of the last update.

    `finite` is of all updates: one that was not made is not lost sight of.

    Args:
      rollout: its leaves are [R ...], or of several entries a row.
      blocks: into which the rows are cut, to be shuffled; by default each by itself.
      kl_stop: ends the epochs after a minibatch whose approxkl is above.
    """
    blocks = blocks or min(len(leaf) for leaf in jax.tree.leaves(rollout))
    updates = 0
    finite: Array = jnp.bool_(True)
    for indices in rollouts.minibatches(
        key, blocks, epochs=config.epochs, parts=config.minibatches
    ):
        current, metrics = update(
            current, rollouts.gather_minibatch(rollout, indices, blocks)
        )
        updates += 1
        finite &= metrics["finite"]
        if kl_stop is not None and float(metrics["approxkl"]) > kl_stop:
            break
    return current, metrics | {"updates": jnp.int32(updates), "finite": finite}


def train(
    run: Run,
    setting: RolloutSetup,
    current: TrainState,
    iterate: Callable[[TrainState, int, Any], tuple[TrainState, Any, dict[str, Array]]],
    *,
    roles: Callable[[Params], dict[str, Params]],
    carried: Callable[[], Any] = lambda: None,
    cursors: Mapping[str, loader.BatchIterator] | None = None,
) -> TrainState:
    """The loop, from where the run stands to its end.

    Args:
      iterate: (state, iteration, carried) -> (state, carried, metrics).
      roles: what trains, by role.
      carried: makes what the loop carries beside the state, if the run is new: JSON.
      cursors: other data that iterations read, by name.
    """
    config = setting.config
    data = {"prompts": setting.batches, **(cursors or {})}
    loop = run.restore(
        LoopState(0, current, data),
        roles(current.params),
        total=config.steps,
        rate=config.rate,
    )
    current = loop.state
    run_plan.show_online(run, setting, roles(current.params))
    beside = loop.extras["carried"] if loop.step else carried()
    for i in run.steps(loop.step, config.steps):
        # the rate follows iterations, even where --kl-stop left updates out
        opt_state = optimizer.set_schedule_count(current.opt_state, i * config.updates)
        current = dataclasses.replace(current, opt_state=opt_state)
        current, beside, numbers = iterate(current, i, beside)
        rows = setting.batches.rows
        run.log(i, iteration=numbers, tokens=setting.tokens, rows=rows)
        warn_logprob_mismatch(run.last, config.logp_gap)
        loop = LoopState(i + 1, current, data, {"carried": beside})
        run.checkpoint(loop, roles(current.params))
    warn_logprob_mismatch(run.last, config.logp_gap)
    return current


def warn_logprob_mismatch(numbers: Mapping[str, float], gap: float) -> None:
    """Warns where the sampler's log-probs are not the trainer's; once a place."""
    if numbers.get("logp_gap", 0.0) > gap:
        warnings.warn(
            f"log-probs of sampled tokens differ by more than {gap} nats between the "
            "sampler and the trainer (metric logp_gap), and ratios by as much: use "
            "--dtype float32, or raise --logp-gap",
            stacklevel=2,
        )


def check_minibatches(config: OnlineConfig, rows: int, what: str) -> None:
    """Refuses rows that do not divide into the minibatches.

    Raises:
      ValueError: says which flags.
    """
    if rows % config.minibatches:
        raise ValueError(
            f"{rows} {what} do not divide into {config.minibatches} --minibatches"
        )
