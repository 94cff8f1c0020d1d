"""What a data set is to an experiment, and its records as tokens."""

import dataclasses
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import jax
import numpy as np

from jaxalign.data import dataset_ops, loader, mixing, readers, splits, token_cache
from jaxalign.data.formats import files, row_limits
from jaxalign.data.records import (
    Demonstration,
    Preference,
    Prompt,
    Ranking,
    Record,
    Unpaired,
)
from jaxalign.data.tokenize import example_prompt_hashes
from jaxalign.pipeline.datasets.held_out import (
    Accounts,
    check_sides,
    row_numbers,
    split_account,
)
from jaxalign.pipeline.datasets.rule_based import RuleBasedReward, with_finite_check
from jaxalign.runtime import distributed
from jaxalign.runtime.config import RunConfig

Examples = Sequence[loader.Example]


@dataclasses.dataclass(frozen=True)
class Dataset:
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
      streams: the files of each of its splits, for data that may not fit in memory; a
        single split is split by the rule.
      max_row_chars: characters of the longest row of those files.
      parts: the data sets that it is a mixture of, with their weights.
      held_out_data: the data set that is trained on, and the one that is held out,
        where --held-out-data names one.
      judge: the programmed reward, if there is one.
      rule: what it holds out, where it has no splits of its own.
      reads: what was read so far and how it was split, by kind of record.
      left_aside: the names of files or splits that it has, and that are not read.
    """

    name: str
    context: int
    vocab: int
    max_new_tokens: int
    sft_steps: int
    demonstrations: Callable[[], tuple[list[Demonstration], list[Demonstration]]]
    prompts: Callable[[], tuple[list[Prompt], list[Prompt]]]
    preferences: Callable[[], tuple[list[Preference], list[Preference]]]
    judge: RuleBasedReward | None = None
    rankings: Callable[[], tuple[list[Ranking], list[Ranking]]] | None = None
    unpaired: Callable[[], tuple[list[Unpaired], list[Unpaired]]] | None = None
    streams: tuple[tuple[str, ...], ...] = ()
    max_row_chars: int = row_limits.MAX_ROW_CHARS
    parts: "tuple[tuple[Dataset, float], ...]" = ()
    held_out_data: "tuple[Dataset, Dataset] | None" = None
    rule: splits.HeldOutSplit = splits.HeldOutSplit()
    reads: Accounts = dataclasses.field(default_factory=dict)
    left_aside: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """What judges is checked, whoever wrote it."""
        if self.judge is not None:
            name = f"of {self.name}"
            object.__setattr__(self, "judge", with_finite_check(name, self.judge))

    def texts(self) -> Iterable[str]:
        """Texts that a tokenizer may be trained on; of files no more is read."""
        train: Iterator[Demonstration]
        if self.streams:
            train = iter(
                readers.stream(
                    self.streams[0],
                    Demonstration,
                    skip_bad_rows=True,
                    max_row_chars=self.max_row_chars,
                )
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
        aside = {"left_aside": list(self.left_aside)} if self.left_aside else {}
        own = [(kind, read | aside) for kind, read in sorted(self.reads.items())]
        return [*found, *own]


class Noting(Protocol):
    """What shows a report: a run."""

    def note(self, report: Any) -> None: ...


def require_reward(source: Dataset) -> RuleBasedReward:
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


def drop_held_out_prompts(train: Examples, held_out: Examples) -> Examples:
    """The training examples whose prompts are not held out; a mixture stays one.

    Raises:
      ValueError: none is left, of a mixture in one of its parts.
    """
    if isinstance(train, dataset_ops.Mixture):
        parts = [drop_held_out_prompts(part, held_out) for part in train.parts]
        return dataset_ops.Mixture(parts, train.weights)
    leaked = np.isin(example_prompt_hashes(train), example_prompt_hashes(held_out))
    if not leaked.any():
        return train
    if leaked.all():
        raise ValueError("the prompts of all training rows are held out")
    return dataset_ops.Subset(train, np.flatnonzero(~leaked))


def held_out_row_numbers(test: Dataset, held_out: Examples) -> dict[str, list[int]]:
    """The numbers of the rows of --held-out-data, by file, as `examples` has them."""
    if isinstance(held_out, dataset_ops.Subset) and isinstance(
        held_out.examples, token_cache.CachedExamples
    ):
        return held_out.examples.row_numbers(held_out.indices)
    return row_numbers((test.unpaired or test.preferences)()[0])


def tokenize_records(
    config: RunConfig,
    records: Sequence[Record],
    policy: Any,
    run: Noting,
    name: str,
    *,
    all_turns: bool = False,
) -> Examples:
    """Records, tokenised for a policy; what was dropped is shown. A mixture stays one.

    Args:
      all_turns: of SFT data count every answer, not the last alone.
    """
    if isinstance(records, mixing.MixedRecords):
        parts = [
            tokenize_records(
                *(config, part, policy, run, f"{name}, part {number}"),
                all_turns=all_turns,
            )
            for number, part in enumerate(records.parts, start=1)
        ]
        return dataset_ops.Mixture(parts, records.weights)
    if not records:  # nothing is held out
        return []
    examples, report = loader.tokenize(
        records,
        policy.tokenizer,
        context=policy.context,
        overlong=config.overlong,
        all_turns=all_turns,
    )
    run.note(f"{name}: {report}")
    return examples


def load_token_cache(
    config: RunConfig, source: Dataset, kind: type[Any], policy: Any, run: Noting
) -> tuple[Examples, Examples]:
    """Records as tokens in --token-cache: training ones and held-out ones.

    Of many processes the first writes them; of several runs one does, and the others
    wait for it.

    Raises:
      FileNotFoundError: what the first process wrote is not to be seen on this one.
    """
    settings = {"context": policy.context, "overlong": config.overlong}
    found = []
    strict: dict[str, Any] = {"skip_bad_rows": config.skip_bad_rows}
    strict["max_row_chars"] = config.max_row_chars
    for paths in source.streams:
        key = token_cache.cache_key(paths, kind, policy.tokenizer, **settings, **strict)
        folder = Path(str(config.token_cache)) / key
        if distributed.is_first():
            with token_cache.write_lock(folder) as there:
                if not there:
                    records = readers.stream(paths, kind, **strict)
                    workers = os.cpu_count() or 1
                    token_cache.write(
                        folder, records, policy.tokenizer, workers=workers, **settings
                    )
        distributed.barrier("when tokens are kept")
        if not folder.exists():
            raise FileNotFoundError(
                f"--token-cache: {folder}, which the first process wrote, is not there "
                f"for process {jax.process_index()}: name a folder that all share"
            )
        found.append(token_cache.CachedExamples(folder))
        run.note(f"{files.describe_paths(paths)}: {found[-1].rows_report}")
        run.note(f"{folder}: {found[-1].report}")
    train: Examples
    held_out: Examples
    if len(found) == 2:
        train, held_out = found
        rule = "as the data set states it"
        numbers = found[1].row_numbers(np.arange(len(found[1])))
    else:
        (whole,) = found
        mask = source.rule.mask(whole.prompts)
        check_sides(source.name, source.rule, whole.prompts, mask)
        rule, numbers = str(source.rule), whole.row_numbers(np.flatnonzero(mask))
        train = dataset_ops.Subset(whole, np.flatnonzero(~mask))
        held_out = dataset_ops.Subset(whole, np.flatnonzero(mask))
    source.reads[kind.__name__] = split_account(
        source.name,
        rule,
        [each.report for each in found],
        example_prompt_hashes(train),
        example_prompt_hashes(held_out),
        numbers,
    )
    return train, held_out


Records = TypeVar("Records")


def map_splits(
    function: Callable[[Any], list[Records]], splits: tuple[Any, Any]
) -> tuple[list[Records], list[Records]]:
    """What a function makes of the training split and of the held-out one."""
    train, held_out = splits
    return function(train), function(held_out)
