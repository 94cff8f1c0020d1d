"""The samples of an iteration that are written: a few answers, with their numbers.

They are the first answers of the iteration's batch, whose prompts come in random order;
the answers to one prompt are side by side, so that a group can be read. Which they are
depends on the seed alone, not on devices or processes.
"""

import functools
from collections.abc import Mapping, Sequence
from functools import partial
from math import isfinite
from typing import Any

import jax
import numpy as np

from jaxalign import estimators, sharding
from jaxalign.batches import AnswerBatch, TokenBatch
from jaxalign.data.records import Prompt
from jaxalign.pipeline import online, policies, rollouts, sampling_setup
from jaxalign.runtime.samples_log import DeferredRows
from jaxalign.runtime.training_config import SamplingConfig
from jaxalign.training import forward
from jaxalign.types import Array, LanguageModel, Params


def first_samples(
    config: SamplingConfig,
    setup: sampling_setup.SamplingSetup,
    rollout: online.Rollout,
    *,
    rewards: Mapping[str, Array],
    logps: tuple[Array, Array],
    advantage: Array | None = None,
    **numbers: Array,
) -> DeferredRows | None:
    """The samples of an iteration, for `Run.log`; None with --sample-rows 0.

    Called before further prompts are drawn. A row is `{"prompt": messages, "answer":
    text, "rewards": {name: number}, "advantage": number, "kl": nats, "ended": bool,
    "tokens": number}`, and has the other numbers.

    Args:
      rewards: of each answer, by name [A] each.
      logps: per-token log-probs of `rollout.batch` under the policy that sampled it
        and under its reference, in nats [R T'] each.
      advantage: of each answer [A], or of each of its tokens [A T]: then their mean is
        written. None for a method without.
      **numbers: further numbers of each answer, by name [A] each.
    """
    samples = setup.prompt_batches.samples
    count = min(config.sample_rows, len(rollout.ended))
    if not count:
        return None
    columns = {"rewards": dict(rewards), "numbers": numbers, "ended": rollout.ended}
    arrays = first_answers(
        *(rollout.batch, rollout.sequences, columns, logps, advantage), count=count
    )
    prompts = setup.prompt_batches.first_records(-(-count // samples))
    prompts = [prompt for prompt in prompts for _ in range(samples)][:count]
    return DeferredRows(arrays, partial(make_rows, setup.policy, prompts))


def student_samples(
    config: SamplingConfig,
    setup: sampling_setup.SamplingSetup,
    teacher: policies.Policy,
    rollout: online.Rollout,
) -> DeferredRows | None:
    """The samples of a student's rollout, whose `kl` is to its teacher, as of k1.

    The teacher reads the written answers alone, one a row.
    """
    count = min(config.sample_rows, len(rollout.ended))
    if not count:
        return None
    arrays = rollout.sequences, rollout.sampler_logp, rollout.ended
    (sequences, logp, ended), teacher_logp = score_first_answers(
        *(teacher.model, teacher.params, arrays),
        count=count,
        temperature=config.temperature,
    )
    first = online.Rollout([], sequences, sequences, logp, ended)
    return first_samples(config, setup, first, rewards={}, logps=(logp, teacher_logp))


@functools.partial(jax.jit, static_argnums=0, static_argnames=("count", "temperature"))
def score_first_answers(
    model: LanguageModel,
    params: Params,
    arrays: tuple[TokenBatch, Array, Array],
    *,
    count: int,
    temperature: float,
) -> tuple[tuple[TokenBatch, Array, Array], Array]:
    """The first answers of a rollout, and a model's log-probs of their tokens.

    Args:
      arrays: sequences, the sampler's log-probs, `ended`: one answer a row.
      count: of the answers.
    """
    take = lambda x: sharding.constrain(x[:count], *[None] * x.ndim)
    first: tuple[TokenBatch, Array, Array] = jax.tree.map(take, arrays)
    logps = forward.token_logps(model, params, first[0], temperature=temperature)
    return first, logps


@functools.partial(jax.jit, static_argnames="count")
def first_answers(
    batch: TokenBatch | AnswerBatch,
    sequences: TokenBatch,
    columns: Mapping[str, Any],
    logps: tuple[Array, Array],
    advantage: Array | None,
    *,
    count: int,
) -> dict[str, Any]:
    """The first answers and their numbers, in full on every device.

    Args:
      batch: the answers as models read them [R T'].
      sequences: the same, one answer a row [A T].
      columns: a tree of numbers of each answer [A].
      logps, advantage: see `first_samples`.
      count: of the answers.

    Returns:
      `columns` with `sequences` [count T], `kl` (k1, nats) [count] and, unless None,
      `advantage` [count].
    """
    kl = rollouts.answer_sums(batch, estimators.kl_k1(*logps))
    found = {**columns, "sequences": sequences, "kl": kl}
    if advantage is not None and advantage.ndim == 2:
        mask = batch.per_answer(batch.rows().loss_mask)
        sums, counts = forward.row_sums(advantage, mask)
        advantage = sums / counts
    if advantage is not None:
        found["advantage"] = advantage
    take = lambda x: sharding.constrain(x[:count], *[None] * x.ndim)
    first: dict[str, Any] = jax.tree.map(take, found)
    return first


def make_rows(
    policy: policies.Policy, prompts: Sequence[Prompt], step: int, arrays: Any
) -> list[dict[str, Any]]:
    """The rows of samples, JSON values; a number that is not finite is null.

    Args:
      prompts: of each answer [count].
      arrays: of `first_answers`, on the host.
    """
    texts = rollouts.texts(policy, arrays["sequences"])
    lengths = arrays["sequences"].loss_mask.sum(axis=1)
    rows = []
    for i, (prompt, text) in enumerate(zip(prompts, texts, strict=True)):
        one = lambda x, i=i: finite(x[i])
        row: dict[str, Any] = {"prompt": list(prompt.messages), "answer": text}
        row["rewards"] = jax.tree.map(one, arrays["rewards"])
        row |= jax.tree.map(one, arrays["numbers"])
        if "advantage" in arrays:
            row["advantage"] = one(arrays["advantage"])
        row |= {"kl": one(arrays["kl"]), "ended": bool(arrays["ended"][i])}
        rows.append(row | {"tokens": int(lengths[i])})
    return rows


def finite(x: np.ndarray) -> float | None:
    """A number; None where it is not finite."""
    number = float(x)
    return number if isfinite(number) else None
