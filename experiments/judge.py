"""Preferences of a language model that judges answers: AI feedback.

`--ask pairs`: every two answers to a prompt are compared, in both orders, and the label
is the probability of the letter that stands for an answer, a mean over both: a soft
label, free of a bias towards a place. With `--principles constitution`, or a file of
one's own, each comparison goes by a principle drawn at random (Constitutional AI). With
`--thoughts N` the judge first thinks in N tokens, and labels are kept in 40..60 %.

`--ask ratings`: each answer is rated from 1 to `--highest`, as the expectation over the
ratings; the best answer stands against a random other (Zephyr).

What is judged are the answers in `--data`, as `experiments.collect` writes them; of
several files or folders with commas between them, all answers to a prompt together (of
a ranking all, else what a row has for an answer); or `--policies` answer first. What
one of several files holds out is in the training rows of none. The judge reads tools,
calls and thoughts, too, and the rows keep them.

    python -m experiments.judge --model JUDGE --data runs/collect/rankings --out runs/ai
    python -m experiments.judge --model JUDGE --data FILE --policies A,B,C --ask ratings

Writes OUT/preferences and OUT/rankings, with train.jsonl and test.jsonl each. Pairs
carry the soft label as `label_prob`, and its log-odds as `margin`. Soft labels train

    python -m experiments.dpo --data runs/ai/preferences --loss soft_dpo
    python -m experiments.reward_model --data runs/ai/preferences --soft-labels

To other losses they are hard ones; a reward model else takes margins for Llama 2's.

Numbers: `consistent` the share of pairs on which both orders agree, `first` the mean
probability of what is shown first (1/2 without a bias), `agreement` with the order of
the data, where they are ordered, each with its 95 % interval over prompts (`first_low`,
`first_high`); `left_out` prompts without two different answers, or too long for the
judge.
"""

import dataclasses
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from jaxalign import streams
from jaxalign.data import chat, splits
from jaxalign.data.records import (
    Answer,
    Demonstration,
    Prompt,
    assistant_message,
    conversation_key,
)
from jaxalign.data.schemas.messages import message_to_answer
from jaxalign.evaluation import preference
from jaxalign.evaluation.intervals import bootstrap
from jaxalign.pipeline import datasets, judge_rows, llm_judge, policies, rollouts
from jaxalign.pipeline.datasets.record_splits import map_splits
from jaxalign.pipeline.llm_judge import AnswerSet
from jaxalign.pipeline.prompts import cyclic_slice, select_prompts
from jaxalign.rewards import judge_prompts
from jaxalign.runtime import distributed
from jaxalign.runtime.cli import launch
from jaxalign.runtime.config import RunConfig
from jaxalign.runtime.jsonl import write
from jaxalign.runtime.run import Run

MAX_OPTION_TOKENS = 8  # tokens that an option has at most
Splits = tuple[list[AnswerSet], list[AnswerSet]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(RunConfig):
    """AI feedback on answers."""

    ask: Literal["pairs", "ratings"] = "pairs"
    """Compare every two answers, or rate each by itself."""
    principles: str | None = None
    """constitution, or a text file with a principle a line, of which one is drawn for
    each comparison; one question for all unless told."""
    highest: int = 10
    """The best rating."""
    thoughts: int = 0
    """Tokens in which the judge may think before it answers."""
    batch: int = 16
    """Questions at one time."""
    policies: str | None = None
    """Folders of models, with commas between them, which answer the data's prompts; the
    answers in the data are judged unless told."""
    prompts: int = 3072
    """Training prompts that --policies answer."""
    held_out_prompts: int = 512
    """Held-out prompts that they answer, for test.jsonl."""
    samples: int = 1
    """Answers of each of --policies to a prompt."""
    temperature: float = 1.0
    """Of the sampling of answers, and of thoughts."""
    max_new_tokens: int | None = None
    """Longest answer; by default what the data set suggests."""


def main(config: Config) -> dict[str, float]:
    """Judges the answers; returns how many pairs, and how consistent they are."""
    check(config)
    principles = principles_of(config)
    with Run(config, "judge") as run:
        every, parts = candidates(config, run.mesh, run.note)
        run.describe_data([one for source in every for one in source.accounts()])
        judge = policies.load(config, every[0], run.mesh)
        train, held_out = (merge_prompts([part[k] for part in parts]) for k in range(2))
        datasets.check_held_out(held_out, "test.jsonl")
        if len(every) > 1:
            whole, train = train, drop_held_out(train, held_out)
            if removed := len(whole) - len(train):
                run.note(f"{removed} prompts of one file are held out in another")
        numbers: dict[str, float] = {}
        for name, together in (("train", train), ("test", held_out)):
            answered = filter_by_length(config, judge, together)
            if not answered:
                raise ValueError(
                    f"{config.data} ({name}) has no prompt with two different answers "
                    f"that the judge could read in {judge.config.context} tokens"
                )
            noise = partial(streams.generator, config.seed, f"judge {name}")
            pairs, rankings, told = judge_answers(
                config, judge, answered, principles, noise
            )
            write(run.folder / "preferences" / f"{name}.jsonl", pairs)
            write(run.folder / "rankings" / f"{name}.jsonl", rankings)
            told |= {"pairs": len(pairs), "left_out": len(together) - len(answered)}
            numbers |= {f"{name}_{field}": x for field, x in told.items()}
        return run.finish(numbers)


def check(config: Config) -> None:
    """Refuses what cannot be asked, before anything is computed.

    Raises:
      ValueError: says which flag.
    """
    if config.ask == "ratings" and config.principles:
        raise ValueError(
            "--principles are what --ask pairs compares by; ratings ask one question"
        )


def principles_of(config: Config) -> tuple[str, ...]:
    """What comparisons go by.

    Raises:
      ValueError: a file without a principle.
    """
    if config.principles is None:
        return (judge_prompts.DEFAULT_PRINCIPLE,)
    if config.principles == "constitution":
        return judge_prompts.CONSTITUTION
    lines = Path(config.principles).read_text().splitlines()
    found = tuple(line.strip() for line in lines if line.strip())
    if not found:
        raise ValueError(f"--principles {config.principles} holds none, one a line")
    return found


def candidates(
    config: Config, mesh: Any, note: Callable[[str], None] = distributed.print_line
) -> tuple[list[datasets.Dataset], list[Splits]]:
    """The data sets, and the answers that are to be judged, of each file or model.

    Raises:
      ValueError: files with weights.
    """
    if config.policies is not None:
        source = datasets.load(config)
        folders = enumerate(config.policies.split(","))
        return [source], [
            sample_candidates(config, source, mesh, n, x, note) for n, x in folders
        ]
    paths = config.data.split(",")
    found = [datasets.load(dataclasses.replace(config, data=path)) for path in paths]
    if any(source.parts for source in found):
        raise ValueError(
            f"--data {config.data}: every answer of these files is judged once, so "
            "weights mean nothing: leave them out"
        )
    return found, [answers_of(source, len(found) > 1) for source in found]


def sample_candidates(
    config: Config,
    source: datasets.Dataset,
    mesh: Any,
    n: int,
    folder: str,
    note: Callable[[str], None],
) -> Splits:
    """What the n-th of the models answers to the prompts of the data.

    Raises:
      ValueError: no prompt leaves room for an answer.
    """
    policy = policies.load(dataclasses.replace(config, model=folder), source, mesh)
    room = config.max_new_tokens or source.max_new_tokens
    run_key = jax.random.key(config.seed)

    def answered(name: str, prompts: list[Prompt]) -> list[AnswerSet]:
        asked = select_prompts(policy, prompts, room, note, f"{folder}, {name}")
        answers = rollouts.sample_answers(
            policy,
            asked,
            streams.key(run_key, f"judged {name}", n),
            max_new_tokens=room,
            samples=config.samples,
            temperature=config.temperature,
        )
        said = zip(answers.prompts, answers.texts, strict=True)
        return [AnswerSet(one.messages, (text,), one.tools) for one, text in said]

    train, held_out = source.prompts()
    few = held_out[: config.held_out_prompts]
    asked = cyclic_slice(train, 0, config.prompts)
    return answered("train", asked), answered("test", few)


def answers_of(source: datasets.Dataset, single: bool) -> Splits:
    """Prompts with the answers that are to be judged, of both splits.

    Args:
      single: of rows without a ranking, take the one answer that they show.
    """
    if source.has_rankings:
        return map_splits(
            lambda split: [AnswerSet(r.prompt, r.answers, r.tools) for r in split],
            source.rankings(),
        )
    if single:
        return map_splits(
            lambda split: [last_answer(d) for d in split],
            source.demonstrations(),
        )
    return map_splits(
        lambda split: [
            AnswerSet(p.prompt, (p.chosen, p.rejected), p.tools) for p in split
        ],
        source.preferences(),
    )


def last_answer(example: Demonstration) -> AnswerSet:
    """The answer that a row shows, whether or not it is trained on.

    Raises:
      ValueError: a plain text, which answers nothing.
    """
    if example.plain:
        raise ValueError(
            f"{example.location}: field 'text' answers nothing to be judged"
        )
    *prompt, last = example.messages
    told = {name: value for name, value in last.items() if name != "train"}
    return AnswerSet(prompt, (message_to_answer(told, "messages"),), example.tools)


def merge_prompts(parts: list[list[AnswerSet]]) -> list[AnswerSet]:
    """Each prompt once, with all the answers that somebody gave to it, each once.

    Prompts with other tools are others.
    """
    together: dict[Hashable, AnswerSet] = {}
    for one in (one for part in parts for one in part):
        key = conversation_key(one.prompt, one.tools)
        known = together.get(key, one._replace(answers=()))
        together[key] = known._replace(answers=known.answers + one.answers)
    return [
        one._replace(answers=distinct_answers(one.answers)) for one in together.values()
    ]


def distinct_answers(answers: Sequence[Answer]) -> tuple[Answer, ...]:
    """The answers that say something, each once."""
    told = [one for one in answers if judge_prompts.answer_text(one).strip()]
    return tuple(
        {conversation_key([assistant_message(one)]): one for one in told}.values()
    )


def prompt_hashes(answered: Sequence[AnswerSet]) -> np.ndarray:
    """`splits.prompt_hash` of each prompt, uint64 [P]."""
    return splits.prompt_hashes(Prompt(one.prompt) for one in answered)


def drop_held_out(train: list[AnswerSet], held_out: list[AnswerSet]) -> list[AnswerSet]:
    """The training prompts whose first user message is not held out."""
    leaked = np.isin(prompt_hashes(train), prompt_hashes(held_out))
    return [one for one, left_out in zip(train, leaked, strict=True) if not left_out]


def filter_by_length(
    config: Config, judge: policies.Policy, answered: list[AnswerSet]
) -> list[AnswerSet]:
    """Prompts with two answers or more, about which any question fits the context."""
    tokenizer, thoughts = judge.tokenizer, config.thoughts
    request = chat.encode_prompt(
        tokenizer, [llm_judge.user_message(judge_prompts.LETTER_REQUEST)]
    )
    room = MAX_OPTION_TOKENS + (thoughts + len(request) if thoughts else 0)
    several = [one for one in answered if len(one.answers) > 1]
    if not several:
        return []
    principle = max(principles_of(config), key=len)
    questions = [
        [llm_judge.user_message(longest_question(config, principle, one))]
        for one in several
    ]
    asked = chat.encode_prompts(tokenizer, questions)
    limit = judge.config.context - room
    return [one for one, ids in zip(several, asked, strict=True) if len(ids) <= limit]


def longest_question(config: Config, principle: str, one: AnswerSet) -> str:
    """The longest question that is asked about the answers to a prompt."""
    told: dict[str, Any] = {"tools": one.tools, "request": judge_prompts.THINK_REQUEST}
    *_, shorter, longer = sorted(map(judge_prompts.answer_text, one.answers), key=len)
    if config.ask == "ratings":
        return judge_prompts.rating_prompt(
            one.prompt, longer, highest=config.highest, **told
        )
    return judge_prompts.comparison_prompt(
        one.prompt, shorter, longer, principle=principle, **told
    )


def judge_answers(
    config: Config,
    judge: policies.Policy,
    answered: list[AnswerSet],
    principles: tuple[str, ...],
    noise: llm_judge.GeneratorFn,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], dict[str, float]]:
    """Rows of pairs, rows of rankings, and numbers about them."""
    asked = prompt_hashes(answered)
    manner = llm_judge.JudgeSettings(config.thoughts, config.temperature, config.batch)
    if config.ask == "ratings":
        ratings = llm_judge.rate_answers(judge, answered, config.highest, noise, manner)
        key = jax.random.key(int(noise(0).integers(2**31)))
        rankings = list(map(judge_rows.ranking_row, answered, ratings))
        pairs = judge_rows.zephyr_pairs(answered, ratings, key)
        units = np.repeat(asked, list(map(len, ratings)))
        mean = bootstrap(np.concatenate(ratings), units=units)
        return pairs, rankings, mean.to_dict("rating")
    compared = llm_judge.compare_answers(judge, answered, principles, noise, manner)
    worths = map(judge_rows.mean_win_probabilities, answered, compared)
    rankings = list(map(judge_rows.ranking_row, answered, worths))
    pairs = [row for x in map(judge_rows.soft_pairs, answered, compared) for row in x]
    every = np.array([pair[2:] for each in compared for pair in each])
    first, swapped, p = every.T
    units = np.repeat(asked, list(map(len, compared)))
    share = partial(bootstrap, units=units, share=True)
    return (
        pairs,
        rankings,
        {
            **share((first - 0.5) * (swapped - 0.5) < 0).to_dict("consistent"),
            **share((first + swapped) / 2).to_dict("first"),
            **share(preference.agreement(p, 1.0 - p)).to_dict("agreement"),
        },
    )


if __name__ == "__main__":
    launch(main, Config)
