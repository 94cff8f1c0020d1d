"""Preferences on a policy's own answers: sample, rank, write down.

Annotators are programmed: the data set's true reward, through Plackett-Luce. Each sorts
by reward / label_temperature + Gumbel noise of their own, so that of any two answers

    p(a preferred to b) = sigmoid((reward(a) - reward(b)) / label_temperature)

which is Bradley-Terry, and the best accuracy that any reward model can have on such a
label (Bayes) is known, and reported. Writes OUT/rankings, by the mean place over all
`--annotators` (Borda), and OUT/preferences, pairs as the first of them has them, with
train.jsonl and test.jsonl each; `--data` reads either.

    python -m experiments.collect --model runs/sft/policy --out runs/collect
    python -m experiments.collect --model FOLDER --data stories
"""

import collections
import dataclasses
import itertools
import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxalign import streams
from jaxalign.data.records import Prompt
from jaxalign.data.records import prompt_fields as asked_of
from jaxalign.evaluation import preference
from jaxalign.pipeline import datasets, policies, rollouts
from jaxalign.pipeline.prompts import cyclic_slice, select_prompts
from jaxalign.runtime.cli import launch
from jaxalign.runtime.config import RunConfig
from jaxalign.runtime.jsonl import write
from jaxalign.runtime.run import Run


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(RunConfig):
    """Preferences labelled by the programmed reward."""

    prompts: int = 3072
    """Training prompts to sample answers to."""
    first_prompt: int = 0
    """The one to begin with; after the last comes the first again."""
    held_out_prompts: int = 512
    """Held-out prompts, for test.jsonl."""
    samples: int = 4
    """Answers to a prompt, which are ranked."""
    temperature: float = 1.0
    """Of the sampling."""
    annotators: int = 1
    """How many rank the answers to each prompt."""
    label_temperature: float = 1.0
    """Of each annotator: near 0 the better answer is always preferred."""
    max_new_tokens: int | None = None
    """Longest answer; by default what the data set suggests."""


class RankedAnswers(NamedTuple):
    """Answers to a prompt, in the order in which they were sampled.

    Attributes:
      rewards: of the answers [K].
      places: where each annotator puts each answer, 0 for the best [annotators K].
    """

    prompt: Prompt
    answers: list[str]
    rewards: np.ndarray
    places: np.ndarray

    def row(self) -> dict[str, Any]:
        """The ranking of all annotators, best first, as `--data` reads it."""
        # of answers in the same mean place, the first annotator's order
        order = np.lexsort((self.places[0], self.places.mean(axis=0)))
        return {
            **asked_of(self.prompt),
            "answers": [self.answers[i] for i in order],
            "rewards": self.rewards[order].tolist(),
        }


def main(config: Config) -> dict[str, float]:
    """Samples and ranks answers; returns how many, and the Bayes accuracy of pairs."""
    with Run(config, "collect") as run:
        source = datasets.load(config)
        policy = policies.load(config, source, run.mesh)
        judge = source.require_reward()
        train, held_out = source.prompts()
        datasets.check_held_out(held_out, "test.jsonl")
        run.describe_data(source.accounts())
        numbers: dict[str, float] = {}
        for name, prompts in (
            (
                "train",
                cyclic_slice(train, config.first_prompt, config.prompts),
            ),
            ("test", held_out[: config.held_out_prompts]),
        ):
            # of prompts that come again, after all others, other answers
            step, stream = config.first_prompt, f"collect {name}"
            room = config.max_new_tokens or source.max_new_tokens
            fitting = select_prompts(policy, prompts, room, run.note, name)
            key = streams.key(jax.random.key(config.seed), stream, step)
            answers = rollouts.sample_answers(
                policy,
                fitting,
                key,
                max_new_tokens=room,
                samples=config.samples,
                temperature=config.temperature,
            )
            judged = judge(answers.prompts, answers.texts, answers.finished)
            temperature = config.label_temperature
            noise = partial(streams.generator, config.seed, f"label {name}", step)
            rankings = rank_answers(
                answers, judged["reward"], temperature, config.annotators, noise
            )
            rows = preference_pairs(rankings, temperature)
            if not rows:
                raise ValueError(
                    "all answers to a prompt were the same: raise --samples (2 at "
                    "least) or --temperature"
                )
            write(run.folder / "preferences" / f"{name}.jsonl", rows)
            write(
                run.folder / "rankings" / f"{name}.jsonl", [r.row() for r in rankings]
            )
            numbers[f"{name}_rankings"] = len(rankings)
            numbers[f"{name}_pairs"] = len(rows)
            numbers[f"{name}_bayes_accuracy"] = preference.bayes_accuracy(
                np.array([row["p_chosen"] for row in rows])
            )
            numbers[f"{name}_reward"] = float(np.mean(judged["reward"]))
        return run.finish(numbers)


def rank_answers(
    answers: rollouts.Answers,
    reward: np.ndarray,
    temperature: float,
    annotators: int,
    noise: Callable[[int, int], np.random.Generator],
) -> list[RankedAnswers]:
    """The answers to each prompt, as the annotators have them.

    Of answers with the same text the first alone is ranked; prompts whose answers are
    all the same are left out.

    Args:
      noise: of the annotators, by the prompt's number and which time it comes.
    """
    found = []
    times: collections.Counter[int] = collections.Counter()
    asked = [id(prompt) for prompt in answers.prompts]
    for _, group in itertools.groupby(range(len(asked)), key=asked.__getitem__):
        texts = {answers.texts[i]: i for i in reversed(list(group)) if answers.texts[i]}
        rows = np.array(sorted(texts.values()))
        if len(rows) < 2:
            continue
        prompt = answers.prompts[rows[0]]
        number = streams.prompt_id(prompt.messages)
        gumbel = noise(number, times[number]).gumbel(size=(annotators, len(rows)))
        times[number] += 1
        worth = reward[rows][None, :] / temperature + gumbel
        places = np.argsort(np.argsort(-worth, axis=1), axis=1)
        texts_of = [answers.texts[i] for i in rows]
        found.append(RankedAnswers(prompt, texts_of, reward[rows], places))
    return found


def preference_pairs(
    rankings: list[RankedAnswers], temperature: float
) -> list[dict[str, Any]]:
    """Pairs, two by two as answers were sampled, by the first annotator."""
    rows = []
    for ranking in rankings:
        place = ranking.places[0]
        for a in range(0, len(place) - 1, 2):
            best, worst = sorted((a, a + 1), key=place.__getitem__)
            gap = ranking.rewards[best] - ranking.rewards[worst]
            rows.append(
                {
                    **asked_of(ranking.prompt),
                    "chosen": ranking.answers[best],
                    "rejected": ranking.answers[worst],
                    "p_chosen": 1.0
                    / (1.0 + math.exp(-np.clip(gap / temperature, -60, 60))),
                    "rewards": [float(ranking.rewards[i]) for i in (best, worst)],
                }
            )
    return rows


if __name__ == "__main__":
    launch(main, Config)
