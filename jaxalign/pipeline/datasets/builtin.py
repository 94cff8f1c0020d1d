"""Data sets with more than rows: a rule-based reward, or splits of their own."""

import dataclasses
import functools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxalign.data import hh_rlhf, toy_world
from jaxalign.data.records import (
    Demonstration,
    Preference,
    Prompt,
    Record,
    RowReport,
    assistant_message,
    demonstrations,
    extract_prompts,
)
from jaxalign.data.splits import HeldOutSplit
from jaxalign.pipeline.datasets.dataset import Dataset
from jaxalign.pipeline.datasets.files import from_path
from jaxalign.pipeline.datasets.record_splits import (
    SplitRecords,
    account_of_records,
    split_by_rule,
)
from jaxalign.pipeline.datasets.rule_based import RewardValues, reward_by_name
from jaxalign.rewards import rule_based as text_rewards
from jaxalign.runtime.config import RunConfig

TOY_SFT, TOY_POOL, TOY_HELD_OUT = 24_000, 4096, 512  # requests of the toy world
STORY_WORDS, START_WORDS = 24, 12  # of the shortest story; of its prompt


def toy(config: RunConfig) -> Dataset:
    """The toy world, of the run's seed; no two held-out prompts are the same."""
    world = ToyRecords(config.seed)
    return Dataset(
        name="toy",
        context=48,
        vocab=512,
        max_new_tokens=24,
        sft_steps=1000,
        read=world.read,
        reward=world.reward,
    )


class ToyRecords:
    """Records of the toy world and their true reward."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    @functools.cached_property
    def requests(self) -> tuple[list[toy_world.Request], list[toy_world.Request]]:
        """Training and held-out requests."""
        test = toy_world.requests(self.seed, 2 * TOY_HELD_OUT, test=True)
        distinct = list({request.text: request for request in test}.values())
        return toy_world.requests(self.seed, TOY_POOL), distinct[:TOY_HELD_OUT]

    @functools.cached_property
    def by_text(self) -> dict[str, toy_world.Request]:
        """All requests by the text of their user message."""
        return {request.text: request for split in self.requests for request in split}

    def read(self, kind: type[Record]) -> SplitRecords:
        """The records of a kind, with their account."""
        train: list[Any]
        held_out: list[Any]
        if kind is Prompt:
            train, held_out = ([r.prompt for r in split] for split in self.requests)
        elif kind is Demonstration:
            make = functools.partial(toy_world.demonstration, self.seed)
            train = [make(i) for i in range(TOY_SFT)]
            held_out = [make(i, test=True) for i in range(TOY_HELD_OUT)]
        elif kind is Preference:
            label = functools.partial(toy_world.preference, self.seed)
            train = [label(i).preference for i in range(TOY_POOL)]
            held_out = [label(i, test=True).preference for i in range(TOY_HELD_OUT)]
        else:
            raise ValueError(f"the toy world has no records of kind {kind.__name__}")
        rule = "as jaxalign.data.toy_requests states it"
        account = account_of_records("toy", rule, [], train, held_out)
        return SplitRecords(train, held_out, account)

    def reward(
        self, prompts: Sequence[Prompt], texts: Sequence[str], finished: np.ndarray
    ) -> RewardValues:
        """The true reward of answers to the world's own prompts, and its parts.

        Raises:
          ValueError: another prompt.
        """
        for prompt in prompts:
            if prompt.messages[-1]["content"] not in self.by_text:
                raise ValueError(
                    f"{prompt.location or 'a prompt'} is no prompt of the toy world, "
                    "whose programmed reward knows its own requests alone"
                )
        requests = [self.by_text[p.messages[-1]["content"]] for p in prompts]
        return toy_world.true_rewards(requests, texts, finished)


def hh_dialogues(config: RunConfig, path: str) -> Dataset:
    """HH-RLHF, in the splits of `jaxalign.data.hh_rlhf.load`."""

    def read(kind: type[Record]) -> SplitRecords:
        data = hh_rlhf.load(
            Path(path),
            skip_bad_rows=config.skip_bad_rows,
            max_row_chars=config.max_row_chars,
        )
        rule = "as jaxalign.data.hh_rlhf states it"
        account = account_of_records(
            "hh-rlhf", rule, [data.report], data.train, data.held_out
        )
        return SplitRecords(data.train, data.held_out, account)

    return Dataset(
        name="hh-rlhf",
        context=256,
        vocab=2048,
        max_new_tokens=48,
        sft_steps=300,
        read=read,
        derivations={
            Demonstration: (Preference, demonstrations),
            Prompt: (Preference, extract_prompts),
        },
    )


def stories(config: RunConfig, path: str) -> Dataset:
    """Stories of a text file: a prompt is the first words, the answer the rest.

    The reward is that of happy words, or of a length, as --liked says.
    """
    rule = HeldOutSplit(config.held_out, config.held_out_seed)

    def read(kind: type[Record]) -> SplitRecords:
        if kind not in (Demonstration, Prompt):
            raise ValueError(
                "stories have no preferences: experiments.collect makes them"
            )
        stories = story_records(Path(path))
        records = [*map(story_prompt, stories)] if kind is Prompt else stories
        report = RowReport(len(records), len(records))
        return split_by_rule("stories", kind, records, report, rule)

    def reward(
        prompts: Sequence[Prompt], texts: Sequence[str], finished: np.ndarray
    ) -> RewardValues:
        if config.liked == "happy":
            values = [text_rewards.word_list_reward(text) for text in texts]
        else:
            values = [
                text_rewards.length_reward(len(text.split()), target=60)
                for text in texts
            ]
        return {"reward": np.array(values)}

    return Dataset(
        name="stories",
        context=512,
        vocab=1024,
        max_new_tokens=96,
        sft_steps=0,
        read=read,
        reward=reward,
        rule=rule,
    )


def story_records(file: Path) -> list[Demonstration]:
    """The stories of a text file, separated by single line breaks, as SFT data.

    Raises:
      ValueError: no story is long enough.
    """
    records = []
    for i, story in enumerate(re.split(r"(?<!\n)\n(?!\n)", file.read_text())):
        words = story.replace("\n\n", "\n").strip().split(" ")
        if len(words) < STORY_WORDS:
            continue
        start, rest = " ".join(words[:START_WORDS]), " ".join(words[START_WORDS:])
        messages = [{"role": "user", "content": start}, assistant_message(" " + rest)]
        records.append(Demonstration(messages, location=f"{file.name}:{i + 1}"))
    if not records:
        raise ValueError(f"{file} holds no stories of {STORY_WORDS} words or more")
    return records


def story_prompt(story: Demonstration) -> Prompt:
    """The start of a story as a prompt, with the rest as its reference answer."""
    start, rest = story.messages
    return Prompt([start], story.location, (rest["content"],))


def gsm8k(config: RunConfig, path: str) -> Dataset:
    """GSM8K: problems whose worked answers end with "#### " and the number.

    The reward is 1 where an answer's number is the right one, else 0.
    """
    reward = reward_by_name("gsm8k:strict")
    return dataclasses.replace(from_path(config, path), name="gsm8k", reward=reward)
