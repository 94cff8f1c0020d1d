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
from experiments.sources.held_out import (
    Reads,
    account,
    account_of_parts,
    check_sides,
    row_numbers,
)
from experiments.sources.judged import Judge, checked
from jaxalign.data import formats, loader, splits, stored, views
from jaxalign.data.examples import prompts_of
from jaxalign.data.records import Demonstration, Preference, Prompt, Ranking, Record

Examples = Sequence[loader.Example]


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
    streams: tuple[str, ...] = ()
    parts: "tuple[tuple[Source, float], ...]" = ()
    held_out_data: "tuple[Source, Source] | None" = None
    rule: splits.HeldOut = splits.HeldOut()
    reads: Reads = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        """What judges is checked, whoever wrote it."""
        if self.judge is not None:
            name = f"of {self.name}"
            object.__setattr__(self, "judge", checked(name, self.judge))

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


def pairs(
    config: Shared, source: Source, policy: Any, run: Noting
) -> tuple[Examples, Examples]:
    """The source's pairs, tokenised for a policy; what was dropped is shown."""
    if source.held_out_data is not None:
        every, test = source.held_out_data
        train, held_out = (
            pairs(config, part, policy, run)[0] for part in (every, test)
        )
        remaining = unseen(train, held_out)
        rows = rows_of(test, held_out)
        source.reads["Preference"] = account_of_parts(
            source.name, train, remaining, held_out, rows
        )
        return remaining, held_out
    if source.parts:
        found = [pairs(config, part, policy, run) for part, _ in source.parts]
        together = [example for _, part in found for example in part]
        weights = [weight for _, weight in source.parts]
        whole = views.Mixture([part for part, _ in found], weights)
        mixture = unseen(whole, together)
        source.reads["Preference"] = account_of_parts(
            source.name, whole, mixture, together, {}
        )
        return mixture, together
    if config.token_cache is not None and source.streams:
        return kept(config, source, Preference, policy, run)
    train_pairs, held_out_pairs = source.preferences()
    return (
        tokenised(config, train_pairs, policy, run, "train"),
        tokenised(config, held_out_pairs, policy, run, "held out"),
    )


def unseen(train: Examples, held_out: Examples) -> Examples:
    """The training examples whose prompts are not held out; a mixture stays one.

    Raises:
      ValueError: none is left, of a mixture in one of its parts.
    """
    if isinstance(train, views.Mixture):
        parts = [unseen(part, held_out) for part in train.parts]
        return views.Mixture(parts, train.weights)
    leaked = np.isin(prompts_of(train), prompts_of(held_out))
    if not leaked.any():
        return train
    if leaked.all():
        raise ValueError("the prompts of all training rows are held out")
    return views.View(train, np.flatnonzero(~leaked))


def rows_of(test: Source, held_out: Examples) -> dict[str, list[int]]:
    """The numbers of the rows of --held-out-data, by file; of pairs as `pairs` has."""
    if isinstance(held_out, views.View) and isinstance(
        held_out.examples, stored.Stored
    ):
        numbers = held_out.examples.places[held_out.indices]
        return {test.streams[-1]: np.unique(numbers).tolist()}
    return row_numbers(test.preferences()[0])


def tokenised(
    config: Shared, records: Sequence[Record], policy: Any, run: Noting, name: str
) -> list[loader.Example]:
    """Records, tokenised for a policy; what was dropped is shown."""
    if not records:  # nothing is held out
        return []
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
        strict = {"skip_bad_rows": config.skip_bad_rows}
        key = stored.key(path, kind, policy.tokenizer, **settings, **strict)
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
        processes.meet("when tokens are kept")
        if not folder.exists():
            raise FileNotFoundError(
                f"--token-cache: {folder}, which the first process wrote, is not there "
                f"for process {jax.process_index()}: name a folder that all share"
            )
        found.append(stored.Stored(folder))
        run.note(f"{path}: {found[-1].rows_report}")
        run.note(f"{folder}: {found[-1].report}")
    train: Examples
    held_out: Examples
    if len(found) == 2:
        train, held_out = found
        rule, numbers = "as the data set states it", found[1].places
    else:
        (whole,) = found
        mask = source.rule.mask(whole.prompts)
        check_sides(source.name, source.rule, whole.prompts, mask)
        rule, numbers = str(source.rule), whole.places[mask]
        train = views.View(whole, np.flatnonzero(~mask))
        held_out = views.View(whole, np.flatnonzero(mask))
    source.reads[kind.__name__] = account(
        source.name,
        rule,
        [each.report for each in found],
        prompts_of(train),
        prompts_of(held_out),
        {source.streams[-1]: np.unique(numbers).tolist()},
    )
    return train, held_out


Records = TypeVar("Records")


def both(
    function: Callable[[Any], list[Records]], splits: tuple[Any, Any]
) -> tuple[list[Records], list[Records]]:
    """What a function makes of the training split and of the held-out one."""
    train, held_out = splits
    return function(train), function(held_out)
