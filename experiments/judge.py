"""AI feedback: a language model as judge labels preferences between answers.

`--ask pairs`: every two answers to a prompt are compared, in both orders. The label is
the probability of the letter of an answer, a mean over both orders: a soft label
without position bias. With `--principles constitution`, or a file, each comparison is
by a principle drawn at random (Constitutional AI, Bai et al. 2022, arXiv:2212.08073).
With `--thoughts N` the judge first reasons in at most N tokens (chain of thought), and
labels are clamped to [0.4, 0.6].

`--ask ratings`: each answer is rated from 1 to `--highest`, as the expectation over the
ratings; pairs are the best answer against a random other (Zephyr, Tunstall et al. 2023,
arXiv:2310.16944).

The answers are those in `--data`, as `experiments.collect` writes them: all of a
ranking, or both of a pair. Of several files or folders, with commas between them, all
answers to a prompt are merged (of rows without a ranking, the last answer), and a
prompt that one file holds out is removed from the training rows of all. With
`--policies` models answer the prompts of the data first. The judge reads tools, calls
and thoughts, too, and the rows keep them.

    python -m experiments.judge --model JUDGE --data runs/collect/rankings --out runs/ai
    python -m experiments.judge --model JUDGE --data FILE --policies A,B,C --ask ratings

Writes OUT/preferences and OUT/rankings, with train.jsonl and test.jsonl each. Pairs
have the soft label as `label_prob`, and its log-odds as `margin`. Soft labels train

    python -m experiments.dpo --data runs/ai/preferences --loss soft_dpo
    python -m experiments.reward_model --data runs/ai/preferences --soft-labels

Other losses read them as hard labels; a reward model without --soft-labels reads the
margins as Llama 2's.

Numbers: `consistent` is the share of pairs on which both orders agree, `first` the mean
probability of the answer that is shown first (1/2 without position bias), `agreement`
the agreement with the order of the answers in the data, each with its 95 % interval
over prompts (`first_low`, `first_high`); `left_out` is the number of prompts without
two different answers, or too long for the judge's context.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax

from jaxalign import streams
from jaxalign.data.records import Prompt
from jaxalign.pipeline import (
    answer_sets,
    datasets,
    judge_labels,
    llm_judge,
    policies,
    rollouts,
)
from jaxalign.pipeline.answer_sets import Splits
from jaxalign.pipeline.llm_judge import AnswerSet
from jaxalign.pipeline.principles import read_principles
from jaxalign.pipeline.prompts import cyclic_slice, select_prompts
from jaxalign.rewards import judge_prompts
from jaxalign.runtime import distributed
from jaxalign.runtime.cli import launch
from jaxalign.runtime.config import RunConfig
from jaxalign.runtime.jsonl import write
from jaxalign.runtime.run import Run


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(RunConfig):
    """AI feedback: preferences labeled by a language model."""

    ask: Literal["pairs", "ratings"] = "pairs"
    """Compare every two answers, or rate each by itself."""
    principles: str | None = None
    """constitution, or a text file with one principle a line, of which one is drawn for
    each comparison; by default one general question for all."""
    highest: int = 10
    """The best rating."""
    thoughts: int = 0
    """Most tokens of the judge's reasoning before its answer; 0 for none."""
    batch: int = 16
    """Questions in a batch."""
    policies: str | None = None
    """Folders of models, with commas between them, which answer the prompts of the
    data; by default the answers in the data are labeled."""
    prompts: int = 3072
    """Training prompts for --policies."""
    held_out_prompts: int = 512
    """Held-out prompts for --policies, for test.jsonl."""
    samples: int = 1
    """Answers of each of --policies to a prompt."""
    temperature: float = 1.0
    """Sampling temperature of answers and of the judge's reasoning."""
    max_new_tokens: int | None = None
    """Tokens of the longest answer; by default the data set's."""


def main(config: Config) -> dict[str, float]:
    """Labels the answers; returns the number of pairs and the judge's consistency.

    Raises:
      ValueError: bad flags, nothing is held out, or no two answers to compare.
    """
    check(config)
    principles = read_principles(config.principles)
    with Run(config, "judge") as run:
        sources, parts = candidates(config, run.mesh, run.note)
        run.describe_data([a for source in sources for a in source.accounts()])
        judge = policies.load(config, sources[0], run.mesh)
        train, held_out = map(answer_sets.merge_prompts, zip(*parts, strict=True))
        datasets.check_held_out(held_out, "test.jsonl")
        if len(sources) > 1:
            before, train = len(train), answer_sets.drop_held_out(train, held_out)
            if removed := before - len(train):
                run.note(f"{removed} prompts of one file are held out in another")
        numbers: dict[str, float] = {}
        for name, prompts in (("train", train), ("test", held_out)):
            fitting = answer_sets.filter_by_length(
                judge,
                prompts,
                longest_question(config, principles),
                reasoning_tokens=config.thoughts,
            )
            if not fitting:
                raise ValueError(
                    f"{config.data} ({name}) has no prompt with two different answers "
                    f"that fits the judge's context of {judge.config.context} tokens"
                )
            noise = partial(streams.generator, config.seed, f"judge {name}")
            pairs, rankings, metrics = label_answers(
                config, judge, fitting, principles, noise
            )
            write(run.folder / "preferences" / f"{name}.jsonl", pairs)
            write(run.folder / "rankings" / f"{name}.jsonl", rankings)
            metrics |= {"pairs": len(pairs), "left_out": len(prompts) - len(fitting)}
            numbers |= {f"{name}_{field}": x for field, x in metrics.items()}
        return run.finish(numbers)


def check(config: Config) -> None:
    """Refuse flags that exclude each other, before anything is computed.

    Raises:
      ValueError: --principles with --ask ratings.
    """
    if config.ask == "ratings" and config.principles:
        raise ValueError(
            "--principles are for --ask pairs; --ask ratings asks one question"
        )


def candidates(
    config: Config, mesh: Any, note: Callable[[str], None] = distributed.print_line
) -> tuple[list[datasets.Dataset], list[Splits]]:
    """The data sets, and the answers of each file or of each of --policies.

    Raises:
      ValueError: files with weights.
    """
    if config.policies is not None:
        source = datasets.load(config)
        folders = enumerate(config.policies.split(","))
        return [source], [
            sample_candidates(config, source, mesh, n, folder, note)
            for n, folder in folders
        ]
    paths = config.data.split(",")
    sources = [datasets.load(dataclasses.replace(config, data=path)) for path in paths]
    if any(source.parts for source in sources):
        raise ValueError(
            f"--data {config.data}: every answer of these files is judged once, so "
            "weights mean nothing: leave them out"
        )
    several = len(sources) > 1
    return sources, [
        answer_sets.answer_sets(source, last_answers=several) for source in sources
    ]


def sample_candidates(
    config: Config,
    source: datasets.Dataset,
    mesh: Any,
    n: int,
    folder: str,
    note: Callable[[str], None],
) -> Splits:
    """Answers of one of --policies to the prompts of the data.

    Args:
      n: the model's place in --policies, by which its random key differs.
      folder: of the model.

    Raises:
      ValueError: no prompt leaves room for an answer.
    """
    policy = policies.load(dataclasses.replace(config, model=folder), source, mesh)
    max_new_tokens = config.max_new_tokens or source.max_new_tokens
    run_key = jax.random.key(config.seed)

    def sample(name: str, prompts: list[Prompt]) -> list[AnswerSet]:
        answers = rollouts.sample_answers(
            policy,
            select_prompts(policy, prompts, max_new_tokens, note, f"{folder}, {name}"),
            streams.key(run_key, f"judged {name}", n),
            max_new_tokens=max_new_tokens,
            samples=config.samples,
            temperature=config.temperature,
        )
        return [
            AnswerSet(prompt.messages, (text,), prompt.tools)
            for prompt, text in zip(answers.prompts, answers.texts, strict=True)
        ]

    train, held_out = source.prompts()
    return (
        sample("train", cyclic_slice(train, 0, config.prompts)),
        sample("test", held_out[: config.held_out_prompts]),
    )


def longest_question(
    config: Config, principles: tuple[str, ...]
) -> Callable[[AnswerSet], str]:
    """A function of an answer set: the longest question about its answers."""
    request = judge_prompts.THINK_REQUEST
    principle = max(principles, key=len)

    def question(answer_set: AnswerSet) -> str:
        texts = map(judge_prompts.answer_text, answer_set.answers)
        *_, second, longest = sorted(texts, key=len)
        prompt, _, tools = answer_set
        if config.ask == "ratings":
            return judge_prompts.rating_prompt(
                prompt, longest, highest=config.highest, tools=tools, request=request
            )
        return judge_prompts.comparison_prompt(
            *(prompt, second, longest),
            principle=principle,
            tools=tools,
            request=request,
        )

    return question


def label_answers(
    config: Config,
    judge: policies.Policy,
    prompts: list[AnswerSet],
    principles: tuple[str, ...],
    noise: llm_judge.GeneratorFn,
) -> judge_labels.Labels:
    """Labels of the answers to each prompt, by ratings or by comparisons."""
    settings = llm_judge.JudgeSettings(
        config.thoughts, config.temperature, config.batch
    )
    if config.ask == "ratings":
        return judge_labels.rate(judge, prompts, config.highest, noise, settings)
    return judge_labels.compare(judge, prompts, principles, noise, settings)


if __name__ == "__main__":
    launch(main, Config)
