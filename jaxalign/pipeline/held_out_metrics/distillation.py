"""Held-out prompts under a teacher and a student: how far the two are apart."""

import dataclasses
import functools
from typing import Any

import jax
import numpy as np

from jaxalign import sharding, streams
from jaxalign.batches import TokenBatch
from jaxalign.pipeline import online
from jaxalign.pipeline.held_out_metrics.rollouts import held_out_prompts, prompt_batches
from jaxalign.pipeline.held_out_metrics.rows import ParametersFn, mean
from jaxalign.pipeline.policies import Policy
from jaxalign.pipeline.sampling_setup import SamplingSetup
from jaxalign.runtime.evaluations import Measure
from jaxalign.runtime.loop import LoopState
from jaxalign.runtime.run import Run
from jaxalign.runtime.training_config import SamplingConfig
from jaxalign.training import forward, objectives
from jaxalign.types import Array, LanguageModel, Params

Sums = dict[str, np.ndarray]  # of each answer's tokens, by name [P]


def distillation(
    config: SamplingConfig,
    run: Run,
    setup: SamplingSetup,
    teacher: Policy,
    parameters: ParametersFn,
    *,
    beta: float,
) -> Measure | None:
    """The measure of a student against its teacher, on held-out prompts.

    On an answer of the teacher to each prompt, sampled once: `loss`, the divergence of
    `beta`, and `forward_kl`, KL(teacher || student), means over answer tokens. On an
    answer of the student, with the same random key in every evaluation: `reverse_kl`,
    KL(student || teacher), and the student's `entropy`, means over answer tokens;
    `teacher_kl`, the mean over answers of the summed reverse KL; `length`, `eos`. Nats;
    the KLs of a token are exact, over the vocabulary.

    Args:
      teacher: with the student's tokenizer.
      parameters: trained parameters -> all parameters of the student.
    """
    prompts = held_out_prompts(config, run, setup)
    if not run.evaluations.require_held_out(len(prompts)):
        run.say(f"{run.experiment}: no prompts are held out: no evaluation")
        return None
    run_key = jax.random.key(config.seed)
    batches = list(prompt_batches(setup, prompts))
    taught = dataclasses.replace(setup, policy=teacher)
    score = functools.partial(
        answer_sums,
        setup.policy.model,
        teacher.model,
        teacher_params=teacher.params,
        beta=beta,
        temperature=config.temperature,
    )

    @functools.cache
    def teacher_answers() -> list[TokenBatch]:
        key = streams.key(run_key, "held-out answers of the teacher")
        sample = functools.partial(online.sample_rollout, taught, teacher.params)
        return [sample(batch, key).sequences for batch in batches]

    def measure(loop: LoopState) -> dict[str, float]:
        params = parameters(loop.state.params)
        key = streams.key(run_key, "held-out answers")
        by_teacher, by_student = [], []
        for batch, sequences in zip(batches, teacher_answers(), strict=True):
            by_teacher.append(to_host(score(params, sequences)))
            rollout = online.sample_rollout(setup, params, batch, key)
            sums = score(params, rollout.sequences) | {"eos": rollout.ended}
            by_student.append(to_host(sums))
        count = len(prompts)
        return summarize(join(by_teacher, count), join(by_student, count))

    return measure


def summarize(by_teacher: Sums, by_student: Sums) -> dict[str, float]:
    """The held-out metrics; see `distillation`.

    Args:
      by_teacher, by_student: of the answers that each sampled: sums over their tokens,
        as of `answer_sums`; of the student's also `eos` [P].
    """
    per_token = lambda sums, name: mean(sums[name]) / mean(sums["length"])
    return {
        "loss": per_token(by_teacher, "loss"),
        "forward_kl": per_token(by_teacher, "forward_kl"),
        "reverse_kl": per_token(by_student, "reverse_kl"),
        "teacher_kl": mean(by_student["reverse_kl"]),
        "length": mean(by_student["length"]),
        "entropy": per_token(by_student, "entropy"),
        "eos": mean(by_student["eos"]),
        "prompts": len(by_student["eos"]),
    }


@functools.partial(
    jax.jit, static_argnums=(0, 1), static_argnames=("beta", "temperature")
)
def answer_sums(
    student: LanguageModel,
    teacher: LanguageModel,
    params: Params,
    sequences: TokenBatch,
    *,
    teacher_params: Params,
    beta: float,
    temperature: float,
) -> dict[str, Array]:
    """Sums over the tokens of each answer [A], by name.

    `loss`, `forward_kl`, `reverse_kl` and `entropy` in nats, and `length`.
    """
    terms = objectives.distillation_terms(
        *(student, params, teacher, teacher_params, sequences),
        beta=beta,
        temperature=temperature,
    )
    mask = sequences.loss_mask
    names = ("loss", "forward_kl", "reverse_kl", "entropy")
    pairs = {name: forward.row_sums(getattr(terms, name), mask) for name in names}
    sums = {name: total for name, (total, _) in pairs.items()}
    return sums | {"length": pairs["loss"][1]}


def to_host(sums: dict[str, Any]) -> Sums:
    """Arrays on the host."""
    return {name: sharding.to_host(x) for name, x in sums.items()}


def join(parts: list[Sums], count: int) -> Sums:
    """The answers of all batches, without those that fill up the last one [P]."""
    return {
        name: np.concatenate([part[name] for part in parts])[:count]
        for name in parts[0]
    }
