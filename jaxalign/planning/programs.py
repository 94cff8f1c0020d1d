"""The compiled programs of each algorithm's step, on arrays that are not there."""

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
from jaxalign.training import (
    group_methods,
    objectives,
    optimizer,
    step,
)
from jaxalign.types import LanguageModel, Params, ScalarModel


class Program(NamedTuple):
    """A program that a step runs.

    Attributes:
      times: how often, in a step.
      trace: for a model's configuration, the traced program, to be compiled.
      unrolled: whether it has its layers one by one.
    """

    name: str
    times: int
    trace: Callable[[ModelConfig], Any]
    unrolled: bool = False


@dataclasses.dataclass(frozen=True)
class Models:
    """The models of a step on a mesh, and what trains of them."""

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

    def start(self, role: str) -> Params:
        """The parameters that a role begins with."""
        model = self.policy if role == "policy" else self.scalar
        return abstract.parameters(model, self.mesh)

    def tuned(self) -> trainable.Trainable:
        """What trains."""
        roles = {"reward": ("reward",), "ppo": ("policy", "value")}
        chosen = roles.get(self.work.algorithm, ("policy",))
        parts = {
            role: abstract.trainable_params(self.start(role), self.work.lora_rank)
            for role in chosen
        }
        return trainable.combine_roles(parts) if len(parts) > 1 else parts[chosen[0]]

    def now(self) -> Params:
        """The models' parameters in the midst of training."""
        tuned = self.tuned()
        return tuned.parameters(tuned.params)

    def roles(self) -> dict[str, Any]:
        """What stays on the devices throughout, by role.

        Experiments keep what they began with (LoRA's base, the reference, or neither).
        """
        work, trained = self.work, self.tuned().params
        state = abstract.train_state(trained, adamw(), self.mesh)
        both = work.algorithm == "ppo"
        found = {"parameters": trained["policy"] if both else trained}
        if both:
            found["value"] = trained["value"]
        found["optimizer"] = state.opt_state
        kept = work.algorithm in ("sft", "reward") and not work.lora_rank
        found["start" if kept else "reference"] = self.start("policy")
        if work.reward == "model" and work.algorithm in ("ppo", "grpo"):
            found["reward"] = self.start("reward")
            if both:
                found["value's start"] = self.start("value")
        return found

    @property
    def prompts(self) -> int:
        """How many prompts are read to sample a batch of answers."""
        work, mesh = self.work, self.mesh
        if work.algorithm != "grpo":
            return work.batch
        asked = work.batch // work.samples
        parts = mesh.shape["data"] * mesh.shape["fsdp"]
        return asked * rollouts.prompt_copies(asked, work.samples, parts=parts)

    def cache(self) -> Any:
        """The keys and values of sampling."""
        work, prompts = self.work, self.prompts
        make = lambda: self.policy.branch(
            self.policy.init_cache(prompts, work.length),
            work.batch // prompts,
            work.length - work.asked,
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
    """AdamW as experiments have it; its numbers change no shape."""
    return optimizer.adamw(1e-5, steps=1000, weight_decay=0.01)


def pairs(models: Models) -> AnswerBatch:
    """Pairs that share their prompt, each in a row of its own."""
    work = models.work
    room = work.length - work.asked
    return abstract.answer_batch(
        models.mesh, work.batch, 2, asked=work.asked, room=room
    )


def training_inputs(models: Models) -> tuple[Any, Any]:
    """The objective of the update, and the batch that it is given."""
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
        group_methods.GRPO.mean(work.length - work.asked),
        kl_coef=0.05,
        on_policy=work.updates == 1,
    )
    return objective, GroupBatch(sequences, each, each, advantage)


def answers(models: Models, minibatches: int = 1) -> TokenBatch | AnswerBatch:
    """The answers of a minibatch (ppo, grpo), as models read them."""
    work, mesh = models.work, models.mesh
    shared, room = 1, work.length - work.asked
    if work.algorithm == "grpo":
        shared = rollouts.answers_per_row(
            models.shape,
            work.batch // work.samples,
            work.samples,
            parts=work.minibatches * mesh.shape["data"] * mesh.shape["fsdp"],
        )
    rows = work.batch // minibatches // shared
    if shared == 1:
        return abstract.token_batch(mesh, rows, work.length)
    batch = abstract.answer_batch(mesh, rows, shared, asked=work.asked, room=room)
    laid_out = dataclasses.replace(
        batch.sequences, branches=Branches.of(work.asked - 1, shared)
    )
    return dataclasses.replace(batch, sequences=laid_out)


def update(models: Models) -> Any:
    """The optimizer step."""
    return trace_step(models, *training_inputs(models))


def trace_step(models: Models, objective: step.Objective, batch: Any) -> Any:
    """An optimizer step on an objective of what trains."""
    adam, tuned = adamw(), models.tuned()
    update = step.make_step(
        objective, adam, micro_batches=models.work.micro_batches, merge=tuned.merge
    )
    state = abstract.train_state(tuned.params, adam, models.mesh)
    return update.trace(state, batch)


def sample(models: Models) -> Any:
    """Prefill and decoding of every answer, to its longest."""
    work, mesh = models.work, models.mesh
    params = models.now()
    settings = sampling.SamplingParams(
        max_new_tokens=work.length - work.asked,
        temperature=jax.ShapeDtypeStruct((), jnp.float32),
        stop_tokens=(0,),
    )
    return decode.decode_loop.trace(
        models.policy,
        settings,
        params["policy"] if work.algorithm == "ppo" else params,
        abstract.rows(mesh, models.prompts, work.asked),
        abstract.rows(mesh, models.prompts),
        abstract.KEY,
        abstract.rows(mesh, work.batch),
    )


def score(models: Models) -> Any:
    """The reward model over the answers."""
    sequences = abstract.token_batch(models.mesh, models.work.batch, models.work.length)
    scorer = jax.jit(reward_model.score, static_argnums=0)
    return scorer.trace(models.scalar, models.start("reward"), sequences)


def compare(models: Models) -> Any:
    """The answers' log-probs: under the reference, and the policy where it is asked."""
    work, params, sequences = models.work, models.now(), answers(models)
    if work.algorithm == "grpo" and work.updates == 1:
        return rollouts.token_logps.trace(
            models.policy, models.start("policy"), sequences, temperature=1.0
        )
    return rollouts.logprobs.trace(
        models.policy,
        params["policy"] if work.algorithm == "ppo" else params,
        models.start("policy"),
        sequences,
        abstract.token_logps(models.mesh, sequences),
        temperature=1.0,
    )


def value(models: Models) -> Any:
    """The answers' values, and the advantages that come of them."""
    work, mesh = models.work, models.mesh
    each = abstract.rows(mesh, work.batch, work.length, kind=jnp.float32)
    return ppo_batch.rollout_batch.trace(
        models.scalar,
        models.now()["value"],
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
    """The programs of a step, in the order in which they run."""
    of = lambda make: lambda shape: make(Models(work, shape, mesh))
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
