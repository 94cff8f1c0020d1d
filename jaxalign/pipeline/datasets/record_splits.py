"""Training and held-out records of a data set, with the account that `data.json` keeps.

An account says, for one kind of record, what was read, by which rule it was split, and
which rows are held out.
"""

import collections
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxalign.data import mixing, splits
from jaxalign.data.examples import Example, example_prompt_hashes
from jaxalign.data.records import Prompt, Record, RowReport

Account = dict[str, Any]
Records = list[Any]
NO_LEAK = "held-out prompts are removed from training"
STATED = "as the data set states it"


class SplitRecords(NamedTuple):
    """Training and held-out records of one kind.

    Attributes:
      account: see the top; None for records derived from others that have one.
    """

    train: Records
    held_out: Records
    account: Account | None = None


def map_splits(
    function: Callable[[Any], Records], split: tuple[Any, Any]
) -> tuple[Records, Records]:
    """Applies a function to the training records and to the held-out ones."""
    train, held_out = split
    return function(train), function(held_out)


def split_by_rule(
    name: str,
    kind: type[Record],
    records: Records,
    report: RowReport,
    rule: splits.HeldOutSplit,
) -> SplitRecords:
    """Splits records by the held-out rule; each prompt appears once.

    Args:
      name: of the data set.
      report: what was read and skipped.

    Raises:
      ValueError: a positive share that leaves one side without a row.
    """
    records = splits.unique_prompts(records) if kind is Prompt else records
    hashes = splits.prompt_hashes(records)
    mask = rule.mask(hashes)
    check_sides(name, rule, hashes, mask)
    train, held_out = splits.select(records, ~mask), splits.select(records, mask)
    account = account_of_records(name, str(rule), [report], train, held_out)
    return SplitRecords(train, held_out, account)


def check_sides(
    name: str, rule: splits.HeldOutSplit, hashes: np.ndarray, mask: np.ndarray
) -> None:
    """Refuses a positive share that leaves one side without a row.

    Args:
      hashes: prompt hash of each row, uint64 [R].
      mask: True on held-out rows, bool [R].

    Raises:
      ValueError: gives the counts.
    """
    if rule.share and (mask.all() or not mask.any()):
        side = "training" if mask.any() else "held-out"
        prompts = len(np.unique(hashes))
        raise ValueError(
            f"--held-out {rule.share:g} leaves no {side} row of the {len(mask)} of "
            f"{name} ({prompts} different first user messages): choose another share "
            "or --held-out-seed, name a file with --held-out-data, or hold out nothing "
            "with --held-out 0"
        )


def stated_split(
    name: str,
    kind: type[Record],
    train: tuple[Records, RowReport],
    held_out: tuple[Records, RowReport],
) -> SplitRecords:
    """The records of a data set with a training and a held-out split of its own.

    Both stay as they are; the account counts held-out prompts that are in training too.
    """
    train_records, held_out_records = train[0], held_out[0]
    if kind is Prompt:
        train_records = splits.unique_prompts(train_records)
        held_out_records = splits.unique_prompts(held_out_records)
    account = account_of_records(
        *(name, STATED, [train[1], held_out[1]], train_records, held_out_records)
    )
    return SplitRecords(train_records, held_out_records, account)


def drop_held_out(
    train: Records, held_out: Sequence[Record], name: str
) -> tuple[Records, Account | None]:
    """Removes training records whose first user message is held out.

    Returns:
      The remaining records, and the account of both sides.

    Raises:
      ValueError: none is left; for a mixture, in one of its parts.
    """
    if not train:
        return train, None
    leaked = np.isin(splits.prompt_hashes(train), splits.prompt_hashes(held_out))
    if leaked.all():
        raise ValueError(
            f"all {len(train)} training rows of {name} have a first user message that "
            "is held out: nothing is left to train on"
        )
    remaining = mixing.select(train, ~leaked)
    account = account_of_records(name, NO_LEAK, [], remaining, held_out)
    return remaining, account | {"removed_from_training": int(leaked.sum())}


def account_of_examples(
    name: str,
    train: Sequence[Example],
    remaining: Sequence[Example],
    held_out: Sequence[Example],
    rows: dict[str, list[int]],
) -> Account:
    """The account of tokenized parts, with the count of rows removed from training.

    Args:
      train: all training examples of the parts.
      remaining: those whose prompts are not held out.
      rows: numbers of the held-out rows, by file, where no part's account has them.
    """
    hashes = example_prompt_hashes(remaining), example_prompt_hashes(held_out)
    account = split_account(name, NO_LEAK, [], *hashes, rows)
    return account | {"removed_from_training": len(train) - len(remaining)}


def account_of_records(
    name: str,
    rule: str,
    reports: Sequence[RowReport],
    train: Sequence[Record],
    held_out: Sequence[Record],
) -> Account:
    """The account of records."""
    hashes = splits.prompt_hashes(train), splits.prompt_hashes(held_out)
    return split_account(name, rule, reports, *hashes, row_numbers(held_out))


def split_account(
    name: str,
    rule: str,
    reports: Sequence[RowReport],
    train: np.ndarray,
    held_out: np.ndarray,
    rows: dict[str, list[int]],
) -> Account:
    """The account of a split: what was read, the rule, counts, held-out row numbers.

    Args:
      train: prompt hash of each training row, uint64 [R].
      held_out: prompt hash of each held-out row, uint64 [H].
      rows: numbers of the held-out rows, by file.
    """
    train_prompts, held_out_prompts = np.unique(train), np.unique(held_out)
    leaked = np.intersect1d(train_prompts, held_out_prompts)
    return {
        "data": name,
        "read": [str(report) for report in reports],
        "rule": rule,
        "training_rows": len(train),
        "training_prompts": len(train_prompts),
        "held_out_rows": len(held_out),
        "held_out_prompts": len(held_out_prompts),
        "held_out_prompts_in_training": len(leaked),
        "held_out_row_numbers": rows,
    }


def row_numbers(records: Sequence[Record]) -> dict[str, list[int]]:
    """Numbers of the rows that records were read from, by file, in rising order.

    Rows of files count from 1, rows of tensorflow_datasets from 0.
    """
    numbers: dict[str, set[int]] = collections.defaultdict(set)
    for record in records:
        file, _, number = record.location.rpartition(":")
        if number.isdecimal():
            numbers[file].add(int(number))
    return {file: sorted(rows) for file, rows in sorted(numbers.items())}
