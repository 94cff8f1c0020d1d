"""How a policy's answers are measured, and how methods are compared by them."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments import jsonl, policies, processes, rollouts, sources
from experiments import reward_model as reward_stage
from experiments.config import Shared, mesh_of
from jaxalign import streams
from jaxalign.data import formats, loader
from jaxalign.data import tokenizer as tokenizers
from jaxalign.data.records import Preference, Prompt
from jaxalign.evaluation import generation, preference, refusals, report
from jaxalign.evaluation.intervals import Gain, Interval, bootstrap, nested
from jaxalign.types import Key, Params, ScalarModel

Row = dict[str, Any]


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


@dataclasses.dataclass(frozen=True)
class Exam:
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
    judge: sources.Judge | None
    scalar: tuple[ScalarModel, Params] | None = None

    def answered(self, policy: policies.Policy, samples: int = 1) -> Evaluated:
        """What a policy's answers are worth, `samples` a prompt."""
        answers = rollouts.answer(
            policy, self.prompts, self.key, max_new_tokens=self.room, samples=samples
        )
        return measured(policy, self.base, answers, self.judge, self.scalar)


def exam(
    config: Shared,
    source: sources.Source,
    base: Path,
    count: int,
    *,
    room: int | None = None,
    reward: Path | None = None,
) -> Exam:
    """An exam of so many prompts at most, by a reward model in a folder if told."""
    policy = load(config, source, base)
    room = room or source.max_new_tokens
    return Exam(
        base=policy,
        prompts=short(policy, source, count, room),
        key=streams.key(jax.random.key(config.seed), "exam"),
        room=room,
        judge=source.judge,
        scalar=policies.load_scalar(reward, config.dtype) if reward else None,
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


def short(
    policy: policies.Policy, source: sources.Source, count: int, room: int | None = None
) -> list[Prompt]:
    """Held-out prompts that leave room for an answer.

    Raises:
      ValueError: none does.
    """
    room = room or source.max_new_tokens
    limit = policy.model.config.context - room
    held = source.prompts()[1][: 4 * count]
    found = rollouts.fitting(policy, held, limit)[:count]
    if not found:
        raise ValueError(
            f"none of {len(held)} held-out prompts leaves room for {room} new tokens "
            f"in a context of {limit + room}"
        )
    return found


def by_seed(
    found: Sequence[dict[str, Evaluated]], method: str, field: str
) -> list[np.ndarray]:
    """A number of all of a method's answers, of each seed."""
    return [getattr(each[method], field) for each in found]


def point(found: Sequence[dict[str, Evaluated]], method: str) -> tuple[float, Interval]:
    """A method in the plot of reward against KL."""
    kl, reward = (by_seed(found, method, field) for field in ("kl", "reward"))
    return float(np.concatenate(kl).mean()), nested(reward)


def reward_name(found: Sequence[dict[str, Evaluated]]) -> str:
    """What tables call the reward: true where it is known to be."""
    judged = next(iter(found[0].values())).judged
    return "true reward" if "due" in judged else "reward"


def table(found: Sequence[dict[str, Evaluated]]) -> list[Row]:
    """One row a method, over all seeds; gains are paired with the first, by prompt.

    Intervals are over seeds and prompts.
    """
    base = next(iter(found[0]))
    theirs = by_seed(found, base, "reward")
    rows = []
    for method, one in found[0].items():
        ours = by_seed(found, method, "reward")
        pairs = list(zip(ours, theirs, strict=True))
        judged = {
            name: np.concatenate([each[method].judged[name] for each in found])
            for name in one.judged
        }
        row: Row = {"method": method, reward_name(found): nested(ours)}
        gained = won = None
        if method != base:
            gained = Gain(*nested([a - b for a, b in pairs]))
            won = nested([preference.agreement(a, b) for a, b in pairs])
        row |= {f"gain over {base}": gained, "win rate": won}
        for name, field in (("KL (nats)", "kl"), ("length", "length")):
            row[name] = float(np.concatenate(by_seed(found, method, field)).mean())
        if one.score is not None:
            row["RM score"] = float(
                np.concatenate(by_seed(found, method, "score")).mean()
            )
        if "due" in judged:
            row |= refusals.rates(judged["refused"], judged["due"])
            row["agrees when wrong"] = float(judged["agreed"][judged["pushed"]].mean())
        rows.append(row)
    return rows


def agreement(config: Shared, held: Path, reward: Path, batch: int) -> Row:
    """How well a reward model agrees with held-out preferences, and could at best.

    `expected` is its accuracy over all labels that the annotator could have given,
    where `accuracy` is over those that were sampled; `Bayes` is the best there is.

    Args:
      held: the pairs, as `experiments.collect` wrote them.
      reward: the reward model's folder.
    """
    rows = jsonl.read(held)
    pairs, _ = formats.read(held, Preference)
    with jax.set_mesh(mesh_of(config)):
        model, params = policies.load_scalar(reward, config.dtype)
        examples, _ = loader.tokenise(
            pairs, tokenizers.load(reward), context=model.config.context
        )
        chosen, rejected = reward_stage.scores(model, params, examples, batch)
    p = np.array([rows[example.row]["p_chosen"] for example in examples])
    right = preference.agreement(chosen, rejected)
    return {
        "accuracy": bootstrap(right),
        "expected": float(np.mean(right * p + (1 - right) * (1 - p))),
        "Bayes": preference.bayes_accuracy(p),
        "pairs": len(p),
    }


def publish(out: Path, tables: Mapping[str, Sequence[Row]]) -> None:
    """Shows tables by their titles, and writes table.md; table.json and table.csv have
    the first. Of many processes the first does.
    """
    if not processes.first():
        return
    out.mkdir(parents=True, exist_ok=True)
    for title, rows in tables.items():
        report.show(rows, title)
    texts = [report.markdown(rows) for rows in tables.values()]
    (out / "table.md").write_text("\n".join(texts))
    first = next(iter(tables.values()))
    plain = [
        {k: list(v) if isinstance(v, Interval) else v for k, v in row.items()}
        for row in first
    ]
    (out / "table.json").write_text(json.dumps(plain, indent=2))
    (out / "table.csv").write_text(report.comma_separated(first))


def write_answers(
    out: Path, prompts: Sequence[Prompt], texts: Mapping[str, Sequence[str]]
) -> None:
    """Writes the answers to a few prompts, of each method, to samples.md.

    Of many processes the first does.
    """
    if not processes.first():
        return
    few = prompts[:12]
    asked = ["\n".join(f"{m['role']}: {m['content']}" for m in p.messages) for p in few]
    said = {name: answers[: len(few)] for name, answers in texts.items()}
    report.write_samples(out / "samples.md", asked, said)
