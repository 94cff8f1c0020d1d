"""GRPO and its relatives: advantages from groups of answers, and no value model.

For each prompt, `--samples` answers are drawn and scored; what each is better than the
others is its advantage. `--method` names how (see `experiments.groups`): grpo, dr_grpo,
rloo, reinforce_plus_plus, dapo, gspo, cispo. From Python a method is passed.

    python -m experiments.grpo --model runs/sft/policy --reward runs/reward_model/reward
    python -m experiments.grpo --model FOLDER --data gsm8k --data-path FOLDER

Metrics: `reward` the score before penalties, `kl` the mean over answers of the summed
log-ratio to the reference (nats), `length`, `eos` the share of answers that ended,
`informative` the share of prompts whose answers differ in reward; and of the last
update: `policy_loss`, `kl_ref` (k3, nats a token), `entropy`, `ratio`, `approxkl`.
"""

import dataclasses
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from experiments import groups, policies, rollouts, sources, tuning
from experiments.config import Tuned, launch
from experiments.run import Run
from jaxalign import estimators, sharding
from jaxalign.batches import GroupBatch, TokenBatch
from jaxalign.data import loader
from jaxalign.data.records import Prompt
from jaxalign.rewards import shaping
from jaxalign.training import objectives, optimizer, scoring, state, step
from jaxalign.types import Array, LanguageModel, Params


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Tuned):
    """Group relative policy optimisation and its relatives."""

    method: str = "grpo"
    """How rewards become advantages and a loss, by name."""
    reward: str = "programmed"
    """A reward model's folder, or programmed: the data set's own reward."""
    steps: int = 40
    """Iterations: one batch of rollouts each."""
    prompts: int = 8
    """Prompts in an iteration, over all devices."""
    samples: int = 8
    """Answers to each prompt."""
    minibatches: int = 1
    """Optimizer steps per pass over the rollouts."""
    epochs: int = 1
    """Passes over the rollouts."""
    draws: int = 4
    """Most batches drawn in an iteration, where prompts must be informative (dapo)."""
    learning_rate: float = 3e-4
    clip_norm: float = 1.0
    """Largest global norm of the gradient."""
    beta: float = 0.05
    """Coefficient of the KL to the reference."""
    missing_eos_penalty: float = 1.0
    """Taken from the score of an answer that did not end."""
    temperature: float = 1.0
    """Of the sampling, and of every log-prob."""
    max_new_tokens: int | None = None
    """Longest answer; by default what the data set suggests."""

    @property
    def rows(self) -> int:
        """Answers in an iteration."""
        return self.prompts * self.samples

    def adamw(self) -> optax.GradientTransformation:
        """The optimizer that these flags describe; its rate falls to 0."""
        return optimizer.adamw(
            self.learning_rate,
            steps=self.steps * self.epochs * self.minibatches,
            schedule="linear",
            clip_norm=self.clip_norm,
        )


@dataclasses.dataclass(frozen=True)
class Parts:
    """What an iteration needs, beside the state.

    Attributes:
      score: (prompts, sequences, ended) -> the rewards of whole answers [B].
      update: the compiled step on a minibatch.
    """

    config: Config
    method: groups.Method
    mesh: Mesh
    policy: policies.Policy
    tuned: tuning.Tuning
    prompts: list[Prompt]
    batches: loader.Batches
    room: int
    score: Callable[[list[Prompt], TokenBatch, Array], Array]
    update: step.Step


@partial(
    jax.jit, static_argnums=(0, 1), static_argnames=("samples", "beta", "temperature")
)
def compared(
    method: groups.Method,
    model: LanguageModel,
    params: Params,
    reference: Params,
    sequences: TokenBatch,
    score: Array,
    *,
    samples: int,
    beta: float,
    temperature: float,
) -> tuple[GroupBatch, Array, Array]:
    """What trains of sampled answers, their KL [B], and which prompts inform [P]."""
    mask = sequences.loss_mask
    logps = partial(scoring.token_logps, model, temperature=temperature)
    logp, ref_logp = logps(params, batch=sequences), logps(reference, batch=sequences)
    kl, _ = scoring.row_sums(estimators.kl_k1(logp, ref_logp), mask)
    reward = score - beta * kl if method.kl_in_reward else score
    advantage = method.advantage(reward.reshape(-1, samples)).reshape(-1)
    of_prompts = score.reshape(-1, samples)
    informative = jnp.any(of_prompts != of_prompts[:, :1], axis=1)
    return GroupBatch(sequences, logp, ref_logp, advantage), kl, informative


def draw(
    parts: Parts, params: Params, key: jax.Array
) -> tuple[GroupBatch, Array, dict[str, Array]]:
    """Answers to the next prompts, compared: a batch, who informs, and numbers."""
    config, policy, method = parts.config, parts.policy, parts.method
    batch = next(parts.batches)
    asked = np.repeat(np.arange(len(batch.row)), config.samples)
    row_ids = batch.row[asked] * config.samples + np.arange(len(asked)) % config.samples
    told = (batch.tokens[asked], batch.lengths[asked], row_ids.astype(np.int32))
    tokens, lengths, ids = sharding.place_batch(told, parts.mesh)
    sequences, ended = rollouts.sample(
        policy,
        params,
        tokens,
        lengths,
        key,
        max_new_tokens=parts.room,
        temperature=config.temperature,
        row_ids=ids,
    )
    prompts = [parts.prompts[r] for r in batch.row[asked]]
    found = parts.score(prompts, sequences, ended)
    score = shaping.missing_eos(found, ended, penalty=config.missing_eos_penalty)
    length = sequences.loss_mask.sum(axis=1)
    if method.overlong:
        score = shaping.overlong(
            score, length, longest=parts.room, margin=method.overlong * parts.room
        )
    rollout, kl, informative = compared(
        method,
        policy.model,
        params,
        policy.params,
        sequences,
        score,
        samples=config.samples,
        beta=config.beta,
        temperature=config.temperature,
    )
    return (
        rollout,
        informative,
        {
            "reward": found.mean(),
            "eos": ended.mean(),
            "kl": kl.mean(),
            "length": length.mean(),
            "informative": informative.mean(),
        },
    )


def iterate(
    parts: Parts, current: state.TrainState, iteration: int
) -> tuple[state.TrainState, dict[str, Array]]:
    """One iteration: rollouts, and a few epochs of minibatches."""
    config = parts.config
    noise, order = jax.random.split(jax.random.fold_in(current.key, iteration))
    params = parts.tuned.parameters(current.params)
    rollout, informative, numbers = draw(parts, params, jax.random.fold_in(noise, 0))
    if parts.method.informative:
        kept, told = [rollout], [sharding.on_host(informative)]
        for i in range(1, config.draws):
            if np.concatenate(told).sum() >= config.prompts:
                break
            more, found, _ = draw(parts, params, jax.random.fold_in(noise, i))
            kept.append(more)
            told.append(sharding.on_host(found))
        rollout = chosen(kept, np.concatenate(told), config)
    finite: Array = jnp.bool_(True)
    for indices in rollouts.minibatches(
        order, config.rows, epochs=config.epochs, parts=config.minibatches
    ):
        part = jax.tree.map(lambda x, at=indices: x[at], rollout)
        current, metrics = parts.update(current, part)
        finite &= metrics["finite"]
    return current, numbers | metrics | {"finite": finite}


def chosen(drawn: list[GroupBatch], informs: np.ndarray, config: Config) -> GroupBatch:
    """The first prompts that inform, and, where too few do, rows that do not count."""
    order = np.argsort(~informs, kind="stable")[: config.prompts]
    rows = (order[:, None] * config.samples + np.arange(config.samples)).reshape(-1)
    joined = jax.tree.map(lambda *x: jnp.concatenate(x)[rows], *drawn)
    counts = jnp.repeat(jnp.asarray(informs[order]), config.samples)[:, None]
    sequences = dataclasses.replace(
        joined.sequences, loss_mask=joined.sequences.loss_mask & counts
    )
    return dataclasses.replace(joined, sequences=sequences)


def main(config: Config, method: groups.Method | None = None) -> dict[str, float]:
    """Trains by groups; writes the model to OUT/policy.

    Args:
      method: takes the place of the one that the configuration names.
    """
    method = method or groups.named(config.method)
    check(config, method)
    with Run(config, "grpo") as run:
        source = sources.load(config)
        policy = tuning.frozen(config, policies.load(config, source, run.mesh))
        room = config.max_new_tokens or source.max_new_tokens
        prompts = rollouts.fitting(
            policy, source.prompts()[0], policy.config.context - room
        )
        tokens, lengths = rollouts.padded_prompts(policy, prompts, room)
        adam = config.adamw()
        tuned = tuning.start(config, policy.params)
        objective = objectives.group(
            policy.model,
            method.loss,
            method.mean(room),
            kl_coef=0.0 if method.kl_in_reward else config.beta,
            temperature=config.temperature,
        )
        parts = Parts(
            config=config,
            method=method,
            mesh=run.mesh,
            policy=policy,
            tuned=tuned,
            prompts=prompts,
            batches=loader.prompt_batches(
                tokens, lengths, config.prompts, seed=config.seed
            ),
            room=room,
            score=rollouts.scorer(config.reward, config.dtype, policy, source),
            update=step.make_step(objective, adam, whole=tuned.whole),
        )
        current = state.create(tuned.params, adam, jax.random.key(config.seed))
        current, done, cursor = run.resume(current, {"policy": current.params})
        if cursor:
            parts.batches.set_state(cursor)
        for i in run.steps(done, config.steps):
            current, numbers = iterate(parts, current, i)
            run.log(i, numbers, tokens=config.rows * (tokens.shape[1] + room))
            if run.due(i, config.steps):
                roles = {"policy": current.params}
                run.save(current, roles, i + 1, parts.batches.get_state())
        params = tuned.parameters(current.params)
        tuning.save(config, run.folder, policy, params, current.params)
        return run.finish(run.last)


def check(config: Config, method: groups.Method) -> None:
    """Refuses a configuration that cannot be, before anything is computed.

    Raises:
      ValueError: the answers do not divide into the minibatches, or are too few for
        the method.
    """
    if config.rows % config.minibatches:
        raise ValueError(
            f"{config.rows} answers (--prompts times --samples) do not divide into "
            f"{config.minibatches} --minibatches"
        )
    rewards = jax.ShapeDtypeStruct((config.prompts, config.samples), jnp.float32)
    jax.eval_shape(method.advantage, rewards)


if __name__ == "__main__":
    launch(main, Config)
