"""Answers to held-out prompts: reward, KL, length, entropy, share ended."""

import dataclasses
from collections.abc import Iterator
from functools import partial

import jax
import numpy as np

from jaxalign import estimators, sharding, streams
from jaxalign.batches import TokenBatch
from jaxalign.data import mixing, splits
from jaxalign.evaluation import intervals
from jaxalign.evaluation.by_field import RowMetric
from jaxalign.pipeline import online
from jaxalign.pipeline.held_out_groups import HeldOutGroups, selected_indices
from jaxalign.pipeline.held_out_metrics.rows import (
    ParametersFn,
    mean,
)
from jaxalign.pipeline.prompts import (
    PromptRows,
    TokenizedPrompts,
    pad_prompts,
    select_prompts,
)
from jaxalign.pipeline.sampling_setup import SamplingSetup
from jaxalign.runtime.evaluations import Measure
from jaxalign.runtime.loop import LoopState
from jaxalign.runtime.run import Run
from jaxalign.runtime.training_config import OnlineConfig, SamplingConfig
from jaxalign.training import forward
from jaxalign.types import Array, LanguageModel, Params


def rollouts(
    config: OnlineConfig,
    run: Run,
    setup: online.RolloutSetup,
    parameters: ParametersFn,
) -> Measure | None:
    """The measure of a policy's answers to held-out prompts, one to each.

    `reward` is the mean reward before any penalty, with its 95 % interval over prompts;
    `reward_std` its standard deviation; `kl` the mean over answers of the log-ratio to
    the reference (k1, nats); `length` in tokens; `entropy` of the policy's next token,
    a mean over answer tokens (nats); `eos` the share of answers with an end token. The
    answers are sampled as in training, with the same random key in every evaluation.

    Args:
      parameters: trained parameters -> all parameters of the policy.
    """
    prompts = held_out_prompts(config, run, setup)
    if not run.evaluations.require_held_out(len(prompts)):
        run.say(f"{run.experiment}: no prompts are held out: no evaluation")
        return None
    setup = dataclasses.replace(setup, answers_per_row=1)
    key = streams.key(jax.random.key(config.seed), "held-out answers")
    batches = list(prompt_batches(setup, prompts))
    units = splits.prompt_hashes(prompts.records)
    groups = HeldOutGroups(config, prompts.records, units)

    def measure(loop: LoopState) -> dict[str, float]:
        params = parameters(loop.state.params)
        parts = []
        for batch in batches:
            rollout = online.sample_rollout(setup, params, batch, key)
            reward = setup.reward_fn(rollout.prompts, rollout.sequences, rollout.ended)
            sums = answer_statistics(
                setup.policy.model,
                params,
                setup.policy.params,
                rollout.sequences,
                temperature=config.temperature,
            )
            sums |= {"reward": reward, "eos": rollout.ended}
            parts.append(jax.tree.map(sharding.to_host, sums))
        answers = {
            name: np.concatenate([part[name] for part in parts])[: len(prompts)]
            for name in parts[0]
        }
        return summarize_answers(answers, groups)

    return measure


def summarize_answers(
    answers: dict[str, np.ndarray], groups: HeldOutGroups
) -> dict[str, float]:
    """The held-out metrics of answers; see `rollouts`.

    Args:
      answers: of each answer `reward`, `eos`, and the sums over its tokens `kl`,
        `entropy`, `length` [P].
      groups: of the answers, with the prompt of each, the unit of the interval.
    """
    reward = answers["reward"].astype(np.float64)
    interval = intervals.bootstrap(reward, units=groups.units, seed=groups.seed)
    length = mean(answers["length"])
    return {
        **interval.to_dict("reward"),
        "reward_std": float(reward.std()),
        "kl": mean(answers["kl"]),
        "length": length,
        "entropy": mean(answers["entropy"]) / max(length, 1.0),
        "eos": mean(answers["eos"]),
        "prompts": len(reward),
        **groups.metrics(
            reward=RowMetric(reward, has_interval=True),
            **{name: RowMetric(answers[name]) for name in ("kl", "length", "eos")},
        ),
    }


def held_out_prompts(
    config: SamplingConfig, run: Run, setup: SamplingSetup
) -> TokenizedPrompts:
    """At most --eval-rows held-out prompts, no longer than training's longest one."""
    records = setup.dataset.prompts()[1]
    chosen = selected_indices(config, len(records))
    selected = select_prompts(
        setup.policy,
        [records[i] for i in chosen],
        setup.sampling.max_new_tokens,
        run.say,
        f"{run.experiment}: held-out prompts",
    )
    width = setup.prompt_batches.width
    fits = np.array([len(row) <= width for row in selected.rows], bool)
    if not fits.all():
        run.say(
            f"{run.experiment}: held-out prompts: {(~fits).sum()} longer than those of "
            "training are left out of evaluations"
        )
    rows = [row for row, is_short in zip(selected.rows, fits, strict=True) if is_short]
    return TokenizedPrompts(mixing.select(selected.records, fits), rows)


def prompt_batches(
    setup: SamplingSetup, prompts: TokenizedPrompts
) -> Iterator[PromptRows]:
    """Batches of one answer to each prompt, of the shapes of training's batches.

    The last one is filled up with the first prompts. Each process has its share.
    """
    training = setup.prompt_batches
    rows = training.batch_size * training.samples
    tokens, lengths = pad_prompts(setup.policy, prompts, setup.sampling.max_new_tokens)
    tokens = np.pad(tokens, ((0, 0), (0, training.width - tokens.shape[1])))
    ids = [streams.prompt_id(prompt.messages) for prompt in prompts.records]
    answer_ids = streams.answer_ids(ids, 1).reshape(-1, 1, 2)
    share = sharding.local_rows(rows, setup.mesh)
    for first in range(0, len(prompts), rows):
        indices = np.arange(first, first + rows) % len(prompts)
        local = indices[share]
        yield PromptRows(
            records=[prompts.records[i] for i in local],
            tokens=tokens[local],
            lengths=lengths[local],
            answer_ids=answer_ids[local],
        )


@partial(jax.jit, static_argnums=0, static_argnames="temperature")
def answer_statistics(
    model: LanguageModel,
    params: Params,
    reference: Params,
    batch: TokenBatch,
    *,
    temperature: float,
) -> dict[str, Array]:
    """Sums over the tokens of each answer: `kl` (k1), `entropy`, `length` [A].

    Args:
      reference: the reference's parameters, of the same model.
      temperature: of the sampling, and of all log-probs.
    """
    logp, entropy = forward.token_statistics(
        model, params, batch, temperature=temperature
    )
    ref_logp = forward.token_logps(model, reference, batch, temperature=temperature)
    kl, length = forward.row_sums(estimators.kl_k1(logp, ref_logp), batch.loss_mask)
    total, _ = forward.row_sums(entropy, batch.loss_mask)
    return {"kl": kl, "entropy": total, "length": length}
