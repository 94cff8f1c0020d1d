"""What experiments share that train on answers which they sample: flags, and the loop.

An iteration samples answers to the next prompts, has them scored, and takes some epochs
of minibatches on them. Its randomness comes of the run's key and its number alone, and
checkpoints are made between iterations only. So a run that is killed within one samples
the same answers again: none is lost, and none counts twice.
"""

import dataclasses
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from experiments import policies, rewards, rollouts, sources, tuning
from experiments.config import Rewarded
from experiments.run import Run
from jaxalign import sharding
from jaxalign.batches import TokenBatch
from jaxalign.data import loader
from jaxalign.data.records import Prompt
from jaxalign.rewards import shaping
from jaxalign.training import optimizer
from jaxalign.training.state import TrainState
from jaxalign.types import Array, Params


@dataclasses.dataclass(frozen=True, kw_only=True)
class Online(Rewarded):
    """Flags of the experiments that train on answers which they sample."""

    steps: int = 40
    """Iterations: one batch of rollouts each."""
    minibatches: int = 1
    """Optimizer steps per pass over the rollouts."""
    epochs: int = 1
    """Passes over the rollouts."""
    learning_rate: float = 3e-4
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """How the learning rate falls to 0 over the run, if it does."""
    warmup: int = 0
    """Iterations over which the learning rate rises."""
    clip_norm: float = 1.0
    """Largest global norm of the gradient."""
    missing_eos: Literal["subtract", "assign"] = "subtract"
    """An answer that did not end has its score lowered by the penalty, or set to
    minus the penalty."""
    missing_eos_penalty: float = 1.0
    temperature: float = 1.0
    """Of the sampling, and of the log-probs of what was sampled."""
    max_new_tokens: int | None = None
    """Longest answer; by default what the data set suggests."""
    logp_gap: float = 0.1
    """Warns where the sampler and the trainer differ by more in any log-prob (nats)."""

    def adamw(
        self,
        *,
        learning_rate: float | None = None,
        iterations: int | None = None,
        **others: Any,
    ) -> optax.GradientTransformation:
        """The optimizer that these flags describe."""
        updates = self.epochs * self.minibatches
        rate = self.learning_rate if learning_rate is None else learning_rate
        given = {"clip_norm": self.clip_norm} | others
        return optimizer.adamw(
            rate,
            steps=updates * (self.steps if iterations is None else iterations),
            warmup=updates * self.warmup,
            schedule=self.schedule,
            **given,
        )


@dataclasses.dataclass(frozen=True)
class Setting:
    """What sampling and scoring need, beside the parameters.

    Attributes:
      policy: as the run starts; its parameters are the reference's.
      batches: of prompts.
      samples: answers to a prompt, which stand side by side.
      room: the longest answer, in tokens.
      score: (prompts, sequences, ended) -> the rewards of whole answers [B].
      tokens: places for tokens in an iteration.
    """

    config: Online
    mesh: Mesh
    source: sources.Source
    policy: policies.Policy
    prompts: list[Prompt]
    batches: loader.Batches
    samples: int
    room: int
    score: Callable[[list[Prompt], TokenBatch, Array], Array]
    tokens: int


class Drawn(NamedTuple):
    """Sampled answers, and what they are worth.

    Attributes:
      sampled: the sampler's log-prob of each answer token [B T].
      ended: whether each answer ended [B].
      reward: of each answer, as it was scored [B].
      score: the reward once a missing end has had its price [B].
    """

    sequences: TokenBatch
    sampled: Array
    ended: Array
    reward: Array
    score: Array

    @property
    def numbers(self) -> dict[str, Array]:
        """What is watched of them."""
        return {"reward": self.reward.mean(), "eos": self.ended.mean()}


def prepare(config: Online, run: Run, *, prompts: int, samples: int = 1) -> Setting:
    """Reads the data and the policy.

    Args:
      prompts: in an iteration, over all devices.
      samples: answers to each.
    """
    source = sources.load(config)
    policy = tuning.frozen(config, policies.load(config, source, run.mesh))
    room = config.max_new_tokens or source.max_new_tokens
    fitting = rollouts.fitting(
        policy, source.prompts()[0], policy.config.context - room
    )
    tokens, lengths = rollouts.padded_prompts(policy, fitting, room)
    return Setting(
        config=config,
        mesh=run.mesh,
        source=source,
        policy=policy,
        prompts=fitting,
        batches=loader.prompt_batches(tokens, lengths, prompts, seed=config.seed),
        samples=samples,
        room=room,
        score=rewards.scorer(
            config.reward, config.dtype, policy, source, ensemble=config.ensemble
        ),
        tokens=prompts * samples * (tokens.shape[1] + room),
    )


def draw(setting: Setting, params: Params, key: jax.Array) -> Drawn:
    """Answers to the next prompts, scored.

    Args:
      params: the policy's, as it is now.
    """
    config, samples = setting.config, setting.samples
    batch = next(setting.batches)
    asked = np.repeat(np.arange(len(batch.row)), samples)
    row_ids = batch.row[asked] * samples + np.arange(len(asked)) % samples
    told = (batch.tokens[asked], batch.lengths[asked], row_ids.astype(np.int32))
    tokens, lengths, ids = sharding.place_batch(told, setting.mesh)
    sequences, ended, sampled = rollouts.sample(
        setting.policy,
        params,
        tokens,
        lengths,
        key,
        max_new_tokens=setting.room,
        temperature=config.temperature,
        row_ids=ids,
    )
    prompts = [setting.prompts[r] for r in batch.row[asked]]
    reward = setting.score(prompts, sequences, ended)
    score = with_ending(config, reward, ended)
    return Drawn(sequences, sampled, ended, reward, score)


def with_ending(config: Online, score: Array, ended: Array) -> Array:
    """The scores, once a missing end has had its price [B]."""
    penalty = config.missing_eos_penalty
    if config.missing_eos == "assign":
        return shaping.assign_missing_eos(score, ended, value=-penalty)
    return shaping.missing_eos(score, ended, penalty=penalty)


def compared(
    setting: Setting, params: Params, drawn: Drawn
) -> tuple[Array, Array, dict[str, Array]]:
    """Log-probs under the policy and its reference [B T], and what is seen of them."""
    return rollouts.compared(
        setting.policy.model,
        params,
        setting.policy.params,
        drawn.sequences,
        drawn.sampled,
        temperature=setting.config.temperature,
    )


def passes(
    config: Online,
    update: Callable[[TrainState, Any], tuple[TrainState, dict[str, Array]]],
    current: TrainState,
    rollout: Any,
    key: jax.Array,
    *,
    kl_stop: float | None = None,
) -> tuple[TrainState, dict[str, Array]]:
    """Some epochs of minibatches; the state, and the metrics of the last update.

    `finite` is of all updates: one that was not made is not lost sight of.

    Args:
      rollout: its leaves are [B ...].
      kl_stop: ends the epochs after a minibatch whose approxkl is above.
    """
    rows, updates = len(jax.tree.leaves(rollout)[0]), 0
    finite: Array = jnp.bool_(True)
    for indices in rollouts.minibatches(
        key, rows, epochs=config.epochs, parts=config.minibatches
    ):
        current, metrics = update(current, rollouts.take(rollout, indices))
        updates += 1
        finite &= metrics["finite"]
        if kl_stop is not None and float(metrics["approxkl"]) > kl_stop:
            break
    return current, metrics | {"updates": jnp.int32(updates), "finite": finite}


def train(
    run: Run,
    setting: Setting,
    current: TrainState,
    iterate: Callable[[TrainState, int, Any], tuple[TrainState, Any, dict[str, Array]]],
    *,
    roles: Callable[[Params], dict[str, Params]],
    carried: Callable[[], Any] = lambda: None,
    cursors: Mapping[str, loader.Batches] | None = None,
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
    current, done, cursor = run.resume(current, roles(current.params))
    for name, batches in data.items() if cursor else ():
        batches.set_state(cursor[name])
    beside = cursor["carried"] if cursor else carried()
    for i in run.steps(done, config.steps):
        current, beside, numbers = iterate(current, i, beside)
        run.log(i, numbers, tokens=setting.tokens, rows=setting.batches.rows)
        watch(run.last, config.logp_gap)
        if run.due(i, config.steps):
            stands = {name: batches.get_state() for name, batches in data.items()}
            cursor = {**stands, "carried": beside}
            run.save(current, roles(current.params), i + 1, cursor)
    watch(run.last, config.logp_gap)
    return current


def watch(numbers: Mapping[str, float], gap: float) -> None:
    """Warns where the sampler's log-probs are not the trainer's; once a place."""
    if numbers.get("logp_gap", 0.0) > gap:
        warnings.warn(
            f"log-probs of sampled tokens differ by more than {gap} nats between the "
            "sampler and the trainer (metric logp_gap), and ratios by as much: use "
            "--dtype float32, or raise --logp-gap",
            stacklevel=2,
        )


def check_minibatches(config: Online, rows: int, what: str) -> None:
    """Refuses rows that do not divide into the minibatches.

    Raises:
      ValueError: says which flags.
    """
    if rows % config.minibatches:
        raise ValueError(
            f"{rows} {what} do not divide into {config.minibatches} --minibatches"
        )
