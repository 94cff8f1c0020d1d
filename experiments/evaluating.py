"""How a policy's answers are measured, and how methods are compared by them."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments import policies, rollouts, sources
from experiments.config import Shared, mesh_of
from jaxalign.data.records import Prompt
from jaxalign.evaluation import generation, refusals
from jaxalign.evaluation.intervals import Interval, bootstrap
from jaxalign.types import Params, ScalarModel


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """One method's answers to the held-out prompts, one a prompt.

    Attributes:
      reward: the programmed reward, or the learned one where there is none [P].
      score: the reward model's score [P]; None without a reward model.
      kl: log-ratio of each answer to the model they all began from, summed, nats; of
        best-of-n, what theory says [P].
      length: answer tokens [P].
      judged: all that the programmed reward says, or the learned one [P] each.
    """

    texts: list[str]
    reward: np.ndarray
    score: np.ndarray | None
    kl: np.ndarray
    length: np.ndarray
    judged: dict[str, np.ndarray]


def measured(
    policy: policies.Policy,
    base: policies.Policy,
    answers: rollouts.Answers,
    judge: sources.Judge | None,
    scalar: tuple[ScalarModel, Params] | None = None,
) -> Evaluated:
    """What a policy's own answers are worth, and how far it went from the base.

    Args:
      judge: the programmed reward, where there is one.
      scalar: the reward model; without a judge it decides.

    Raises:
      ValueError: neither.
    """
    score = (
        None if scalar is None else rollouts.learned_scores(*scalar, answers.sequences)
    )
    if judge is not None:
        judged = judge(answers.prompts, answers.texts, answers.finished)
    elif score is not None:
        judged = {"reward": score}
    else:
        raise ValueError("answers are measured by a judge or by a reward model")
    logp, base_logp = (
        rollouts.answer_logps(p, p.params, answers) for p in (policy, base)
    )
    return Evaluated(
        texts=answers.texts,
        reward=judged["reward"],
        score=score,
        kl=logp - base_logp,
        length=answers.lengths,
        judged=judged,
    )


def best_of(many: Evaluated, n: int) -> Evaluated:
    """The answer of each n that the reward model likes best."""
    assert many.score is not None
    best = generation.best(many.score.reshape(-1, n))
    at = np.arange(len(best)) * n + best
    return Evaluated(
        texts=[many.texts[i] for i in at],
        reward=many.reward[at],
        score=many.score[at],
        kl=np.full(len(best), generation.kl_best_of_n(n)),
        length=many.length[at],
        judged={name: x[at] for name, x in many.judged.items()},
    )


def load(config: Shared, source: sources.Source, folder: Path) -> policies.Policy:
    """The policy that a stage left in a folder."""
    settings = dataclasses.replace(config, model=str(folder))
    return policies.load(settings, source, mesh_of(config))


def short(policy: policies.Policy, source: sources.Source, count: int) -> list[Prompt]:
    """Held-out prompts that leave room for an answer."""
    room = policy.model.config.context - source.max_new_tokens
    held = source.prompts()[1]
    return rollouts.fitting(policy, held[: 4 * count], room)[:count]


def table(found: Sequence[dict[str, Evaluated]], reward: str) -> list[dict[str, Any]]:
    """One row a method, pooled over seeds; gains are paired with SFT, by prompt."""

    def pooled(method: str, field: str) -> np.ndarray:
        return np.concatenate([getattr(each[method], field) for each in found])

    rows = []
    for method in found[0]:
        ours, base = pooled(method, "reward"), pooled("SFT", "reward")
        judged = {
            name: np.concatenate([each[method].judged[name] for each in found])
            for name in found[0][method].judged
        }
        row: dict[str, Any] = {"method": method, reward: bootstrap(ours)}
        first = method == "SFT"
        row["gain over SFT"] = None if first else gain(ours - base)
        row["win rate"] = None if first else generation.win_rate(ours, base)
        row["KL (nats)"] = float(pooled(method, "kl").mean())
        row["length"] = float(pooled(method, "length").mean())
        row["RM score"] = float(pooled(method, "score").mean())
        if "due" in judged:
            row |= refusals.rates(judged["refused"], judged["due"])
            row["agrees when wrong"] = float(judged["agreed"][judged["pushed"]].mean())
        rows.append(row)
    return rows


def gain(difference: np.ndarray) -> str:
    """A paired gain with its interval, and a star where that excludes 0."""
    interval: Interval = bootstrap(difference)
    return f"{interval}{' *' if interval.low > 0 else ''}"
