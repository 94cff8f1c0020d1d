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
different ones; the rows then have the `sources` of their answers. Rows keep fields
(category, id). Of a weighted sum of rewards, numbers.json has each term's mean and
spread, too.

With --label people pairs of consecutive answers go into --study, the folder of a study,
and the run waits until people have judged them:

    python -m experiments.collect --model FOLDER --label people --study study
    python -m experiments.annotate --out study

OUT/preferences then has a row for each judgement, with its annotator; a reward is only
measured. Stopped and started again, it adds nothing twice and goes on waiting.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from jaxalign import streams
from jaxalign.data.records import Prompt
from jaxalign.evaluation import preference
from jaxalign.pipeline import (
    answer_sources,
    datasets,
    people,
    policies,
    reward_functions,
    simulated_labels,
)
from jaxalign.pipeline.answer_sources import Source, SourcedAnswers
from jaxalign.pipeline.prompts import cyclic_slice
from jaxalign.pipeline.reward_terms import Reward
from jaxalign.runtime import distributed, flags
from jaxalign.runtime.cli import launch
from jaxalign.runtime.config import RunConfig
from jaxalign.runtime.jsonl import write
from jaxalign.runtime.run import Run


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(RunConfig):
    """Preferences labeled by simulated annotators, or by people."""

    RANGES: ClassVar = {"labels": flags.COUNT, "study_round": flags.FROM_0}
    label: Literal["simulated", "people"] = "simulated"
    """Who labels: annotators that --reward simulates, or people, in --study."""
    study: Path | None = None
    """The study's folder, of --label people; a new one begins a study."""
    labels: int = 1
    """People who label each pair, of --label people."""
    study_round: int = 0
    """The round of the pairs in the study, from 0."""
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


def main(config: Config, reward: Reward | None = None) -> dict[str, float]:
    """Samples answers and labels them.

    Args:
      reward: in place of --reward: a function, see `jaxalign.pipeline.own_rewards`, or
        weights by function or name.

    Returns:
      Of each split the numbers of rankings and pairs, the Bayes accuracy of the pairs
      and the mean reward.

    Raises:
      ValueError: no such reward, nothing held out, answers that are all alike, or
        flags that do not fit together.
    """
    if (config.study is None) == (config.label == "people"):
        raise ValueError("--label people and --study FOLDER go together")
    if config.study is not None:  # whose page may be opened at once
        people.ask(config.study, [], round=config.study_round)
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
        answers = {
            name: sample_split(config, run, data, sources, prompts, name)
            for name, prompts in prompts_by_split.items()
        }
        label = ask_people if config.label == "people" else simulate_labels
        numbers = label(config, run, answers)
        for name, each in answers.items():
            found = answer_sources.reward_numbers(each)
            numbers |= {f"{name}_{key}": value for key, value in found.items()}
        return run.finish(numbers)


def load_sources(
    config: Config, run: Run, data: datasets.Dataset, reward: Reward
) -> list[Source]:
    """Every model at every temperature, with the reward function of its tokens."""
    sources = []
    for model in (config.model, *config.models):
        model_config = dataclasses.replace(config, model=model)
        policy = policies.load(model_config, data, run.mesh)
        reward_fn = None
        if reward != "programmed" or config.label != "people" or data.reward:
            reward_fn = reward_functions.make_reward_function(
                reward, config.dtype, policy, data
            )
        for temperature in config.temperature:
            source = Source(model, policy, temperature, reward_fn)
            sources.append(source)
    return sources


def sample_split(
    config: Config,
    run: Run,
    data: datasets.Dataset,
    sources: list[Source],
    prompts: Sequence[Prompt],
    name: str,
) -> SourcedAnswers:
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


def simulate_labels(
    config: Config, run: Run, answers: Mapping[str, SourcedAnswers]
) -> dict[str, float]:
    """Labels the answers of each split by its rewards; writes both files of each.

    Raises:
      ValueError: answers that are all alike.
    """
    numbers: dict[str, float] = {}
    for name, each in answers.items():
        noise = partial(
            streams.generator, config.seed, f"label {name}", config.first_prompt
        )
        temperature = config.label_temperature
        rankings = simulated_labels.rank_answers(
            each, each.scores["reward"], temperature, config.annotators, noise
        )
        pairs = simulated_labels.preference_pairs(rankings, temperature)
        refuse_equal_answers(pairs)
        write(run.folder / "preferences" / f"{name}.jsonl", pairs)
        rows = [ranking.row() for ranking in rankings]
        write(run.folder / "rankings" / f"{name}.jsonl", rows)
        numbers[f"{name}_rankings"] = len(rankings)
        numbers[f"{name}_pairs"] = len(pairs)
        numbers[f"{name}_bayes_accuracy"] = preference.bayes_accuracy(
            np.array([pair["p_chosen"] for pair in pairs])
        )
    return numbers


def ask_people(
    config: Config, run: Run, answers: Mapping[str, SourcedAnswers]
) -> dict[str, float]:
    """Adds pairs of all splits to --study, waits for labels, writes the pairs.

    Raises:
      ValueError: answers that are all alike, or a split without a preference.
    """
    assert config.study is not None
    items = {name: people.pair_items(each) for name, each in answers.items()}
    for each in items.values():
        refuse_equal_answers(each)
    every = [item for each in items.values() for item in each]
    people.ask(config.study, every, round=config.study_round)
    names = {item.id for item in every}
    say = lambda line: distributed.print_line(f"collect: {line}")
    people.wait_for_labels(config.study, names, labels=config.labels, report=say)
    numbers: dict[str, float] = {}
    for name, each in items.items():
        pairs, found = people.labeled_pairs(config.study, [item.id for item in each])
        if not pairs:
            raise ValueError(
                f"{config.study}: people preferred no answer of the {len(each)} pairs "
                f"for {name}.jsonl: raise --prompts or --held-out-prompts"
            )
        write(run.folder / "preferences" / f"{name}.jsonl", pairs)
        numbers |= {f"{name}_{key}": value for key, value in found.items()}
    return numbers


def refuse_equal_answers(pairs: Sequence[Any]) -> None:
    """Refuses to go on without a pair of different answers.

    Raises:
      ValueError: there is none.
    """
    if not pairs:
        raise ValueError(
            "all answers to a prompt were the same: raise --samples (2 at "
            "least) or --temperature"
        )


if __name__ == "__main__":
    launch(main, Config)
