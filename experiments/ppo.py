"""PPO against a reward model or a programmed reward, held near its reference.

reward per token = -beta * (logp - ref_logp),  + score on the answer's last token

Details follow Ziegler et al. 2019 and the N implementation details: the k1 penalty is
in the reward; an answer without its end token loses a penalty; the value model starts
from the reward model's weights; returns are computed before the advantages are whitened
over the global batch; minibatches are reshuffled each epoch; the log-probs that the
ratio is taken of come from the trainer's own forward pass, so that the first minibatch
has ratio 1.

    python -m experiments.ppo --model runs/sft/policy --reward runs/reward_model/reward
    python -m experiments.ppo --model FOLDER --data stories --reward programmed

Metrics: `reward` the score before penalties, `kl` the mean over answers of the summed
log-ratio to the reference (nats), `beta` its coefficient, `length` tokens in an answer,
`eos` the share of answers that ended; and of the last update: `policy_loss`,
`value_loss`, `entropy` (nats a token), `ratio`, `clipfrac`, `approxkl`, and
`explained_variance`, the share of the returns' variance that the values explain.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from experiments import policies, rollouts, sources, tuning
from experiments.config import Tuned, launch
from experiments.run import Run
from jaxalign import estimators, sharding
from jaxalign.batches import TokenBatch
from jaxalign.data import loader
from jaxalign.data.records import Prompt
from jaxalign.models import heads
from jaxalign.rewards import shaping
from jaxalign.training import objectives, optimizer, state, step
from jaxalign.training.step import Objective, Step
from jaxalign.types import Array, LanguageModel, Params, ScalarModel


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Tuned):
    """Proximal policy optimisation."""

    reward: str = "programmed"
    """A reward model's folder, or programmed: the data set's own reward."""
    steps: int = 40
    """Iterations: one batch of rollouts each."""
    batch: int = 64
    """Answers sampled in an iteration, over all devices."""
    minibatches: int = 2
    """Optimizer steps per pass over the rollouts."""
    epochs: int = 2
    """Passes over the rollouts."""
    learning_rate: float = 3e-4
    eps: float = 1e-5
    """Adam's epsilon."""
    clip_norm: float = 1.0
    """Largest global norm of the gradient."""
    clip: float = 0.2
    """How far from 1 the ratio counts."""
    value_clip: float = 0.2
    """How far a value may move from its rollout's."""
    value_weight: float = 0.1
    """Weight of the value loss."""
    gamma: float = 1.0
    lam: float = 0.95
    """GAE's lambda."""
    beta: float = 0.05
    """Coefficient of the KL penalty."""
    kl_target: float | None = None
    """Adapts beta towards this KL (nats per answer); fixed unless told."""
    kl_horizon: float = 10_000
    """Answers over which beta adapts."""
    missing_eos_penalty: float = 1.0
    """Taken from the score of an answer that did not end."""
    whiten_rewards: bool = False
    """Scale the rewards of a batch to unit variance."""
    temperature: float = 1.0
    """Of the sampling, and of every log-prob."""
    max_new_tokens: int | None = None
    """Longest answer; by default what the data set suggests."""

    def adamw(self) -> optax.GradientTransformation:
        """The optimizer that these flags describe; its rate falls to 0."""
        return optimizer.adamw(
            self.learning_rate,
            steps=self.steps * self.epochs * self.minibatches,
            schedule="linear",
            eps=self.eps,
            clip_norm=self.clip_norm,
        )

    def objective(self, policy: LanguageModel, value: ScalarModel) -> Objective:
        """The loss that these flags describe."""
        return objectives.ppo(
            policy,
            value,
            clip_low=self.clip,
            clip_high=self.clip,
            value_clip=self.value_clip,
            vf_coef=self.value_weight,
            temperature=self.temperature,
        )

    def next_beta(self, beta: float, kl: Array) -> float:
        """The KL coefficient after a batch of this KL."""
        if self.kl_target is None:
            return beta
        return float(
            estimators.adaptive_kl(
                beta,
                kl,
                target=self.kl_target,
                horizon=self.kl_horizon,
                n_steps=self.batch,
            )
        )


@dataclasses.dataclass(frozen=True)
class Parts:
    """What an iteration needs, beside the state.

    Attributes:
      prompts: the training prompts.
      tuned: what trains of the policy and the value model.
      score: (prompts, sequences, ended) -> the rewards of whole answers [B].
      update: the compiled step on a minibatch.
    """

    config: Config
    mesh: Mesh
    policy: policies.Policy
    value_model: ScalarModel
    reference: Params
    tuned: tuning.Tuning
    prompts: list[Prompt]
    room: int
    score: Callable[[list[Prompt], TokenBatch, Array], Array]
    update: Step


def iterate(
    parts: Parts,
    current: state.TrainState,
    batch: loader.PromptBatch,
    iteration: int,
    beta: float,
) -> tuple[state.TrainState, dict[str, Array]]:
    """One iteration: rollouts, their scores, and a few epochs of minibatches."""
    config, policy = parts.config, parts.policy
    placed = sharding.place_batch(batch, parts.mesh)
    noise, order = jax.random.split(jax.random.fold_in(current.key, iteration))
    params = parts.tuned.parameters(current.params)
    sequences, ended = rollouts.sample(
        policy,
        params["policy"],
        placed.tokens,
        placed.lengths,
        noise,
        max_new_tokens=parts.room,
        temperature=config.temperature,
        row_ids=placed.row,
    )
    score = parts.score([parts.prompts[r] for r in batch.row], sequences, ended)
    rollout, numbers = rollouts.experience(
        policy.model,
        parts.value_model,
        params,
        parts.reference,
        sequences,
        shaping.missing_eos(score, ended, penalty=config.missing_eos_penalty),
        beta=jnp.float32(beta),
        temperature=config.temperature,
        gamma=config.gamma,
        lam=config.lam,
        whiten_rewards=config.whiten_rewards,
    )
    for indices in rollouts.minibatches(
        order, config.batch, epochs=config.epochs, parts=config.minibatches
    ):
        part = jax.tree.map(lambda x, at=indices: x[at], rollout)
        current, metrics = parts.update(current, part)
    sampled = {"reward": score.mean(), "eos": ended.mean(), "beta": jnp.float32(beta)}
    sampled["explained_variance"] = objectives.explained_variance(metrics)
    return current, numbers | metrics | sampled


def main(config: Config) -> dict[str, float]:
    """Trains with PPO; writes the model to OUT/policy."""
    check(config)
    with Run(config, "ppo") as run:
        source = sources.load(config)
        policy = tuning.frozen(config, policies.load(config, source, run.mesh))
        room = config.max_new_tokens or source.max_new_tokens
        value_model, value = value_start(config, policy)
        prompts = rollouts.fitting(
            policy, source.prompts()[0], policy.config.context - room
        )
        tokens, lengths = rollouts.padded_prompts(policy, prompts, room)
        batches = loader.prompt_batches(tokens, lengths, config.batch, seed=config.seed)
        adam = config.adamw()
        tuned = tuning.together(
            {
                "policy": tuning.start(config, policy.params),
                "value": tuning.start(config, tuning.kept(config, value)),
            }
        )
        objective = config.objective(policy.model, value_model)
        parts = Parts(
            config=config,
            mesh=run.mesh,
            policy=policy,
            value_model=value_model,
            reference=policy.params,
            tuned=tuned,
            prompts=prompts,
            room=room,
            score=rollouts.scorer(config.reward, config.dtype, policy, source),
            update=step.make_step(objective, adam, whole=tuned.whole),
        )
        current = state.create(tuned.params, adam, jax.random.key(config.seed))
        current, done, cursor = run.resume(current, current.params)
        beta = cursor["beta"] if cursor else config.beta
        if cursor:
            batches.set_state(cursor["prompts"])
        for i in run.steps(done, config.steps):
            batch = next(batches)
            current, numbers = iterate(parts, current, batch, i, beta)
            run.log(i, numbers, tokens=batch.tokens.size + config.batch * room)
            beta = config.next_beta(beta, numbers["kl"])
            if run.due(i, config.steps):
                cursor = {"prompts": batches.get_state(), "beta": beta}
                run.save(current, current.params, i + 1, cursor)
        params = tuned.parameters(current.params)["policy"]
        tuning.save(config, run.folder, policy, params, current.params["policy"])
        return run.finish(run.last)


def check(config: Config) -> None:
    """Refuses a configuration that cannot be, before anything is computed.

    Raises:
      ValueError: the batch does not divide into the minibatches.
    """
    if config.batch % config.minibatches:
        raise ValueError(
            f"--batch {config.batch} does not divide into "
            f"{config.minibatches} --minibatches"
        )


def value_start(config: Config, policy: policies.Policy) -> tuple[ScalarModel, Params]:
    """The value model: the reward model, or the policy's trunk with a head of 0."""
    if config.reward != "programmed":
        return policies.load_scalar(Path(config.reward), config.dtype, config.remat)
    model = heads.scalar_model(policy.config, zero_head=True)
    return model, tuning.headed(model, jax.random.key(config.seed), policy.params)


if __name__ == "__main__":
    launch(main, Config)
