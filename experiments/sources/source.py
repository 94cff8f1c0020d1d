"""What a data set is to an experiment."""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np

from experiments.sources.held_out import Reads
from jaxalign.data import formats, splits
from jaxalign.data.records import (
    Demonstration,
    Preference,
    Prompt,
    Ranking,
    Record,
    Unpaired,
)
from jaxalign.rewards import named

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
      demonstrations: () -> training SFT data and held-out ones.
      prompts: () -> training prompts and held-out ones.
      preferences: () -> training pairs and held-out ones.
      rankings: () -> training rankings and held-out ones, where the data are rankings.
      unpaired: () -> training unpaired answers and held-out ones, where the data are
        such; `unpaired` makes them of pairs, too.
      streams: the paths of its splits, for data that may not fit in memory; a single
        one is split by the rule.
      parts: the data sets that it is a mixture of, with their weights.
      held_out_data: the data set that is trained on, and the one that is held out,
        where --held-out-data names one.
      judge: the programmed reward, if there is one.
      rule: what it holds out, where it has no splits of its own.
      reads: what was read so far and how it was split, by kind of record.
    """

    name: str
    context: int
    vocab: int
    max_new_tokens: int
    sft_steps: int
    demonstrations: Callable[[], tuple[list[Demonstration], list[Demonstration]]]
    prompts: Callable[[], tuple[list[Prompt], list[Prompt]]]
    preferences: Callable[[], tuple[list[Preference], list[Preference]]]
    judge: Judge | None = None
    rankings: Callable[[], tuple[list[Ranking], list[Ranking]]] | None = None
    unpaired: Callable[[], tuple[list[Unpaired], list[Unpaired]]] | None = None
    streams: tuple[str, ...] = ()
    parts: "tuple[tuple[Source, float], ...]" = ()
    held_out_data: "tuple[Source, Source] | None" = None
    rule: splits.HeldOut = splits.HeldOut()
    reads: Reads = dataclasses.field(default_factory=dict)

    def texts(self) -> Iterable[str]:
        """Texts that a tokenizer may be trained on; of files no more is read."""
        train: Iterator[Demonstration]
        if self.streams:
            train = iter(
                formats.stream(self.streams[0], Demonstration, skip_bad_rows=True)
            )
            if not self.streams[1:]:
                train = (d for d in train if not self.holds_out(d))
        else:
            train = iter(self.demonstrations()[0])
        shown = itertools.islice(train, 4000)
        return [message["content"] for d in shown for message in d.messages]

    def holds_out(self, record: Record) -> bool:
        """Whether the rule holds a record out."""
        return bool(self.rule.mask(splits.prompt_hashes([record]))[0])

    def accounts(self) -> list[tuple[str, dict[str, Any]]]:
        """What was read so far of it and its parts, by kind of record."""
        inner = [part for part, _ in self.parts] + list(self.held_out_data or ())
        found = [one for part in inner for one in part.accounts()]
        return [*found, *sorted(self.reads.items())]


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


def check_held_out(held_out: Sequence[Any], purpose: str) -> None:
    """Refuses to go on without held-out rows.

    Raises:
      ValueError: there are none.
    """
    if not len(held_out):
        raise ValueError(
            f"no rows are held out, and {purpose} needs some: set --held-out above 0, "
            "or name a file with --held-out-data"
        )


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


Records = TypeVar("Records")


def both(
    function: Callable[[Any], list[Records]], splits: tuple[Any, Any]
) -> tuple[list[Records], list[Records]]:
    """What a function makes of the training split and of the held-out one."""
    train, held_out = splits
    return function(train), function(held_out)
