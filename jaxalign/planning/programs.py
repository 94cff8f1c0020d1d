"""The compiled programs of each algorithm's step, traced on abstract arrays."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding

from jaxalign import sampling, sharding
from jaxalign.batches import (
    AnswerBatch,
    Branches,
    GroupBatch,
    RolloutBatch,
    TokenBatch,
)
from jaxalign.models import heads, transformer
from jaxalign.models.config import ModelConfig
from jaxalign.pipeline import ppo_batch, rollouts, trainable
from jaxalign.planning import abstract
from jaxalign.planning.planned_step import PlannedStep as PlannedStep
from jaxalign.rewards import reward_model
from jaxalign.sampling import decode
from jaxalign.training import group_methods, objectives, optimizer, step
from jaxalign.types import LanguageModel, Params, ScalarModel


class Program(NamedTuple):
    """A compiled program of a step.

    Attributes:
      times: number of runs per step.
      trace: model configuration -> the traced program, ready to compile.
      unrolled: whether its layers are unrolled rather than scanned.
    """

    name: str
    times: int
    trace: Callable[[ModelConfig], Any]
    unrolled: bool = False


@dataclasses.dataclass(frozen=True)
class StepModels:
    """The models of a step on a mesh, and their trainable parameters."""

    work: PlannedStep
    shape: ModelConfig
    mesh: Mesh

    @property
    def policy(self) -> LanguageModel:
        """The language model."""
        return transformer.language_model(self.shape)

    @property
    def scalar(self) -> ScalarModel:
        """The reward or value model."""
        return heads.scalar_model(self.shape)

    def initial_params(self, role: str) -> Params:
        """The initial parameters of a role."""
        model = self.policy if role == "policy" else self.scalar
        return abstract.parameters(model, self.mesh)

    def trainable(self) -> trainable.Trainable:
        """The trainable parameters of all trained roles."""
        roles = {"reward": ("reward",), "ppo": ("policy", "value")}
        trained = roles.get(self.work.algorithm, ("policy",))
        parts = {
            role: abstract.trainable_params(
                self.initial_params(role), self.work.lora_rank
            )
            for role in trained
        }
        return trainable.combine_roles(parts) if len(parts) > 1 else parts[trained[0]]

    def current_params(self) -> Params:
        """All parameters of the trained models, frozen ones merged in."""
        trained = self.trainable()
        return trained.parameters(trained.params)

    def roles(self) -> dict[str, Any]:
        """The arrays that stay on the devices throughout, by role.

        Experiments keep the initial parameters: LoRA's base, the reference, or none.
        """
        work, trained = self.work, self.trainable().params
        state = abstract.train_state(trained, adamw(), self.mesh)
        both = work.algorithm == "ppo"
        resident = {"parameters": trained["policy"] if both else trained}
        if both:
            resident["value"] = trained["value"]
        resident["optimizer"] = state.opt_state
        initial_only = work.algorithm in ("sft", "reward") and not work.lora_rank
        resident["start" if initial_only else "reference"] = self.initial_params(
            "policy"
        )
        if work.reward == "model" and work.algorithm in ("ppo", "grpo"):
            resident["reward"] = self.initial_params("reward")
            if both:
                resident["value's start"] = self.initial_params("value")
        return resident

    @property
    def prompt_rows(self) -> int:
        """Rows of prompts that prefill reads to sample a batch of answers."""
        work, mesh = self.work, self.mesh
        if work.algorithm != "grpo":
            return work.batch
        prompts = work.batch // work.samples
        shards = sharding.row_shards(mesh)
        return prompts * rollouts.prompt_copies(prompts, work.samples, parts=shards)

    def kv_cache(self) -> Any:
        """The KV cache of sampling."""
        work, prompts = self.work, self.prompt_rows
        make = lambda: self.policy.branch(
            self.policy.init_cache(prompts, work.length),
            work.batch // prompts,
            work.length - work.prompt_length,
        )
        names = ("batch", "kv_heads", None, None)
        spec = lambda x: sharding.spec(*names[: x.ndim])
        return jax.tree.map(
            lambda x: abstract.array(
                x,
                NamedSharding(
                    self.mesh,
                    sharding.drop_indivisible_axes(self.mesh, spec(x), x.shape),
                ),
            ),
            jax.eval_shape(make),
        )


def adamw() -> Any:
    """AdamW as in experiments; its hyperparameters change no shape."""
    return optimizer.adamw(1e-5, steps=1000, weight_decay=0.01)


def pairs(models: StepModels) -> AnswerBatch:
    """Pairs, one per row, whose answers share one copy of the prompt."""
    work = models.work
    room = work.length - work.prompt_length
    return abstract.answer_batch(
        models.mesh, work.batch, 2, prompt=work.prompt_length, answer=room
    )


def training_inputs(models: StepModels) -> tuple[Any, Any]:
    """The objective of the update, and its batch."""
    work, mesh, policy = models.work, models.mesh, models.policy
    if work.algorithm == "sft":
        return objectives.sft(policy), abstract.token_batch(
            mesh, work.batch, work.length
        )
    if work.algorithm == "reward":
        return objectives.reward(models.scalar), pairs(models)
    if work.algorithm == "dpo":
        sums = abstract.rows(mesh, work.batch, kind=jnp.float32)
        batch = pairs(models).with_reference(sums, sums, sums, sums)
        loss = objectives.pairwise_loss("dpo", beta=0.1)
        return objectives.preference(policy, loss), batch
    sequences: Any = answers(models, work.minibatches)
    each = abstract.token_logps(models.mesh, sequences)
    if work.algorithm == "ppo":
        rollout = RolloutBatch(sequences, each, each, each, each)
        return objectives.ppo(policy, models.scalar), rollout
    count = work.batch // work.minibatches
    advantage = abstract.rows(mesh, count, kind=jnp.float32)
    objective = objectives.group(
        policy,
        group_methods.GRPO.loss,
        group_methods.GRPO.mean(work.length - work.prompt_length),
        kl_coef=0.05,
        on_policy=work.updates == 1,
    )
    return objective, GroupBatch(sequences, each, each, advantage)


def answers(models: StepModels, minibatches: int = 1) -> TokenBatch | AnswerBatch:
    """The rows of a minibatch of answers (ppo, grpo)."""
    work, mesh = models.work, models.mesh
    shared, room = 1, work.length - work.prompt_length
    if work.algorithm == "grpo":
        shared = rollouts.answers_per_row(
            models.shape,
            work.batch // work.samples,
            work.samples,
            parts=work.minibatches * sharding.row_shards(mesh),
        )
    rows = work.batch // minibatches // shared
    if shared == 1:
        return abstract.token_batch(mesh, rows, work.length)
    batch = abstract.answer_batch(
        mesh, rows, shared, prompt=work.prompt_length, answer=room
    )
    laid_out = dataclasses.replace(
        batch.sequences, branches=Branches.of(work.prompt_length - 1, shared)
    )
    return dataclasses.replace(batch, sequences=laid_out)


def update(models: StepModels) -> Any:
    """The traced optimizer step."""
    return trace_step(models, *training_inputs(models))


def trace_step(models: StepModels, objective: step.Objective, batch: Any) -> Any:
    """The traced optimizer step of an objective."""
    adam, trained = adamw(), models.trainable()
    update = step.make_step(
        objective, adam, micro_batches=models.work.micro_batches, merge=trained.merge
    )
    state = abstract.train_state(trained.params, adam, models.mesh)
    return update.trace(state, batch)


def sample(models: StepModels) -> Any:
    """The traced sampling: prefill, and decoding to the longest answer."""
    work, mesh = models.work, models.mesh
    params = models.current_params()
    settings = sampling.SamplingParams(
        max_new_tokens=work.length - work.prompt_length,
        temperature=jax.ShapeDtypeStruct((), jnp.float32),
        stop_tokens=(0,),
    )
    return decode.decode_loop.trace(
        models.policy,
        settings,
        params["policy"] if work.algorithm == "ppo" else params,
        abstract.rows(mesh, models.prompt_rows, work.prompt_length),
        abstract.rows(mesh, models.prompt_rows),
        abstract.KEY,
        abstract.rows(mesh, work.batch),
    )


def score(models: StepModels) -> Any:
    """The traced forward pass of the reward model over the answers."""
    sequences = abstract.token_batch(models.mesh, models.work.batch, models.work.length)
    scorer = jax.jit(reward_model.score, static_argnums=0)
    return scorer.trace(models.scalar, models.initial_params("reward"), sequences)


def compare(models: StepModels) -> Any:
    """The traced log-probs of the answers, under reference and, if used, policy."""
    work, params, sequences = models.work, models.current_params(), answers(models)
    if work.algorithm == "grpo" and work.updates == 1:
        return rollouts.token_logps.trace(
            models.policy, models.initial_params("policy"), sequences, temperature=1.0
        )
    return rollouts.logprobs.trace(
        models.policy,
        params["policy"] if work.algorithm == "ppo" else params,
        models.initial_params("policy"),
        sequences,
        abstract.token_logps(models.mesh, sequences),
        temperature=1.0,
    )


def value(models: StepModels) -> Any:
    """The traced values and advantages of the answers."""
    work, mesh = models.work, models.mesh
    each = abstract.rows(mesh, work.batch, work.length, kind=jnp.float32)
    return ppo_batch.rollout_batch.trace(
        models.scalar,
        models.current_params()["value"],
        abstract.token_batch(mesh, work.batch, work.length),
        each,
        each,
        abstract.rows(mesh, work.batch, kind=jnp.float32),
        abstract.rows(mesh, work.batch, kind=jnp.bool_),
        beta=jax.ShapeDtypeStruct((), jnp.float32),
        gamma=1.0,
        lam=0.95,
    )


def programs(work: PlannedStep, mesh: Mesh) -> list[Program]:
    """The programs of a step, in their order of execution."""
    of = lambda make: lambda shape: make(StepModels(work, shape, mesh))
    if work.algorithm not in ("ppo", "grpo"):
        return [Program("update", 1, of(update))]
    scoring = [Program("score", 1, of(score))] if work.reward == "model" else []
    values = [Program("value", 1, of(value))] if work.algorithm == "ppo" else []
    return [
        Program("sample", 1, of(sample), unrolled=True),
        *scoring,
        Program("compare", 1, of(compare)),
        *values,
        Program("update", work.updates, of(update)),
    ]
