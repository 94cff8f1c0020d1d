"""What a data set is to an experiment, and its records as tokens."""

import dataclasses
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import jax
import numpy as np

from experiments import processes
from experiments.config import Shared
from jaxalign.data import formats, loader, stored, views
from jaxalign.data.records import Demonstration, Preference, Prompt, Ranking, Record
from jaxalign.rewards import named

Examples = Sequence[loader.Example]
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
      streams: the paths of its splits, for data that may not fit in memory; of a single
        one every tenth record is held out.
      parts: the data sets that it is a mixture of, with their weights.
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
    streams: tuple[str, ...] = ()
    parts: "tuple[tuple[Source, float], ...]" = ()

    def texts(self) -> Iterable[str]:
        """Texts that a tokenizer may be trained on; of files no more is read."""
        kept: Iterator[Demonstration]
        if self.streams:
            told = formats.stream(self.streams[0], Demonstration, skip_bad_rows=True)
            kept = (d for i, d in enumerate(told) if i % 10 != 9 or self.streams[1:])
        else:
            kept = iter(self.demonstrations())
        shown = itertools.islice(kept, 4000)
        return [message["content"] for d in shown for message in d.messages]


class Noting(Protocol):
    """What shows a report: a run."""

    def note(self, report: Any) -> None: ...


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


def by_name(reward: str) -> Judge:
    """The reward of texts of that name, as a judge.

    Raises:
      ValueError: there is none.
    """
    measure = named.reward(reward)

    def judge(
        prompts: Sequence[Prompt], texts: Sequence[str], finished: np.ndarray
    ) -> Judged:
        asked, told = [p.messages for p in prompts], [p.references for p in prompts]
        return {"reward": measure(asked, texts, told)}

    return judge


def pairs(
    config: Shared, source: Source, policy: Any, run: Noting
) -> tuple[Examples, Examples]:
    """The source's pairs, tokenised for a policy; what was dropped is shown."""
    if source.parts:
        found = [pairs(config, part, policy, run) for part, _ in source.parts]
        held_out = [example for _, part in found for example in part]
        weights = [weight for _, weight in source.parts]
        return views.Mixture([part for part, _ in found], weights), held_out
    if config.token_cache is not None and source.streams:
        return kept(config, source, Preference, policy, run)
    train, held_out_pairs = source.preferences()
    return (
        tokenised(config, train, policy, run, "train"),
        tokenised(config, held_out_pairs, policy, run, "held out"),
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


def kept(
    config: Shared, source: Source, kind: type[Any], policy: Any, run: Noting
) -> tuple[Examples, Examples]:
    """Records as tokens in --token-cache: training ones and held-out ones.

    Of many processes the first writes them; of several runs one does, and the others
    wait for it.

    Raises:
      FileNotFoundError: what the first process wrote is not to be seen on this one.
    """
    settings = {"context": policy.context, "overlong": config.overlong}
    found = []
    for path in source.streams:
        key = stored.key(path, kind, policy.tokenizer, **settings)
        folder = Path(str(config.token_cache)) / key
        if processes.first():
            with stored.alone(folder) as there:
                if not there:
                    records = formats.stream(
                        path, kind, skip_bad_rows=config.skip_bad_rows
                    )
                    workers = os.cpu_count() or 1
                    stored.write(
                        folder, records, policy.tokenizer, workers=workers, **settings
                    )
                    run.note(f"{path}: {records.report}")
        processes.meet("when tokens are kept")
        if not folder.exists():
            raise FileNotFoundError(
                f"--token-cache: {folder}, which the first process wrote, is not there "
                f"for process {jax.process_index()}: name a folder that all share"
            )
        found.append(stored.Stored(folder))
        run.note(f"{folder}: {found[-1].report}")
    if len(found) == 2:
        return found[0], found[1]
    (whole,) = found
    held_out = whole.rows % 10 == 9
    sides = (np.flatnonzero(~held_out), np.flatnonzero(held_out))
    return views.View(whole, sides[0]), views.View(whole, sides[1])


Records = TypeVar("Records")


def both(
    function: Callable[[Any], list[Records]], splits: tuple[Any, Any]
) -> tuple[list[Records], list[Records]]:
    """What a function makes of the training split and of the held-out one."""
    train, held_out = splits
    return function(train), function(held_out)
