"""How a policy's answers are measured, and how methods are compared by them."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxalign import streams
from jaxalign.data import splits
from jaxalign.data.records import Prompt
from jaxalign.evaluation import intervals, preference, refusals, sample_metrics
from jaxalign.evaluation.intervals import Gain, Interval
from jaxalign.pipeline import datasets, model_folders, policies, rollouts
from jaxalign.runtime import distributed
from jaxalign.runtime.config import RunConfig, mesh_of
from jaxalign.types import Key, Params, ScalarModel

Row = dict[str, Any]


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
        None if scalar is None else rollouts.learned_scores(*scalar, answers.sequences)
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
        rollouts.answer_logps(p, p.params, answers, temperature=temperature)
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
      room: longest answer, in tokens.
      judge: the programmed reward, where there is one.
      scalar: a reward model; without a judge it decides.
    """

    base: policies.Policy
    prompts: list[Prompt]
    key: Key
    room: int
    judge: datasets.RuleBasedReward | None
    scalar: tuple[ScalarModel, Params] | None = None

    def answered(
        self, policy: policies.Policy, samples: int = 1, *, temperature: float
    ) -> Evaluation:
        """What a policy's answers at a temperature are worth, `samples` a prompt."""
        answers = rollouts.sample_answers(
            policy,
            self.prompts,
            self.key,
            max_new_tokens=self.room,
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
    """An exam of so many prompts at most, by a reward model in a folder if told."""
    policy = load(config, source, base)
    max_new_tokens = max_new_tokens or source.max_new_tokens
    return HeldOutEval(
        base=policy,
        prompts=fitting_prompts(policy, source, count, max_new_tokens),
        key=streams.key(jax.random.key(config.seed), "exam"),
        room=max_new_tokens,
        judge=source.judge,
        scalar=model_folders.load_scalar(reward, config.dtype) if reward else None,
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
    found = rollouts.select_prompts(
        policy, held, max_new_tokens, note, "held-out prompts"
    )[:count]
    if not found:
        raise ValueError(
            f"none of {len(held)} held-out prompts leaves room for {max_new_tokens} new tokens "
            f"in a context of {policy.config.context}"
        )
    return found


def by_seed(
    found: Sequence[dict[str, Evaluation]], method: str, field: str
) -> list[np.ndarray]:
    """A number of all of a method's answers, of each seed."""
    return [getattr(each[method], field) for each in found]


def mean(
    found: Sequence[dict[str, Evaluation]], method: str, field: str
) -> Interval | float:
    """The mean of a number over seeds and prompts; no interval where all are equal.

    So are the KL of the model that all began from, and best-of-n's, which theory says.
    """
    values = by_seed(found, method, field)
    interval = intervals.interval_over_seeds(
        values, units=by_seed(found, method, "prompt")
    )
    return interval if np.ptp(np.concatenate(values)) else interval.mean


def refusal_measure(
    found: Sequence[dict[str, Evaluation]], method: str, name: str
) -> Interval | None:
    """One of `refusals.refusal_metrics` over seeds and prompts; None where nothing counts.

    A seed without a prompt that counts has no say.
    """
    groups, units = [], []
    for one in (each[method] for each in found):
        values, where = refusals.refusal_metrics(one.judged)[name]
        if where.any():
            groups.append(values[where])
            units.append(one.prompt[where])
    if not groups:
        return None
    share = all(group.dtype == bool for group in groups)
    return intervals.interval_over_seeds(groups, units=units, share=share)


def reward_kl_point(
    found: Sequence[dict[str, Evaluation]], method: str
) -> tuple[float, Interval]:
    """A method in the plot of reward against KL."""
    kl, reward, prompt = (by_seed(found, method, n) for n in ("kl", "reward", "prompt"))
    return float(np.concatenate(kl).mean()), intervals.interval_over_seeds(
        reward, units=prompt
    )


def reward_name(found: Sequence[dict[str, Evaluation]]) -> str:
    """What tables call the reward: true where it is known to be."""
    judged = next(iter(found[0].values())).judged
    return "true reward" if "due" in judged else "reward"


def title(data: str, found: Sequence[dict[str, Evaluation]]) -> str:
    """What a table's numbers are of, and its intervals over."""
    first = next(iter(found[0].values()))
    of_seeds = (
        "1 seed; 95 % intervals over prompts, of these models alone"
        if len(found) == 1
        else f"{len(found)} seeds; 95 % intervals (Student's t) over seeds and prompts"
    )
    return f"{data}, {len(first.texts)} held-out prompts, {of_seeds}"


def table(found: Sequence[dict[str, Evaluation]]) -> list[Row]:
    """One row a method, over all seeds; gains are paired with the first, by prompt.

    Intervals are over seeds and prompts (`intervals.interval_over_seeds`); of a single seed,
    over prompts, of this one model. Each method is at its own temperature.
    """
    base = next(iter(found[0]))
    theirs = by_seed(found, base, "reward")
    rows = []
    for method, one in found[0].items():
        over = functools.partial(
            intervals.interval_over_seeds, units=by_seed(found, method, "prompt")
        )
        ours = by_seed(found, method, "reward")
        pairs = list(zip(ours, theirs, strict=True))
        row: Row = {"method": method, "temperature": one.temperature}
        row[reward_name(found)] = over(ours)
        gained = won = None
        if method != base:
            gained = Gain(*over([a - b for a, b in pairs]))
            won = over([preference.agreement(a, b) for a, b in pairs], share=True)
        row |= {f"gain over {base}": gained, "win rate": won}
        for name, field in (("KL (nats)", "kl"), ("length", "length")):
            row[name] = mean(found, method, field)
        if one.score is not None:
            row["RM score"] = mean(found, method, "score")
        if "due" in one.judged:
            row |= {
                n: refusal_measure(found, method, n)
                for n in refusals.refusal_metrics(one.judged)
            }
        rows.append(row)
    return rows
