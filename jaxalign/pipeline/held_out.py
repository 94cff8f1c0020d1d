"""How a policy's answers are measured, and how methods are compared by them."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from jaxalign import sharding, streams
from jaxalign.data import splits
from jaxalign.data.records import Prompt
from jaxalign.evaluation import sample_metrics
from jaxalign.pipeline import (
    answer_scores,
    datasets,
    model_folders,
    policies,
    rollouts,
)
from jaxalign.pipeline.prompts import select_prompts, tokenize_prompts
from jaxalign.runtime import distributed
from jaxalign.runtime.config import RunConfig
from jaxalign.runtime.mesh import mesh_of
from jaxalign.types import Key, Params, ScalarModel


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """One method's answers to the held-out prompts, one a prompt.

    Attributes:
      reward: the programmed reward, or the learned one where there is none [P].
      score: the reward model's score [P]; None without a reward model.
      kl: log-ratio of each answer to the model they all began from, summed, nats; of
        best-of-n, what theory says [P].
      length: answer tokens [P].
      judged: all that the programmed reward says, or the learned one [P] each.
      prompt: `splits.prompt_hash` of each prompt, the unit of intervals, uint64 [P].
      temperature: at which the answers were sampled; `kl` is at it, too.
    """

    texts: list[str]
    reward: np.ndarray
    score: np.ndarray | None
    kl: np.ndarray
    length: np.ndarray
    judged: dict[str, np.ndarray]
    prompt: np.ndarray
    temperature: float = 1.0


def measure_answers(
    policy: policies.Policy,
    base: policies.Policy,
    answers: rollouts.Answers,
    judge: datasets.RuleBasedReward | None,
    scalar: tuple[ScalarModel, Params] | None = None,
    *,
    temperature: float = 1.0,
) -> Evaluation:
    """What a policy's own answers are worth, and how far it went from the base.

    Args:
      temperature: of the answers' sampling, and of all log-probs.
      judge: the programmed reward, where there is one.
      scalar: the reward model; without a judge it decides.

    Raises:
      ValueError: neither.
    """
    score = (
        None
        if scalar is None
        else answer_scores.learned_scores(*scalar, answers.sequences)
    )
    if score is not None:
        datasets.check_finite("model", answers.prompts, score)
    if judge is not None:
        judged = judge(answers.prompts, answers.texts, answers.finished)
    elif score is not None:
        judged = {"reward": score}
    else:
        raise ValueError("answers are measured by a judge or by a reward model")
    logp, base_logp = (
        answer_scores.answer_logps(p, p.params, answers, temperature=temperature)
        for p in (policy, base)
    )
    return Evaluation(
        texts=answers.texts,
        reward=judged["reward"],
        score=score,
        kl=logp - base_logp,
        length=answers.lengths,
        judged=judged,
        prompt=splits.prompt_hashes(answers.prompts),
        temperature=temperature,
    )


@dataclasses.dataclass(frozen=True)
class HeldOutEval:
    """Held-out prompts, which every policy answers with the same noise.

    Attributes:
      base: the model that all began from.
      max_new_tokens: tokens of the longest answer.
      judge: the programmed reward, where there is one.
      scalar: a reward model; without a judge it decides.
    """

    base: policies.Policy
    prompts: list[Prompt]
    key: Key
    max_new_tokens: int
    judge: datasets.RuleBasedReward | None
    scalar: tuple[ScalarModel, Params] | None = None

    def evaluate(
        self, policy: policies.Policy, samples: int = 1, *, temperature: float
    ) -> Evaluation:
        """What a policy's answers at a temperature are worth, `samples` a prompt."""
        answers = rollouts.sample_answers(
            policy,
            tokenize_prompts(policy, self.prompts),
            self.key,
            max_new_tokens=self.max_new_tokens,
            samples=samples,
            temperature=temperature,
        )
        return measure_answers(
            policy,
            self.base,
            answers,
            self.judge,
            self.scalar,
            temperature=temperature,
        )


def make_held_out_eval(
    config: RunConfig,
    source: datasets.Dataset,
    base: Path,
    count: int,
    *,
    max_new_tokens: int | None = None,
    reward: Path | None = None,
) -> HeldOutEval:
    """The evaluation on at most `count` held-out prompts.

    Args:
      base: the folder of the initial policy.
      max_new_tokens: tokens of the longest answer; None for the data set's.
      reward: the folder of a reward model, which scores the answers too.
    """
    policy = load(config, source, base)
    mesh = sharding.mesh_of(policy.params)
    load_scalar = model_folders.load_scalar
    max_new_tokens = max_new_tokens or source.max_new_tokens
    return HeldOutEval(
        base=policy,
        prompts=fitting_prompts(policy, source, count, max_new_tokens),
        key=streams.key(jax.random.key(config.seed), "exam"),
        max_new_tokens=max_new_tokens,
        judge=source.reward,
        scalar=load_scalar(reward, config.dtype, mesh=mesh) if reward else None,
    )


def best_of(many: Evaluation, n: int) -> Evaluation:
    """The answer of each n that the reward model likes best."""
    assert many.score is not None
    best = sample_metrics.best_index(many.score.reshape(-1, n))
    at = np.arange(len(best)) * n + best
    return Evaluation(
        texts=[many.texts[i] for i in at],
        reward=many.reward[at],
        score=many.score[at],
        kl=np.full(len(best), sample_metrics.kl_best_of_n(n)),
        length=many.length[at],
        judged={name: x[at] for name, x in many.judged.items()},
        prompt=many.prompt[at],
        temperature=many.temperature,
    )


def load(config: RunConfig, source: datasets.Dataset, folder: Path) -> policies.Policy:
    """The policy that a stage left in a folder."""
    settings = dataclasses.replace(config, model=str(folder))
    return policies.load(settings, source, mesh_of(config))


def fitting_prompts(
    policy: policies.Policy,
    source: datasets.Dataset,
    count: int,
    max_new_tokens: int | None = None,
    note: Callable[[str], None] = distributed.print_line,
) -> list[Prompt]:
    """Held-out prompts that leave room for an answer; those left out are shown.

    Raises:
      ValueError: none does.
    """
    max_new_tokens = max_new_tokens or source.max_new_tokens
    held = source.prompts()[1][: 4 * count]
    datasets.check_held_out(held, "an evaluation")
    found = select_prompts(
        policy, held, max_new_tokens, note, "held-out prompts"
    ).records[:count]
    if not found:
        raise ValueError(
            f"none of {len(held)} held-out prompts leaves room for {max_new_tokens} "
            f"new tokens in a context of {policy.config.context}"
        )
    return found
