"""Records of several data sets, of one kind, each with the data set it is from."""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

from jaxalign.data import readers
from jaxalign.data.formats import files
from jaxalign.data.records import (
    Demonstration,
    Preference,
    Prompt,
    Ranking,
    Record,
    Unpaired,
)
from jaxalign.pipeline import datasets
from jaxalign.runtime.config import RunConfig

KINDS: dict[str, type[Record]] = {
    "pairs": Preference,
    "rankings": Ranking,
    "unpaired": Unpaired,
    "sft": Demonstration,
    "prompts": Prompt,
}
FIRST_ROWS = 100  # by which the kind of a file's rows is told


class Item(NamedTuple):
    """A record of a data set.

    Attributes:
      origin: the data set, as `--data` names it.
      held_out: the data set states that it is held out; None where it states no split.
    """

    record: Any
    origin: str
    held_out: bool | None


class Source(NamedTuple):
    """What was read of a data set.

    Attributes:
      name: as `--data` names it.
      report: rows read and used, and the reasons for the difference.
    """

    name: str
    items: list[Item]
    report: str


def load_datasets(config: RunConfig, names: str) -> list[datasets.Dataset]:
    """The data sets of a list with commas, none of them split by hash.

    Raises:
      ValueError: no name, or a weight, which belongs to training.
      FileNotFoundError: no such data.
    """
    parts = [part.strip() for part in names.split(",") if part.strip()]
    if not parts:
        raise ValueError("--data names no data set")
    sources = []
    for part, short_name in zip(parts, short_names(parts), strict=True):
        source = datasets.load(dataclasses.replace(config, data=part, held_out=0.0))
        if source.parts:
            raise ValueError(
                f"--data {part}: weights are for training, which draws rows by them; "
                "name the data without a weight"
            )
        sources.append(dataclasses.replace(source, name=short_name))
    return sources


def short_names(names: Sequence[str]) -> list[str]:
    """Names without the folders that all of them are in.

    >>> short_names(["data/hh/a/test.jsonl", "data/hh/b/test.jsonl"])
    ['a/test.jsonl', 'b/test.jsonl']
    >>> short_names(["data/pairs.jsonl"]), short_names(["toy", "data/sft.jsonl"])
    (['pairs.jsonl'], ['toy', 'data/sft.jsonl'])
    """
    folders = [name.rstrip("/").split("/") for name in names]
    shared = 0
    while all(len(parts) > shared + 1 for parts in folders) and (
        len({parts[shared] for parts in folders}) == 1
    ):
        shared += 1
    return ["/".join(parts[shared:]) for parts in folders]


def read_sources(
    sources: Sequence[datasets.Dataset], kind: str
) -> tuple[str, list[Source]]:
    """The records of data sets, of one kind.

    Args:
      kind: of `KINDS`; auto for that of the rows.

    Returns:
      The kind, and what was read of each.

    Raises:
      ValueError: rows of several kinds, or a malformed row.
    """
    if kind == "auto":
        kinds = {source.name: kind_of_rows(source) for source in sources}
        if len(set(kinds.values())) > 1:
            listed = ", ".join(f"{name} has {kind}" for name, kind in kinds.items())
            raise ValueError(
                f"{listed}: name the kind to read all of them as with --kind, or "
                "prepare them apart"
            )
        kind = next(iter(kinds.values()))
    return kind, [read_source(source, KINDS[kind]) for source in sources]


def read_source(source: datasets.Dataset, kind: type[Record]) -> Source:
    """The records of a data set; of a stated split the held-out ones first."""
    train, held_out = source.split(kind)
    states = bool(len(held_out))
    items = [Item(record, source.name, True) for record in held_out]
    items += [Item(r, source.name, False if states else None) for r in train]
    accounts = source.accounts()
    read = [report for _, account in accounts[-1:] for report in account["read"]]
    return Source(source.name, items, "; ".join(read))


def kind_of_rows(source: datasets.Dataset) -> str:
    """The kind of a data set's rows, a key of `KINDS`.

    Raises:
      ValueError: rows of no kind; says why the first is no SFT data.
    """
    if source.has_rankings:
        return "rankings"
    if source.has_unpaired:
        return "unpaired"
    errors = []
    for name in ("pairs", "sft", "prompts"):
        try:
            if source.split_files:
                read_first(source, KINDS[name])
            else:
                source.split(KINDS[name])
            return name
        except ValueError as error:
            errors.append(error)
    raise ValueError(f"{source.name} has no rows of any kind: {errors[1]}")


def read_first(source: datasets.Dataset, kind: type[Record]) -> None:
    """Reads the first usable record of a data set's first rows.

    Raises:
      ValueError: there is none of this kind.
    """
    file = files.list_all_files(source.split_files[0])[0]
    rows = files.read_rows(file, max_row_chars=source.max_row_chars)
    first = itertools.islice(rows, FIRST_ROWS)
    stream: Any = readers.RecordStream(
        first,
        kind,
        name=source.name,
        skip_bad_rows=True,
    )
    next(iter(stream))
