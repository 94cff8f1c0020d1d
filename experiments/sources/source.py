"""What a data set is to an experiment, and its records as tokens."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np

from experiments.config import Shared
from jaxalign.data import loader
from jaxalign.data.records import Demonstration, Preference, Prompt, Ranking, Record

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


Records = TypeVar("Records")


def both(
    function: Callable[[Any], list[Records]], splits: tuple[Any, Any]
) -> tuple[list[Records], list[Records]]:
    """What a function makes of the training split and of the held-out one."""
    train, held_out = splits
    return function(train), function(held_out)
