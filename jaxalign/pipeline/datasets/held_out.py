"""What is held out of a data set, and the account of it that a run's folder keeps."""

import collections
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxalign.data import mixing, splits
from jaxalign.data.records import Prompt, Record, RowReport
from jaxalign.data.tokenize import Example, example_prompt_hashes

Accounts = dict[str, dict[str, Any]]  # by kind of record, as `data.json` has them
Records = list[Any]


def split_by_rule(
    name: str,
    kind: type[Record],
    records: Records,
    report: RowReport,
    rule: splits.HeldOutSplit,
    reads: Accounts,
) -> tuple[Records, Records]:
    """Training and held-out records by the rule; prompts once each.

    Args:
      reads: receives the account.

    Raises:
      ValueError: a positive share that leaves one side without a row.
    """
    records = splits.unique_prompts(records) if kind is Prompt else records
    hashes = splits.prompt_hashes(records)
    mask = rule.mask(hashes)
    check_sides(name, rule, hashes, mask)
    train, held_out = splits.select(records, ~mask), splits.select(records, mask)
    reads[kind.__name__] = account_of_records(
        name, str(rule), [report], train, held_out
    )
    return train, held_out


def check_sides(
    name: str, rule: splits.HeldOutSplit, hashes: np.ndarray, mask: np.ndarray
) -> None:
    """Refuses a positive share that leaves one side without a row.

    Args:
      hashes: of the prompt of each row [R].
      mask: whether each row is held out [R].

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
    found: Sequence[tuple[Records, RowReport]],
    reads: Accounts,
) -> tuple[Records, Records]:
    """The records of a data set that has a training and a held-out split of its own.

    Both stay as they are; held-out prompts that are in training too are counted.
    """
    (train, before), (held_out, after) = found
    if kind is Prompt:
        train, held_out = splits.unique_prompts(train), splits.unique_prompts(held_out)
    rule = "as the data set states it"
    reads[kind.__name__] = account_of_records(
        name, rule, [before, after], train, held_out
    )
    return train, held_out


def drop_held_out(
    train: Records, held_out: Sequence[Record], name: str, reads: Accounts
) -> Records:
    """The training records whose first user message is not held out.

    Raises:
      ValueError: none is left, of a mixture in one of its parts.
    """
    if not train:
        return train
    leaked = np.isin(splits.prompt_hashes(train), splits.prompt_hashes(held_out))
    kind = type(train[0]).__name__
    if leaked.all():
        raise ValueError(
            f"all {len(train)} training rows of {name} have a first user message that "
            "is held out: nothing is left to train on"
        )
    kept = mixing.select(train, ~leaked)
    rule = "held-out prompts are removed from training"
    reads[kind] = account_of_records(name, rule, [], kept, held_out)
    reads[kind]["removed_from_training"] = int(leaked.sum())
    return kept


def account_of_parts(
    name: str,
    train: Sequence[Example],
    kept: Sequence[Example],
    held_out: Sequence[Example],
    rows: dict[str, list[int]],
) -> dict[str, Any]:
    """`split_account`, of tokenised parts, and how many rows were removed from training.

    Args:
      train: all training examples of the parts.
      kept: those of them whose prompts are not held out.
      rows: the numbers of the held-out rows, by file, where no part's account has them.
    """
    rule = "held-out prompts are removed from training"
    found = split_account(
        name,
        rule,
        [],
        example_prompt_hashes(kept),
        example_prompt_hashes(held_out),
        rows,
    )
    return found | {"removed_from_training": len(train) - len(kept)}


def account_of_records(
    name: str,
    rule: str,
    reports: Sequence[RowReport],
    train: Sequence[Record],
    held_out: Sequence[Record],
) -> dict[str, Any]:
    """`split_account`, of records."""
    hashes = splits.prompt_hashes(train), splits.prompt_hashes(held_out)
    return split_account(name, rule, reports, *hashes, row_numbers(held_out))


def split_account(
    name: str,
    rule: str,
    reports: Sequence[RowReport],
    train: np.ndarray,
    held_out: np.ndarray,
    rows: dict[str, list[int]],
) -> dict[str, Any]:
    """What was read, the rule, the counts, and the numbers of the held-out rows.

    Args:
      train: prompt hash of each training row [R].
      held_out: likewise, of each held-out row.
      rows: the numbers of the held-out rows, by file.
    """
    prompts, theirs = np.unique(train), np.unique(held_out)
    return {
        "data": name,
        "read": [str(report) for report in reports],
        "rule": rule,
        "training_rows": len(train),
        "training_prompts": len(prompts),
        "held_out_rows": len(held_out),
        "held_out_prompts": len(theirs),
        "held_out_prompts_in_training": len(np.intersect1d(prompts, theirs)),
        "held_out_row_numbers": rows,
    }


def row_numbers(records: Sequence[Record]) -> dict[str, list[int]]:
    """The numbers of the rows that records came from, by file.

    As `where` has them: of files from 1, of data sets of tensorflow_datasets from 0.
    """
    found: dict[str, set[int]] = collections.defaultdict(set)
    for record in records:
        file, _, number = record.location.rpartition(":")
        if number.isdecimal():
            found[file].add(int(number))
    return {file: sorted(numbers) for file, numbers in sorted(found.items())}
