"""Selection of rows of training data: what is removed, why, and the split.

Each step removes rows from a `Selection`, which keeps them with the reason. Rows that
a data set states as held out come first, so that of two duplicates the training row is
the one that goes.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxalign.data import record_rows
from jaxalign.data.records import Preference, Record
from jaxalign.data.splits import HeldOutSplit, prompt_hashes
from jaxalign.evaluation import data_statistics
from jaxalign.pipeline import near_duplicates, row_filters, row_keys
from jaxalign.pipeline.data_sources import Item
from jaxalign.pipeline.row_filters import Filter


class Removed(NamedTuple):
    """A row that was removed.

    Attributes:
      reason: the step that removed it.
      detail: more on this row, such as the row that it repeats.
    """

    record: Any
    reason: str
    detail: str


class Selection:
    """The rows that are left, and those that were removed.

    Attributes:
      items: the rows that are left, in their order.
      removed: the other ones, in the order of the steps.
      steps: number of rows that each step removed, also 0, by reason.
    """

    def __init__(self, items: Iterable[Item]) -> None:
        self.items = sorted(items, key=lambda item: not item.held_out)
        self.removed: list[Removed] = []
        self.steps: dict[str, int] = {}

    @property
    def records(self) -> list[Any]:
        """The records that are left."""
        return [item.record for item in self.items]

    def remove(self, reason: str, details: Mapping[int, str]) -> None:
        """Removes rows.

        Args:
          details: by the index of a row, more on it.

        Raises:
          ValueError: nothing is left; says what removed the rows.
        """
        self.removed += [
            Removed(self.items[i].record, reason, details[i]) for i in sorted(details)
        ]
        self.items = [x for i, x in enumerate(self.items) if i not in details]
        self.steps[reason] = self.steps.get(reason, 0) + len(details)
        if not self.items:
            steps = ", ".join(f"{n} by {name}" for name, n in self.steps.items() if n)
            raise ValueError(
                f"nothing is left of the {len(self.removed)} rows: removed were {steps}"
            )


def apply_filters(
    selection: Selection,
    filters: Sequence[Filter],
    count_tokens: Callable[[str], int] | None,
) -> None:
    """Removes the rows that do not fulfill every condition, one after the other."""
    row_filters.check_filters(
        filters, selection.records, has_tokenizer=count_tokens is not None
    )
    for condition in filters:
        failing = {
            i: ""
            for i, record in enumerate(selection.records)
            if not row_filters.fulfills(record, condition, count_tokens)
        }
        selection.remove(f"--filter {condition.source}", failing)


def check_layout(selection: Selection, *, skip: bool) -> None:
    """Refuses rows that the written layout could not be read back as.

    Args:
      skip: removes them instead.

    Raises:
      ValueError: names the row; see `record_rows.check_row`.
    """
    unfit = {}
    for i, record in enumerate(selection.records):
        try:
            record_rows.check_row(record_rows.to_row(record), record)
        except ValueError as error:
            if not skip:
                raise
            unfit[i] = str(error)
    if unfit:
        selection.remove("not in the layout", unfit)


def remove_identical(selection: Selection) -> None:
    """Removes pairs whose chosen and rejected answers are the same normalized text.

    Raises:
      ValueError: the rows are no pairs.
    """
    records = selection.records
    if not isinstance(records[0], Preference):
        raise ValueError("--drop-identical is for pairs, which these rows are not")
    same = {}
    for i, record in enumerate(records):
        chosen, rejected = (
            row_keys.answer_key(a) for a in (record.chosen, record.rejected)
        )
        if chosen == rejected:
            same[i] = ""
    selection.remove("chosen and rejected are the same", same)


def remove_duplicates(selection: Selection) -> None:
    """Removes rows that are equal to an earlier one, as normalized texts."""
    records = selection.records
    first = data_statistics.first_occurrences([row_keys.row_key(r) for r in records])
    repeats = {
        i: f"repeats {records[j].location or f'row {j + 1}'}"
        for i, j in enumerate(first.tolist())
        if i != j
    }
    selection.remove("exact duplicate", repeats)


def remove_near_duplicates(selection: Selection, threshold: float) -> None:
    """Removes rows that nearly repeat an earlier one, in the prompt and each answer."""
    records = selection.records
    matches = near_duplicates.near_duplicates(
        map(row_keys.compared_texts, records), threshold=threshold
    )
    selection.remove("near duplicate", match_details(matches, records, "repeats"))


def remove_contaminated(
    selection: Selection, prompts: Sequence[Record], threshold: float | None
) -> None:
    """Removes rows whose first user message is that of a benchmark's prompt.

    Args:
      prompts: of the benchmark.
      threshold: of nearly equal messages; None for equal ones alone.
    """
    remove_matching(selection, "prompt of --against", prompts, threshold)


def remove_leaks(
    selection: Selection, held_out: np.ndarray, threshold: float | None
) -> np.ndarray:
    """Removes training rows whose first user message is that of a held-out row.

    Args:
      held_out: True on held-out rows, bool [R].

    Returns:
      The mask of the rows that are left.

    Raises:
      ValueError: no training row is left.
    """
    if not held_out.any():
        return held_out
    tests = [
        x.record for x, test in zip(selection.items, held_out, strict=True) if test
    ]
    kept = [id(item) for item in selection.items]
    remove_matching(selection, "prompt is held out", tests, threshold, skip=held_out)
    left = {id(item) for item in selection.items}
    mask: np.ndarray = held_out[[i in left for i in kept]]
    if mask.all():
        similar = "" if threshold is None else f" (--near-dedup {threshold:g})"
        raise ValueError(
            f"no training row is left: all {len(kept) - len(mask)} have the prompt of "
            f"a held-out row{similar}; choose another --held-out"
        )
    return mask


def remove_matching(
    selection: Selection,
    reason: str,
    others: Sequence[Record],
    threshold: float | None,
    skip: np.ndarray | None = None,
) -> None:
    """Removes rows whose first user message others have too, or nearly have.

    Args:
      skip: True on rows that stay whatever they say, bool [R].
    """
    stays = [False] * len(selection.items) if skip is None else skip.tolist()
    stays_by_item = dict(zip(map(id, selection.items), stays, strict=True))
    known = {hashed: i for i, hashed in enumerate(prompt_hashes(others).tolist())}
    hashes = prompt_hashes(selection.records).tolist()
    exact = {
        i: f"as {others[known[hashed]].location}"
        for i, hashed in enumerate(hashes)
        if hashed in known and not stays[i]
    }
    selection.remove(reason, exact)
    if threshold is None:
        return
    matches = near_duplicates.near_matches(
        map(row_keys.first_message, selection.records),
        map(row_keys.first_message, others),
        threshold=threshold,
    )
    near = {
        i: detail
        for i, detail in match_details(matches, others, "as").items()
        if not stays_by_item[id(selection.items[i])]
    }
    selection.remove(f"{reason}, nearly", near)


def match_details(
    matches: Sequence[tuple[int, float] | None], others: Sequence[Any], word: str
) -> dict[int, str]:
    """What to say of each match: the other row and the similarity."""
    return {
        i: f"{word} {others[match[0]].location} (similarity {match[1]:.2f})"
        for i, match in enumerate(matches)
        if match is not None
    }


def keep_at_most(selection: Selection, count: int, seed: int) -> None:
    """Removes random rows until at most `count` are left, which keep their order."""
    number = len(selection.items)
    if number > count:
        removed = np.random.default_rng(seed).permutation(number)[count:]
        selection.remove("--max-rows", dict.fromkeys(removed.tolist(), ""))


def held_out_mask(selection: Selection, rule: HeldOutSplit) -> np.ndarray:
    """True on held-out rows, bool [R]: as a data set states it, or else by the rule.

    Raises:
      ValueError: a positive share that leaves one side without a row.
    """
    stated = np.array([bool(item.held_out) for item in selection.items])
    free = np.array([item.held_out is None for item in selection.items])
    hashes = prompt_hashes(selection.records)
    mask = stated | free & rule.mask(hashes)
    if (rule.share or stated.any()) and (mask.all() or not mask.any()):
        side = "training" if mask.all() else "held-out"
        raise ValueError(
            f"--held-out {rule.share:g} leaves no {side} row of {len(mask)} rows with "
            f"{len(np.unique(hashes))} different first user messages: choose another "
            "share or --held-out-seed, or hold out nothing with --held-out 0"
        )
    return mask
