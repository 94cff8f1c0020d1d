"""GRPO and its relatives: advantages from groups of answers, and no value model.

For each prompt, `--samples` answers are drawn and scored; what each is better than the
others is its advantage. `--method` names how (`jaxalign.training.group_methods`): grpo,
dr_grpo, rloo, reinforce_plus_plus, dapo, gspo, cispo. From Python a method is passed.
Each has the KL, beta and clip range of its paper; numbers.json says which they were.

In later updates on the same answers (--epochs, --minibatches) every term is weighed by
an importance ratio: of the token, which leaves the prefixes as they were sampled, of
the whole answer (rloo), which is exact, or of their mean (gspo). Clipping is a bias on
top, and meant. A KL in the reward stays that of the policy that sampled.

A missing end token costs --missing-eos-penalty, which no paper of these methods has;
not where the method charges length itself (dapo, cispo).

    python -m experiments.grpo --model runs/sft/policy --reward runs/reward_model/reward
    python -m experiments.grpo --model FOLDER --data gsm8k --data-path FOLDER

Metrics: `reward` the score before penalties, `kl` and `kl_k3` the mean over answers of
k1 and k3 to the reference (nats), `length`, `eos` the share of answers that ended,
`logp_gap` the largest difference of the sampler's log-probs from the trainer's (nats),
`informative` the share of prompts whose answers differ in reward; and of the last
update: `policy_loss`, `kl_ref` (k3 weighed by the ratio, nats a token), `entropy`,
`ratio`, `approxkl`, and `updates`, how many there were in the iteration.
"""

import dataclasses
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxalign import estimators, sharding, streams
from jaxalign.batches import AnswerBatch, GroupBatch, TokenBatch
from jaxalign.pipeline import online, rollouts, trainable
from jaxalign.rewards import shaping
from jaxalign.runtime import defaults, flags
from jaxalign.runtime.cli import launch
from jaxalign.runtime.run import Run
from jaxalign.training import forward, group_methods, objectives, state, step
from jaxalign.types import Array, Params


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(online.OnlineConfig):
    """Group relative policy optimisation and its relatives."""

    EXPERIMENT: ClassVar[str] = "grpo"
    method: str = "grpo"
    """How rewards become advantages and a loss, by name."""
    prompts: int = 8
    """Prompts in an iteration, over all devices."""
    samples: int = 8
    """Answers to each prompt."""
    draws: int = 4
    """Most batches drawn in an iteration, where prompts must be informative (dapo)."""
    kl_stop: float | None = None
    """Ends an iteration's epochs once approxkl is above (nats a token)."""
    beta: float | None = None
    """Coefficient of the KL to the reference; by default the method's own, which
    `jaxalign.training.group_methods` lists."""

    @property
    def rows(self) -> int:
        """Answers in an iteration."""
        return self.prompts * self.samples


@dataclasses.dataclass(frozen=True)
class Parts:
    """What an iteration needs, beside the state.

    Attributes:
      on_policy: the update itself computes what it compares with.
      update: the compiled step on a minibatch.
    """

    config: Config
    method: group_methods.GroupMethod
    setting: online.RolloutSetup
    tuned: trainable.Trainable
    on_policy: bool
    update: step.Step


def group_batch(
    parts: Parts, params: Params, key: jax.Array
) -> tuple[GroupBatch, Array, dict[str, Array]]:
    """Answers to the next prompts, compared: a batch, who informs, and numbers."""
    config, method, setting = parts.config, parts.method, parts.setting
    drawn = online.sample_and_score(setting, params, key)
    seen: dict[str, Array] = {}
    if parts.on_policy:
        logp, ref_logp = drawn.sampled, online.reference_logps(setting, drawn)
    else:
        logp, ref_logp, seen = online.logprobs(setting, params, drawn)
    of_prompts = drawn.reward.reshape(-1, config.samples)
    informative = jnp.any(of_prompts != of_prompts[:, :1], axis=1)
    score = shaped_score(method, drawn, setting.room)
    advantage = advantages(config, method, drawn.answers, score, logp, ref_logp)
    rollout = GroupBatch(drawn.answers, logp, ref_logp, advantage)
    numbers = drawn.numbers | seen | {"informative": informative.mean()}
    return rollout, informative, numbers


def shaped_score(
    method: group_methods.GroupMethod, drawn: online.ScoredRollout, room: int
) -> Array:
    """The reward of each answer once length, or else a missing end, has its price [A].

    Args:
      room: the longest answer, in tokens.
    """
    if not method.overlong:
        return drawn.score
    lengths = drawn.sequences.loss_mask.sum(axis=1)
    return shaping.penalize_overlong(
        drawn.reward, lengths, max_length=room, interval=method.overlong * room
    )


def advantages(
    config: Config,
    method: group_methods.GroupMethod,
    answers: TokenBatch | AnswerBatch,
    score: Array,
    logp: Array,
    ref_logp: Array,
) -> Array:
    """The advantage of each answer [A], or of each of its tokens [A T].

    Args:
      score: of each answer, its prompt's side by side [A].
      logp, ref_logp: of the tokens of `answers` [R T].
    """
    beta = beta_of(config, method)
    if method.kl == "reward":
        kl = rollouts.answer_sums(answers, estimators.kl_k1(logp, ref_logp))
        score = score - beta * kl
    advantage = method.advantage(score.reshape(-1, config.samples)).reshape(-1)
    if method.kl == "reward_to_go":
        advantage = kl_to_go_advantages(answers, advantage, logp, ref_logp, beta=beta)
    return advantage


@jax.jit
def kl_to_go_advantages(
    batch: TokenBatch | AnswerBatch,
    advantage: Array,
    logp: Array,
    ref_logp: Array,
    *,
    beta: float,
) -> Array:
    """Advantages of answers [A] less the KL to go, whitened over all tokens [A T]."""
    rows, apart = forward.rows_and_unpack(batch)
    told = map(apart, (logp, ref_logp, rows.loss_mask))
    return estimators.reinforce_plus_plus(advantage, *told, beta=beta)


def beta_of(config: Config, method: group_methods.GroupMethod) -> float:
    """The coefficient of the KL: the flag, or else the method's own."""
    return method.beta if config.beta is None else config.beta


def iterate(
    parts: Parts, current: state.TrainState, iteration: int, carried: None
) -> tuple[state.TrainState, None, dict[str, Array]]:
    """One iteration: rollouts, and a few epochs of minibatches."""
    config = parts.config
    order = streams.key(current.key, "minibatches", iteration)
    params = parts.tuned.parameters(current.params)
    noise = partial(streams.key, current.key, "rollouts", iteration)
    rollout, informative, numbers = group_batch(parts, params, noise(0))
    if parts.method.dynamic_sampling:
        kept, told = [rollout], [sharding.to_host(informative)]
        for i in range(1, config.draws):
            if np.concatenate(told).sum() >= config.prompts:
                break
            more, found, _ = group_batch(parts, params, noise(i))
            kept.append(more)
            told.append(sharding.to_host(found))
        rollout = select_informative(kept, np.concatenate(told), config)
    current, metrics = online.passes(
        config,
        parts.update,
        current,
        rollout,
        order,
        blocks=config.rows // parts.setting.together,
        kl_stop=config.kl_stop,
    )
    return current, carried, numbers | metrics


def select_informative(
    drawn: list[GroupBatch], informs: np.ndarray, config: Config
) -> GroupBatch:
    """The first prompts that inform, and, where too few do, rows that do not count."""
    order = np.argsort(~informs, kind="stable")[: config.prompts]

    def first(*leaves: Array) -> Array:
        joined = jnp.concatenate(leaves)
        by_prompt = joined.reshape(len(informs), -1, *joined.shape[1:])
        return by_prompt[order].reshape(-1, *joined.shape[1:])

    kept: GroupBatch = jax.tree.map(first, *drawn)
    rows, _ = forward.rows_and_unpack(kept.sequences)
    counts = jnp.repeat(informs[order], len(rows.tokens) // len(order))[:, None]
    silenced = dataclasses.replace(rows, loss_mask=rows.loss_mask & counts)
    sequences: TokenBatch | AnswerBatch = silenced
    if isinstance(kept.sequences, AnswerBatch):
        sequences = dataclasses.replace(kept.sequences, sequences=silenced)
    return dataclasses.replace(kept, sequences=sequences)


def on_policy(config: Config, method: group_methods.GroupMethod) -> bool:
    """Whether an iteration has one update, before which nobody needs log-probs."""
    alone = config.epochs == config.minibatches == 1
    return alone and method.kl == "loss" and not method.dynamic_sampling


def main(
    config: Config, method: group_methods.GroupMethod | None = None
) -> dict[str, Any]:
    """Trains by groups; writes the model to OUT/policy.

    Args:
      method: takes the place of the one that the configuration names.
    """
    method = method or group_methods.get_method(config.method)
    check(config, method)
    config = defaults.resolve(config)
    with Run(config, "grpo") as run:
        setting = online.prepare(
            config, run, prompts=config.prompts, samples=config.samples
        )
        policy, adam = setting.policy, config.adamw()
        tuned = trainable.make_trainable(config, policy.params)
        first = on_policy(config, method)
        objective = objectives.group(
            policy.model,
            method.loss,
            method.mean(setting.room),
            kl_coef=beta_of(config, method) if method.kl == "loss" else 0.0,
            on_policy=first,
            temperature=config.temperature,
        )
        update = step.make_step(
            objective, adam, merge=tuned.merge, donate=not config.debug_nans
        )
        current = state.create(tuned.params, adam, jax.random.key(config.seed))
        current = online.train(
            run,
            setting,
            current,
            partial(iterate, Parts(config, method, setting, tuned, first, update)),
            roles=lambda params: {"policy": params},
        )
        params = tuned.parameters(current.params)
        trainable.save(config, run.folder, policy, params, current.params)
        return run.finish(run.last | method.hyperparameters(config.beta))


def check(config: Config, method: group_methods.GroupMethod) -> None:
    """Refuses a configuration that cannot be, before anything is computed.

    Raises:
      ValueError: the answers do not divide into the minibatches, or are too few for
        the method.
    """
    online.check_minibatches(config, config.rows, "answers (--prompts times --samples)")
    rewards = jax.ShapeDtypeStruct((config.prompts, config.samples), jnp.float32)
    with flags.prefix_errors(f"--samples {config.samples}"):
        jax.eval_shape(method.advantage, rewards)


if __name__ == "__main__":
    launch(main, Config)
