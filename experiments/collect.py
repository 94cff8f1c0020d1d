"""Preferences on a policy's own answers: sample answers, then label them by rankings.

Annotators are simulated by a Plackett-Luce model: each sorts the answers to a prompt by
reward / label_temperature + Gumbel noise. The reward is the data set's rule-based one,
or what --reward names. So of any two answers

    p(a preferred to b) = sigmoid((reward(a) - reward(b)) / label_temperature)

which is Bradley-Terry. The Bayes accuracy, the best that any reward model can have on
such labels in expectation, is known and reported. Writes OUT/rankings, by the mean
place over all `--annotators` (Borda), and OUT/preferences, pairs in the order of the
first annotator, with train.jsonl and test.jsonl each, for `--data`.

    python -m experiments.collect --model runs/sft/policy --out runs/collect
    python -m experiments.collect --model FOLDER --data stories
    python -m experiments.collect --model FOLDER --data FILE --reward my.py:function
    python -m experiments.collect --model NEWEST --models OLDER --temperature 0.7 1.2

With several models or temperatures consecutive answers, which are the pairs, are of
different ones; the rows have the `sources` of their answers. Rows keep their fields
(category, id). Of a weighted sum of rewards, numbers.json has each term's mean and
spread, too.
"""

import collections
import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from jaxalign import streams
from jaxalign.data.records import Prompt
from jaxalign.evaluation import preference
from jaxalign.pipeline import (
    answer_sources,
    datasets,
    policies,
    reward_functions,
)
from jaxalign.pipeline.prompts import cyclic_slice
from jaxalign.pipeline.reward_terms import Reward
from jaxalign.runtime.cli import launch
from jaxalign.runtime.config import RunConfig
from jaxalign.runtime.jsonl import write
from jaxalign.runtime.run import Run


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(RunConfig):
    """Preferences labeled by simulated annotators."""

    reward: str = "programmed"
    """The annotators' reward: programmed (the data set's rule-based reward), a reward
    model's folder, or another of docs/rewards.md, such as my.py:function."""
    prompts: int = 3072
    """Training prompts to sample answers to."""
    first_prompt: int = 0
    """Index of the first of them; after the last prompt the first follows again."""
    held_out_prompts: int = 512
    """Held-out prompts, for test.jsonl."""
    models: tuple[str, ...] = ()
    """Further models that answer the same prompts, beside --model: older checkpoints,
    say."""
    samples: int = 4
    """Answers to each prompt by each model at each temperature, which are ranked."""
    temperature: tuple[float, ...] = (1.0,)
    """Sampling temperature, or several, each of which has its own answers."""
    annotators: int = 1
    """Annotators who rank the answers to each prompt."""
    label_temperature: float = 1.0
    """Temperature of the labels: near 0 the better answer is always preferred."""
    max_new_tokens: int | None = None
    """Tokens of the longest answer; by default the data set's."""


class RankedAnswers(NamedTuple):
    """K answers to a prompt with their rankings, in the order of sampling.

    Attributes:
      rewards: float [K].
      places: the place of each answer by each annotator, 0 for the best, int
        [annotators K].
      sources: the model and temperature of each answer; empty if unknown.
    """

    prompt: Prompt
    answers: list[str]
    rewards: np.ndarray
    places: np.ndarray
    sources: list[str] = []

    def row(self) -> dict[str, Any]:
        """The ranking by the mean place, best first, as a row that `--data` reads."""
        # answers with the same mean place are in the first annotator's order
        order = np.lexsort((self.places[0], self.places.mean(axis=0)))
        sources = {"sources": [self.sources[i] for i in order]} if self.sources else {}
        return {
            **answer_sources.row_fields(self.prompt),
            "answers": [self.answers[i] for i in order],
            "rewards": self.rewards[order].tolist(),
            **sources,
        }


def main(config: Config, reward: Reward | None = None) -> dict[str, float]:
    """Samples answers and labels them.

    Args:
      reward: in place of --reward: a function, see `jaxalign.pipeline.own_rewards`, or
        weights by function or name.

    Returns:
      Of each split the numbers of rankings and pairs, the Bayes accuracy of the pairs
      and the mean reward.

    Raises:
      ValueError: no such reward, nothing held out, or answers that are all alike.
    """
    with Run(config, "collect") as run:
        data = datasets.load(config)
        sources = load_sources(config, run, data, reward or config.reward)
        train, held_out = data.prompts()
        datasets.check_held_out(held_out, "test.jsonl")
        run.describe_data(data.accounts())
        prompts_by_split = {
            "train": cyclic_slice(train, config.first_prompt, config.prompts),
            "test": held_out[: config.held_out_prompts],
        }
        numbers: dict[str, float] = {}
        for name, prompts in prompts_by_split.items():
            answers = sample_split(config, run, data, sources, prompts, name)
            found = label_split(config, run, answers, name)
            numbers |= {f"{name}_{key}": value for key, value in found.items()}
        return run.finish(numbers)


def load_sources(
    config: Config, run: Run, data: datasets.Dataset, reward: Reward
) -> list[answer_sources.Source]:
    """Every model at every temperature, with the reward function of its tokens."""
    sources = []
    for model in (config.model, *config.models):
        model_config = dataclasses.replace(config, model=model)
        policy = policies.load(model_config, data, run.mesh)
        reward_fn = reward_functions.make_reward_function(
            reward, config.dtype, policy, data
        )
        for temperature in config.temperature:
            source = answer_sources.Source(model, policy, temperature, reward_fn)
            sources.append(source)
    return sources


def sample_split(
    config: Config,
    run: Run,
    data: datasets.Dataset,
    sources: list[answer_sources.Source],
    prompts: Sequence[Prompt],
    name: str,
) -> answer_sources.SourcedAnswers:
    """Answers of all sources to the prompts of a split that leave room for one."""
    if dropped := answer_sources.dropped_fields(prompts):
        run.note(
            f"{name}: new answers are not those of the rows, so their fields "
            f"{', '.join(dropped)} are left out"
        )
    max_new_tokens = config.max_new_tokens or data.max_new_tokens
    fitting = answer_sources.select_common_prompts(
        [source.policy for source in sources], prompts, max_new_tokens, run.note, name
    )
    return answer_sources.sample_sources(
        sources,
        fitting,
        name,
        seed=config.seed,
        first_prompt=config.first_prompt,
        samples=config.samples,
        max_new_tokens=max_new_tokens,
        mesh=run.mesh,
    )


def label_split(
    config: Config, run: Run, answers: answer_sources.SourcedAnswers, name: str
) -> dict[str, float]:
    """Labels the answers of a split, writes both files, and returns its numbers.

    Raises:
      ValueError: answers that are all alike.
    """
    noise = partial(
        streams.generator, config.seed, f"label {name}", config.first_prompt
    )
    rankings = rank_answers(
        answers,
        answers.scores["reward"],
        config.label_temperature,
        config.annotators,
        noise,
    )
    pairs = preference_pairs(rankings, config.label_temperature)
    if not pairs:
        raise ValueError(
            "all answers to a prompt were the same: raise --samples (2 at "
            "least) or --temperature"
        )
    write(run.folder / "preferences" / f"{name}.jsonl", pairs)
    rows = [ranking.row() for ranking in rankings]
    write(run.folder / "rankings" / f"{name}.jsonl", rows)
    probabilities = np.array([pair["p_chosen"] for pair in pairs])
    return {
        "rankings": len(rankings),
        "pairs": len(pairs),
        "bayes_accuracy": preference.bayes_accuracy(probabilities),
        **answer_sources.reward_numbers(answers),
    }


def rank_answers(
    answers: answer_sources.SourcedAnswers,
    reward: np.ndarray,
    temperature: float,
    annotators: int,
    noise: Callable[[int, int], np.random.Generator],
) -> list[RankedAnswers]:
    """Rankings of the answers to each prompt by simulated annotators (Plackett-Luce).

    Empty answers and repetitions of an answer are left out; so are prompts with fewer
    than two different answers.

    Args:
      reward: of each answer, float [R].
      temperature: of the labels.
      annotators: number of rankings of each prompt's answers.
      noise: the generator for a prompt id and its number of earlier occurrences.
    """
    rankings = []
    occurrences: collections.Counter[int] = collections.Counter()
    prompt_of_row = [id(prompt) for prompt in answers.prompts]
    for _, group in itertools.groupby(
        range(len(prompt_of_row)), key=prompt_of_row.__getitem__
    ):
        first_row = {
            answers.texts[i]: i for i in reversed(list(group)) if answers.texts[i]
        }
        rows = np.array(sorted(first_row.values()))
        if len(rows) < 2:
            continue
        prompt = answers.prompts[rows[0]]
        prompt_id = streams.prompt_id(prompt.messages)
        rng = noise(prompt_id, occurrences[prompt_id])
        occurrences[prompt_id] += 1
        gumbel = rng.gumbel(size=(annotators, len(rows)))
        utility = reward[rows][None, :] / temperature + gumbel
        places = np.argsort(np.argsort(-utility, axis=1), axis=1)
        texts = [answers.texts[i] for i in rows]
        sources = [answers.sources[i] for i in rows]
        rankings.append(RankedAnswers(prompt, texts, reward[rows], places, sources))
    return rankings


def preference_pairs(
    rankings: list[RankedAnswers], temperature: float
) -> list[dict[str, Any]]:
    """Pairs of consecutive samples, labeled by the first annotator's ranking.

    `p_chosen` is the probability of the label under the annotators' model.

    Args:
      temperature: of the labels.
    """
    rows = []
    for ranking in rankings:
        place = ranking.places[0]
        for a in range(0, len(place) - 1, 2):
            order = chosen, rejected = sorted((a, a + 1), key=place.__getitem__)
            gap = ranking.rewards[chosen] - ranking.rewards[rejected]
            logit = np.clip(gap / temperature, -60, 60)
            sources = [ranking.sources[i] for i in order] if ranking.sources else []
            rows.append(
                {
                    **answer_sources.row_fields(ranking.prompt),
                    "chosen": ranking.answers[chosen],
                    "rejected": ranking.answers[rejected],
                    "p_chosen": 1.0 / (1.0 + math.exp(-logit)),
                    "rewards": [float(ranking.rewards[i]) for i in order],
                    **({"sources": sources} if sources else {}),
                }
            )
    return rows


if __name__ == "__main__":
    launch(main, Config)
