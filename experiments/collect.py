"""Preferences on a policy's own answers: sample, compare, write down.

The annotator is programmed: the data set's true reward, through Bradley-Terry:

    p(a preferred to b) = sigmoid((reward(a) - reward(b)) / label_temperature)

so that the best accuracy which any reward model can have on these labels (Bayes) is
known, and reported. Writes OUT/preferences/train.jsonl and test.jsonl, in the layout
which `--data` reads everywhere.

    python -m experiments.collect --model runs/sft/policy --out runs/collect
    python -m experiments.collect --model FOLDER --data stories
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments import policies, rollouts, sources
from experiments.config import Shared, launch
from experiments.run import Run
from jaxalign.evaluation import preference


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Shared):
    """Preferences labelled by the programmed reward."""

    prompts: int = 3072
    """Training prompts to sample answers to."""
    held_out: int = 512
    """Held-out prompts, for test.jsonl."""
    samples: int = 4
    """Answers to a prompt; compared two by two, in the order they were sampled."""
    temperature: float = 1.0
    """Of the sampling."""
    label_temperature: float = 1.0
    """Of the annotator: near 0 it always prefers the better answer."""
    max_new_tokens: int | None = None
    """Longest answer; by default what the data set suggests."""


def main(config: Config) -> dict[str, float]:
    """Samples and labels pairs; returns how many, and the Bayes accuracy."""
    with Run(config, "collect") as run:
        source = sources.load(config)
        policy = policies.load(config, source, run.mesh)
        judge = sources.judge_of(source)
        train, held_out = source.prompts()
        numbers: dict[str, float] = {}
        for name, prompts, count in (
            ("train", train, config.prompts),
            ("test", held_out, config.held_out),
        ):
            key = jax.random.fold_in(jax.random.key(config.seed), len(numbers))
            answers = rollouts.answer(
                policy,
                prompts[:count],
                key,
                max_new_tokens=config.max_new_tokens or source.max_new_tokens,
                samples=config.samples,
                temperature=config.temperature,
            )
            judged = judge(answers.prompts, answers.texts, answers.finished)
            rng = np.random.default_rng([config.seed, len(numbers)])
            rows = compared(answers, judged["reward"], config.label_temperature, rng)
            write(run.folder / "preferences" / f"{name}.jsonl", rows)
            numbers[f"{name}_pairs"] = len(rows)
            numbers[f"{name}_bayes_accuracy"] = preference.bayes_accuracy(
                np.array([row["p_chosen"] for row in rows])
            )
            numbers[f"{name}_reward"] = float(np.mean(judged["reward"]))
        return run.finish(numbers)


def compared(
    answers: rollouts.Answers,
    reward: np.ndarray,
    temperature: float,
    rng: np.random.Generator,
) -> list[dict[str, Any]]:
    """One labelled row for each two neighbouring answers that differ."""
    rows = []
    for a in range(0, len(answers.texts) - 1, 2):
        b = a + 1
        if answers.prompts[a] is not answers.prompts[b]:
            raise ValueError("--samples must be even: answers are compared two by two")
        if answers.texts[a] == answers.texts[b]:
            continue
        p = 1.0 / (
            1.0 + np.exp(np.clip((reward[b] - reward[a]) / temperature, -60, 60))
        )
        best, worst, p = (a, b, p) if rng.random() < p else (b, a, 1.0 - p)
        rows.append(
            {
                "prompt": answers.prompts[a].messages,
                "chosen": answers.texts[best],
                "rejected": answers.texts[worst],
                "p_chosen": float(p),
                "rewards": [float(reward[best]), float(reward[worst])],
            }
        )
    return rows


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """Writes rows as JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


if __name__ == "__main__":
    launch(main, Config)
