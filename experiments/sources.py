"""The data that experiments know by name, and files of the user's own.

toy        the toy world: endless, with a programmed true reward
hh-rlhf    Anthropic's dialogues, in the folder --data-path
stories    a text file of stories, --data-path; prompts are their beginnings, and the
           programmed reward likes happy endings, or a length
PATH       a file of records, or a folder with train and test files
"""

import dataclasses
import functools
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from experiments.config import Shared
from jaxalign.data import formats, hh_rlhf, loader, toy_world
from jaxalign.data.records import (
    Demonstration,
    Preference,
    Prompt,
    Ranking,
    Record,
    Report,
    demonstrations,
    prompts,
    said,
)
from jaxalign.data.records import pairs as pairs_of
from jaxalign.rewards import text as text_rewards

Judged = dict[str, np.ndarray]
Judge = Callable[[Sequence[Prompt], Sequence[str], np.ndarray], Judged]


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set, as far as experiments need it; what is read, is read when asked for.

    Attributes:
      context: longest sequence that it suggests, in tokens.
      vocab: size of a tokenizer trained on it.
      max_new_tokens: longest answer.
      sft_steps: steps of supervised finetuning, from a new small model.
      demonstrations: () -> what to imitate.
      prompts: () -> training prompts and held-out ones.
      preferences: () -> training pairs and held-out ones.
      rankings: () -> training rankings and held-out ones, where the data are rankings.
      judge: the programmed reward, if there is one.
    """

    name: str
    context: int
    vocab: int
    max_new_tokens: int
    sft_steps: int
    demonstrations: Callable[[], list[Demonstration]]
    prompts: Callable[[], tuple[list[Prompt], list[Prompt]]]
    preferences: Callable[[], tuple[list[Preference], list[Preference]]]
    judge: Judge | None = None
    rankings: Callable[[], tuple[list[Ranking], list[Ranking]]] | None = None

    def texts(self) -> Iterable[str]:
        """Texts that a tokenizer may be trained on."""
        shown = self.demonstrations()[:4000]
        return [message["content"] for d in shown for message in d.messages]


class Noting(Protocol):
    """What shows a report: a run."""

    def note(self, report: Any) -> None: ...


def load(config: Shared) -> Source:
    """The source that `--data` names.

    Raises:
      ValueError: a named data set without its --data-path.
      FileNotFoundError: neither a known name nor a path.
    """
    if config.data == "toy":
        return toy(config)
    if config.data in ("hh-rlhf", "stories"):
        if config.data_path is None:
            raise ValueError(f"--data {config.data} needs --data-path, where it lies")
        if not config.data_path.exists():
            raise FileNotFoundError(f"--data-path {config.data_path} does not exist")
        named = hh_dialogues if config.data == "hh-rlhf" else stories
        return named(config, config.data_path)
    path = Path(config.data)
    if not path.exists():
        raise FileNotFoundError(
            f"--data {config.data}: neither toy, hh-rlhf or stories, nor a file"
        )
    return from_path(config, path)


def judge_of(source: Source) -> Judge:
    """The programmed reward.

    Raises:
      ValueError: the data set has none.
    """
    if source.judge is None:
        raise ValueError(
            f"the data set {source.name} has no programmed reward: name a reward model"
        )
    return source.judge


def pairs(
    config: Shared, source: Source, policy: Any, run: Noting
) -> tuple[list[loader.Example], list[loader.Example]]:
    """The source's pairs, tokenised for a policy; what was dropped is shown."""
    train, held_out = source.preferences()
    return (
        tokenised(config, train, policy, run, "train"),
        tokenised(config, held_out, policy, run, "held out"),
    )


def tokenised(
    config: Shared, records: Sequence[Record], policy: Any, run: Noting, name: str
) -> list[loader.Example]:
    """Records, tokenised for a policy; what was dropped is shown."""
    examples, report = loader.tokenise(
        records, policy.tokenizer, context=policy.context, overlong=config.overlong
    )
    run.note(f"{name}: {report}")
    return examples


def toy(config: Shared) -> Source:
    """The toy world, of the run's seed."""
    pool, held = 16_384, 512
    requests = functools.cache(
        lambda: (
            toy_world.requests(config.seed, pool),
            toy_world.requests(config.seed, held, test=True),
        )
    )

    def preferences() -> tuple[list[Preference], list[Preference]]:
        made = functools.partial(toy_world.preference, config.seed)
        return (
            [made(i).preference for i in range(pool)],
            [made(i, test=True).preference for i in range(held)],
        )

    @functools.cache
    def asked() -> dict[str, toy_world.Request]:
        return {r.text: r for split in requests() for r in split}

    def judge(
        prompts: Sequence[Prompt], texts: Sequence[str], finished: np.ndarray
    ) -> Judged:
        known = [asked()[p.messages[-1]["content"]] for p in prompts]
        return toy_world.judge(known, texts, finished)

    return Source(
        name="toy",
        context=48,
        vocab=512,
        max_new_tokens=24,
        sft_steps=1000,
        demonstrations=functools.cache(
            lambda: [toy_world.demonstration(config.seed, i) for i in range(24_000)]
        ),
        prompts=lambda: both(lambda split: [r.prompt for r in split], requests()),
        preferences=preferences,
        judge=judge,
    )


def hh_dialogues(config: Shared, folder: Path) -> Source:
    """HH-RLHF, in the splits of `jaxalign.data.hh_rlhf.load`."""

    @functools.cache
    def preferences() -> tuple[list[Preference], list[Preference]]:
        found = hh_rlhf.load(folder, skip_bad_rows=config.skip_bad_rows)
        print(f"{folder}: {found.report}")
        return found.train, found.held_out

    return Source(
        name="hh-rlhf",
        context=256,
        vocab=2048,
        max_new_tokens=48,
        sft_steps=300,
        demonstrations=functools.cache(lambda: demonstrations(preferences()[0])),
        prompts=lambda: both(prompts, preferences()),
        preferences=preferences,
    )


Records = TypeVar("Records")


def both(
    function: Callable[[Any], list[Records]], splits: tuple[Any, Any]
) -> tuple[list[Records], list[Records]]:
    """What a function makes of the training split and of the held-out one."""
    train, held_out = splits
    return function(train), function(held_out)


def stories(config: Shared, file: Path) -> Source:
    """Stories of a text file: each goes on from its first words, to a happy ending."""

    @functools.cache
    def told() -> tuple[list[Demonstration], list[Prompt], list[Prompt]]:
        found, starts = [], []
        split = re.split(r"(?<!\n)\n(?!\n)", file.read_text())
        for i, story in enumerate(split):
            words = story.replace("\n\n", "\n").strip().split(" ")
            if len(words) < 24:
                continue
            prompt = [{"role": "user", "content": " ".join(words[:12])}]
            rest = said(" " + " ".join(words[12:]))
            found.append(Demonstration([*prompt, rest], where=f"{file.name}:{i + 1}"))
            starts.append(Prompt(prompt, where=f"{file.name}:{i + 1}"))
        if not found:
            raise ValueError(f"{file} holds no stories of 24 words or more")
        cut = len(starts) * 3 // 4
        return found[:cut], starts[:cut], starts[cut:]

    def liked(text: str) -> float:
        if config.liked == "happy":
            return text_rewards.word_list(text)
        return text_rewards.length(len(text.split()), target=40)

    def judge(
        prompts: Sequence[Prompt], texts: Sequence[str], finished: np.ndarray
    ) -> Judged:
        return {"reward": np.array([liked(text) for text in texts])}

    def no_pairs() -> tuple[list[Preference], list[Preference]]:
        raise ValueError("stories have no preferences: experiments.collect makes them")

    return Source(
        name="stories",
        context=512,
        vocab=1024,
        max_new_tokens=96,
        sft_steps=0,
        demonstrations=lambda: told()[0],
        prompts=lambda: told()[1:],
        preferences=no_pairs,
        judge=judge,
    )


def from_path(config: Shared, path: Path) -> Source:
    """Records of the user's own: a file, or a folder with train.* and test.* files.

    Of a single file, every tenth record is held out.
    """

    def splits(kind: Any) -> tuple[list[Any], list[Any]]:
        read = functools.partial(
            formats.read, kind=kind, skip_bad_rows=config.skip_bad_rows
        )
        if path.is_dir():
            return shown(read(one(path, "train"))), shown(read(one(path, "test")))
        found = shown(read(path))
        rest = [r for i, r in enumerate(found) if i % 10 != 9]
        return rest, found[9::10] or found[-1:]

    def shown(read: tuple[list[Any], Report]) -> list[Any]:
        print(f"{path}: {read[1]}")
        return read[0]

    first = one(path, "train") if path.is_dir() else path
    ranked = formats.holds_rankings(first)
    rankings = functools.cache(lambda: splits(Ranking))

    @functools.cache
    def preferences() -> tuple[list[Preference], list[Preference]]:
        return both(pairs_of, rankings()) if ranked else splits(Preference)

    return Source(
        name=str(path),
        context=512,
        vocab=4096,
        max_new_tokens=128,
        sft_steps=200,
        demonstrations=functools.cache(lambda: splits(Demonstration)[0]),
        prompts=lambda: splits(Prompt),
        preferences=preferences,
        rankings=rankings if ranked else None,
    )


def one(folder: Path, split: str) -> Path:
    """The file of a split.

    Raises:
      FileNotFoundError: there is none.
    """
    for ending in formats.ENDINGS:
        if (folder / f"{split}{ending}").exists():
            return folder / f"{split}{ending}"
    raise FileNotFoundError(f"{folder} holds no {split}.jsonl (or .jsonl.gz, .json)")
