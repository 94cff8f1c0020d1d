"""Data sets that bring more than rows: a programmed reward, or splits of their own."""

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
from jaxalign.pipeline.datasets.dataset import Dataset, map_splits
from jaxalign.pipeline.datasets.files import from_path
from jaxalign.pipeline.datasets.held_out import (
    Accounts,
    account_of_records,
    split_by_rule,
)
from jaxalign.pipeline.datasets.rule_based import RewardValues, reward_by_name
from jaxalign.rewards import rule_based as text_rewards
from jaxalign.runtime.config import RunConfig

Splits = tuple[list[Any], list[Any]]  # training and held-out records


def toy(config: RunConfig) -> Dataset:
    """The toy world, of the run's seed; no two held-out prompts are the same."""
    pool, held = 4096, 512
    reads: Accounts = {}
    rule = "as jaxalign.data.toy_requests states it"

    def recorded(kind: type[Record], sides: Splits) -> Splits:
        reads[kind.__name__] = account_of_records("toy", rule, [], *sides)
        return sides

    @functools.cache
    def requests() -> tuple[list[toy_world.Request], list[toy_world.Request]]:
        test = toy_world.requests(config.seed, 2 * held, test=True)
        different = list({r.text: r for r in test}.values())
        return toy_world.requests(config.seed, pool), different[:held]

    @functools.cache
    def shown() -> Splits:
        made = functools.partial(toy_world.demonstration, config.seed)
        train = [made(i) for i in range(24_000)]
        return recorded(
            Demonstration, (train, [made(i, test=True) for i in range(held)])
        )

    @functools.cache
    def compared() -> Splits:
        made = functools.partial(toy_world.preference, config.seed)
        train = [made(i).preference for i in range(pool)]
        held_out = [made(i, test=True).preference for i in range(held)]
        return recorded(Preference, (train, held_out))

    @functools.cache
    def prompted() -> Splits:
        sides = map_splits(lambda split: [r.prompt for r in split], requests())
        return recorded(Prompt, sides)

    @functools.cache
    def asked() -> dict[str, toy_world.Request]:
        return {r.text: r for split in requests() for r in split}

    def judge(
        prompts: Sequence[Prompt], texts: Sequence[str], finished: np.ndarray
    ) -> RewardValues:
        known = [asked()[p.messages[-1]["content"]] for p in prompts]
        return toy_world.true_rewards(known, texts, finished)

    return Dataset(
        name="toy",
        context=48,
        vocab=512,
        max_new_tokens=24,
        sft_steps=1000,
        demonstrations=shown,
        prompts=prompted,
        preferences=compared,
        judge=judge,
        reads=reads,
    )


def hh_dialogues(config: RunConfig, folder: Path) -> Dataset:
    """HH-RLHF, in the splits of `jaxalign.data.hh_rlhf.load`."""
    reads: Accounts = {}

    @functools.cache
    def preferences() -> tuple[list[Preference], list[Preference]]:
        found = hh_rlhf.load(
            folder,
            skip_bad_rows=config.skip_bad_rows,
            max_row_chars=config.max_row_chars,
        )
        sides = found.train, found.held_out
        reads["Preference"] = account_of_records(
            "hh-rlhf", "as jaxalign.data.hh_rlhf states it", [found.report], *sides
        )
        return sides

    return Dataset(
        name="hh-rlhf",
        context=256,
        vocab=2048,
        max_new_tokens=48,
        sft_steps=300,
        demonstrations=functools.cache(
            lambda: map_splits(demonstrations, preferences())
        ),
        prompts=lambda: map_splits(extract_prompts, preferences()),
        preferences=preferences,
        reads=reads,
    )


def stories(config: RunConfig, file: Path) -> Dataset:
    """Stories of a text file: each goes on from its first words, to a happy ending."""

    rule = HeldOutSplit(config.held_out, config.held_out_seed)
    reads: Accounts = {}

    @functools.cache
    def told() -> list[Demonstration]:
        found = []
        split = re.split(r"(?<!\n)\n(?!\n)", file.read_text())
        for i, story in enumerate(split):
            words = story.replace("\n\n", "\n").strip().split(" ")
            if len(words) < 24:
                continue
            prompt = [{"role": "user", "content": " ".join(words[:12])}]
            rest = assistant_message(" " + " ".join(words[12:]))
            found.append(
                Demonstration([*prompt, rest], location=f"{file.name}:{i + 1}")
            )
        if not found:
            raise ValueError(f"{file} holds no stories of 24 words or more")
        return found

    def starts() -> list[Prompt]:
        return [
            Prompt(d.messages[:1], d.location, (d.messages[1]["content"],))
            for d in told()
        ]

    def divided(kind: type[Record], records: list[Any]) -> tuple[list[Any], list[Any]]:
        report = RowReport(len(records), len(records))
        return split_by_rule("stories", kind, records, report, rule, reads)

    def liked(text: str) -> float:
        if config.liked == "happy":
            return text_rewards.word_list_reward(text)
        return text_rewards.length_reward(len(text.split()), target=60)

    def judge(
        prompts: Sequence[Prompt], texts: Sequence[str], finished: np.ndarray
    ) -> RewardValues:
        return {"reward": np.array([liked(text) for text in texts])}

    def no_pairs() -> tuple[list[Preference], list[Preference]]:
        raise ValueError("stories have no preferences: experiments.collect makes them")

    return Dataset(
        name="stories",
        context=512,
        vocab=1024,
        max_new_tokens=96,
        sft_steps=0,
        demonstrations=functools.cache(lambda: divided(Demonstration, told())),
        prompts=functools.cache(lambda: divided(Prompt, starts())),
        preferences=no_pairs,
        judge=judge,
        rule=rule,
        reads=reads,
    )


def gsm8k(config: RunConfig, path: Path) -> Dataset:
    """GSM8K: problems whose worked answers end with "#### " and the number.

    The programmed reward is 1 where an answer's number is the right one.
    """
    source = from_path(config, str(path))
    return dataclasses.replace(
        source, name="gsm8k", judge=reward_by_name("gsm8k:strict")
    )
