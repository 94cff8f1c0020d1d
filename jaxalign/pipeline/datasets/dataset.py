"""A data set: its records by kind, training and held-out ones, read when first used."""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from jaxalign.data import readers, splits
from jaxalign.data.formats import row_limits
from jaxalign.data.records import (
    Demonstration,
    Preference,
    Prompt,
    Ranking,
    Record,
    Unpaired,
)
from jaxalign.pipeline.datasets.record_splits import Account, SplitRecords, map_splits
from jaxalign.pipeline.datasets.rule_based import RuleBasedReward, with_finite_check

Derivations = Mapping[type[Record], tuple[type[Record], Callable[[Any], list[Any]]]]
TOKENIZER_ROWS = 4000  # conversations that a new tokenizer is trained on, at most


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Records of a data set by kind, each kind split into training and held-out ones.

    Each kind is read once, when it is first used.

    Attributes:
      context: suggested length of a sequence, in tokens.
      vocab: size of a tokenizer trained on the data.
      max_new_tokens: suggested length of a sampled answer.
      sft_steps: steps of supervised finetuning for a new small model.
      read: reads the records of a kind.
      derivations: for each kind derived from another: that one, and the function.
      row_kind: Ranking or Unpaired where the rows are such; else None.
      reward: the data set's rule-based reward, if it has one; validated on every call.
      rule: the held-out rule, where the data set states no split.
      split_files: the files of each split, for data that may not fit in memory; a
        single split is split by the rule.
      max_row_chars: characters of the longest row of those files.
      parts: the data sets of a mixture, with their weights.
      held_out_data: the data set that is trained on and the one that is held out, where
        --held-out-data names one.
      unused: names of files or splits that belong to no split in use.
    """

    name: str
    context: int
    vocab: int
    max_new_tokens: int
    sft_steps: int
    read: Callable[[type[Record]], SplitRecords]
    derivations: Derivations = dataclasses.field(default_factory=dict)
    row_kind: type[Record] | None = None
    reward: RuleBasedReward | None = None
    rule: splits.HeldOutSplit = splits.HeldOutSplit()
    split_files: tuple[tuple[str, ...], ...] = ()
    max_row_chars: int = row_limits.MAX_ROW_CHARS
    parts: "tuple[tuple[Dataset, float], ...]" = ()
    held_out_data: "tuple[Dataset, Dataset] | None" = None
    unused: tuple[str, ...] = ()
    _splits: dict[type[Record], tuple[list[Any], list[Any]]] = dataclasses.field(
        init=False, repr=False, default_factory=dict
    )
    _accounts: dict[str, Account] = dataclasses.field(
        init=False, repr=False, default_factory=dict
    )

    def __post_init__(self) -> None:
        """Validates the values of the reward on every call, whoever wrote it."""
        if self.reward is not None:
            reward = with_finite_check(f"of {self.name}", self.reward)
            object.__setattr__(self, "reward", reward)

    def demonstrations(self) -> tuple[list[Demonstration], list[Demonstration]]:
        """Training and held-out SFT data."""
        return self.split(Demonstration)

    def prompts(self) -> tuple[list[Prompt], list[Prompt]]:
        """Training and held-out prompts."""
        return self.split(Prompt)

    def preferences(self) -> tuple[list[Preference], list[Preference]]:
        """Training and held-out pairs."""
        return self.split(Preference)

    def rankings(self) -> tuple[list[Ranking], list[Ranking]]:
        """Training and held-out rankings; only where `has_rankings`."""
        return self.split(Ranking)

    def unpaired(self) -> tuple[list[Unpaired], list[Unpaired]]:
        """Training and held-out labeled answers; only where `has_unpaired`."""
        return self.split(Unpaired)

    @property
    def has_rankings(self) -> bool:
        """Whether the rows are rankings."""
        return self.row_kind is Ranking

    @property
    def has_unpaired(self) -> bool:
        """Whether the rows are labeled single answers."""
        return self.row_kind is Unpaired

    def split(self, kind: type[Record]) -> tuple[list[Any], list[Any]]:
        """Training and held-out records of a kind."""
        if kind not in self._splits:
            if kind in self.derivations:
                source, function = self.derivations[kind]
                self._splits[kind] = map_splits(function, self.split(source))
            else:
                train, held_out, account = self.read(kind)
                self._splits[kind] = train, held_out
                self.record_account(kind, account)
        return self._splits[kind]

    def require_reward(self) -> RuleBasedReward:
        """The rule-based reward.

        Raises:
          ValueError: the data set has none.
        """
        if self.reward is None:
            raise ValueError(
                f"the data set {self.name} has no programmed reward: name a reward "
                "model, or another reward of docs/rewards.md"
            )
        return self.reward

    def texts(self) -> Iterable[str]:
        """Texts to train a tokenizer on; of files only as many rows are read."""
        train: Iterator[Demonstration]
        if self.split_files:
            train = iter(
                readers.stream(
                    self.split_files[0],
                    Demonstration,
                    skip_bad_rows=True,
                    max_row_chars=self.max_row_chars,
                )
            )
            if not self.split_files[1:]:
                train = (d for d in train if not self.is_held_out(d))
        else:
            train = iter(self.demonstrations()[0])
        first = itertools.islice(train, TOKENIZER_ROWS)
        return [message["content"] for d in first for message in d.messages]

    def is_held_out(self, record: Record) -> bool:
        """Whether the rule holds a record out."""
        return bool(self.rule.mask(splits.prompt_hashes([record]))[0])

    def record_account(self, kind: type[Record], account: Account | None) -> None:
        """Keeps the account of a kind of record that was read."""
        if account is not None:
            self._accounts[kind.__name__] = account

    def accounts(self) -> list[tuple[str, Account]]:
        """(kind, account) of all that was read so far, that of parts first."""
        inner = [part for part, _ in self.parts] + list(self.held_out_data or ())
        unused = {"left_aside": list(self.unused)} if self.unused else {}
        own = sorted(self._accounts.items())
        return [
            *(account for part in inner for account in part.accounts()),
            *((kind, account | unused) for kind, account in own),
        ]


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
