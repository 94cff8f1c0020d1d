"""Held-out evaluation: reward, KL and length of answers to held-out prompts.

Every policy answers the same prompts with the same random key, so that methods are
compared prompt by prompt.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxalign import sharding, streams
from jaxalign.data import splits
from jaxalign.data.records import Prompt
from jaxalign.evaluation import by_field, sample_metrics
from jaxalign.pipeline import (
    answer_scores,
    datasets,
    model_folders,
    policies,
    reward_functions,
    rollouts,
)
from jaxalign.pipeline.prompts import select_prompts, tokenize_prompts
from jaxalign.pipeline.reward_functions import RewardFunction
from jaxalign.pipeline.reward_terms import Reward
from jaxalign.runtime import distributed
from jaxalign.runtime.config import RunConfig
from jaxalign.runtime.mesh import mesh_of
from jaxalign.runtime.split_flags import split_fields
from jaxalign.types import Key, Params, ScalarModel


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """A policy's answers to the held-out prompts, and their measurements.

    R = P prompts x N samples rows, the answers to a prompt together; N is 1 unless
    several answers to each prompt are sampled, for best-of-n.

    Attributes:
      texts: the answers.
      reward: the true reward: the given one, or the data set's rule-based reward, or
        the reward model's score where the data set has none, float [R].
      score: the reward model's score, float [R]; None without a reward model.
      kl: sum over the answer's tokens of log policy - log initial policy, in nats, at
        `temperature`; of best-of-n the formula log n - (n - 1) / n, float [R].
      length: answer tokens, int [R].
      reward_metrics: all metrics of the reward function, among them "reward", and of a
        given sum "rewards/NAME" of each term, [R] each.
      prompt: `splits.prompt_hash` of each prompt, the unit of intervals, uint64 [R].
      temperature: of the sampling.
      fields: of each prompt's row, those by which numbers are split [R].
    """

    texts: list[str]
    reward: np.ndarray
    score: np.ndarray | None
    kl: np.ndarray
    length: np.ndarray
    reward_metrics: dict[str, np.ndarray]
    prompt: np.ndarray
    temperature: float = 1.0
    fields: list[dict[str, Any]] = dataclasses.field(default_factory=list)


def measure_answers(
    policy: policies.Policy,
    base: policies.Policy,
    answers: rollouts.Answers,
    rule_reward: datasets.RuleBasedReward | None,
    reward_model: tuple[ScalarModel, Params] | None = None,
    *,
    true_reward: RewardFunction | None = None,
    temperature: float = 1.0,
) -> Evaluation:
    """Rewards, KL to the initial policy, and length of a policy's own answers.

    Args:
      policy: the policy that sampled the answers.
      base: the initial policy, the reference of the KL.
      answers: R answers.
      rule_reward: the data set's rule-based reward, if it has one; `reward` is its.
      reward_model: a reward model and its parameters; `reward` is its score if there
        is no rule-based reward.
      true_reward: in place of the data set's rule-based reward.
      temperature: of the answers' sampling, and of all log-probs.

    Raises:
      ValueError: neither reward is given, or a score is not finite.
    """
    score = None
    if reward_model is not None:
        score = answer_scores.learned_scores(*reward_model, answers.sequences)
        datasets.check_finite("model", answers.prompts, score)
    if true_reward is not None:
        mesh = sharding.mesh_of(policy.params)
        metrics = reward_functions.score_terms(true_reward, answers, mesh=mesh)
    elif rule_reward is not None:
        metrics = rule_reward(answers.prompts, answers.texts, answers.finished)
    elif score is not None:
        metrics = {"reward": score}
    else:
        raise ValueError("evaluation needs a rule-based reward or a reward model")
    logp, base_logp = (
        answer_scores.answer_logps(p, p.params, answers, temperature=temperature)
        for p in (policy, base)
    )
    return Evaluation(
        texts=answers.texts,
        reward=metrics["reward"],
        score=score,
        kl=logp - base_logp,
        length=answers.lengths,
        reward_metrics=metrics,
        prompt=splits.prompt_hashes(answers.prompts),
        temperature=temperature,
    )


@dataclasses.dataclass(frozen=True)
class HeldOutEval:
    """The held-out prompts and rewards by which policies are compared.

    Attributes:
      base: the initial policy, the reference of the KL.
      prompts: P prompts.
      key: of the sampling, the same for every policy.
      max_new_tokens: tokens of the longest answer.
      rule_reward: the data set's rule-based reward, if it has one.
      reward_model: a reward model and its parameters; its score is the reward if there
        is no rule-based one.
      split_by: names of fields of the prompts' rows, with commas between them, that
        evaluations keep.
      true_reward: in place of the data set's rule-based reward.
    """

    base: policies.Policy
    prompts: list[Prompt]
    key: Key
    max_new_tokens: int
    rule_reward: datasets.RuleBasedReward | None
    reward_model: tuple[ScalarModel, Params] | None = None
    split_by: str = ""
    true_reward: RewardFunction | None = None

    def evaluate(
        self, policy: policies.Policy, samples: int = 1, *, temperature: float
    ) -> Evaluation:
        """Samples answers, `samples` a prompt, and measures them."""
        answers = rollouts.sample_answers(
            policy,
            tokenize_prompts(policy, self.prompts),
            self.key,
            max_new_tokens=self.max_new_tokens,
            samples=samples,
            temperature=temperature,
        )
        evaluation = measure_answers(
            policy,
            self.base,
            answers,
            self.rule_reward,
            self.reward_model,
            true_reward=self.true_reward,
            temperature=temperature,
        )
        names = split_fields(self.split_by)
        fields = [
            {name: by_field.field_value(prompt.fields, name) for name in names}
            for prompt in answers.prompts
        ]
        return dataclasses.replace(evaluation, fields=fields)


def check_split(fields: Sequence[str], source: datasets.Dataset) -> None:
    """Refuses fields of --split-by that do not divide the held-out prompts.

    Raises:
      ValueError: as `by_field.field_groups`.
    """
    if fields:
        rows = [prompt.fields for prompt in source.prompts()[1]]
        by_field.group_rows(rows, fields, "held-out row")


def make_held_out_eval(
    config: RunConfig,
    source: datasets.Dataset,
    base: Path,
    count: int,
    *,
    max_new_tokens: int | None = None,
    reward: Path | None = None,
    true_reward: Reward | None = None,
) -> HeldOutEval:
    """The evaluation on at most `count` held-out prompts.

    Args:
      source: the data set; its rule-based reward, if any, is the evaluation's.
      base: the folder of the initial policy.
      max_new_tokens: tokens of the longest answer; None for the data set's.
      reward: the folder of a reward model, whose score is reported too.
      true_reward: measures in place of the data set's rule-based reward.
    """
    policy = load(config, source, base)
    mesh = sharding.mesh_of(policy.params)
    reward_model = None
    if reward:
        reward_model = model_folders.load_scalar(reward, config.dtype, mesh=mesh)
    true_reward_fn = None
    if true_reward is not None:
        true_reward_fn = reward_functions.make_reward_function(
            true_reward, config.dtype, policy, source
        )
    max_new_tokens = max_new_tokens or source.max_new_tokens
    return HeldOutEval(
        base=policy,
        prompts=fitting_prompts(policy, source, count, max_new_tokens),
        # the stream's name is part of every result
        key=streams.key(jax.random.key(config.seed), "exam"),
        max_new_tokens=max_new_tokens,
        rule_reward=source.reward,
        reward_model=reward_model,
        split_by=",".join(getattr(config, "split_by", ())),
        true_reward=true_reward_fn,
    )


def best_of(samples: Evaluation, n: int) -> Evaluation:
    """Best-of-n: of each n answers the one with the highest reward model score.

    Args:
      samples: n answers to each prompt, with scores [P * n].
    """
    assert samples.score is not None
    best = sample_metrics.best_index(samples.score.reshape(-1, n))
    rows = np.arange(len(best)) * n + best
    return Evaluation(
        texts=[samples.texts[i] for i in rows],
        reward=samples.reward[rows],
        score=samples.score[rows],
        kl=np.full(len(best), sample_metrics.kl_best_of_n(n)),
        length=samples.length[rows],
        reward_metrics={k: x[rows] for k, x in samples.reward_metrics.items()},
        prompt=samples.prompt[rows],
        temperature=samples.temperature,
        fields=[samples.fields[i] for i in rows] if samples.fields else [],
    )


def load(config: RunConfig, source: datasets.Dataset, folder: Path) -> policies.Policy:
    """Load the policy of a folder, with the other flags of `config`."""
    config = dataclasses.replace(config, model=str(folder))
    return policies.load(config, source, mesh_of(config))


def fitting_prompts(
    policy: policies.Policy,
    source: datasets.Dataset,
    count: int,
    max_new_tokens: int | None = None,
    note: Callable[[str], None] = distributed.print_line,
) -> list[Prompt]:
    """At most `count` held-out prompts that leave room for an answer in the context.

    Args:
      max_new_tokens: tokens of the longest answer; None for the data set's.
      note: prints a line: how many prompts are too long.

    Raises:
      ValueError: nothing is held out, or no prompt leaves room.
    """
    max_new_tokens = max_new_tokens or source.max_new_tokens
    candidates = source.prompts()[1][: 4 * count]
    datasets.check_held_out(candidates, "an evaluation")
    prompts = select_prompts(
        policy, candidates, max_new_tokens, note, "held-out prompts"
    ).records[:count]
    if not prompts:
        raise ValueError(
            f"none of {len(candidates)} held-out prompts leaves room for "
            f"{max_new_tokens} new tokens in a context of {policy.config.context}"
        )
    return prompts
