"""Data sets of files, of tensorflow_datasets, and of several data sets together."""

import dataclasses
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

from jaxalign.data import mixing, readers
from jaxalign.data.formats import shards
from jaxalign.data.records import (
    Preference,
    Ranking,
    Record,
    RowReport,
    Unpaired,
    ranking_pairs,
)
from jaxalign.data.splits import HeldOutSplit
from jaxalign.pipeline.datasets.dataset import Dataset, Derivations
from jaxalign.pipeline.datasets.record_splits import (
    SplitRecords,
    drop_held_out,
    split_by_rule,
    stated_split,
)
from jaxalign.runtime.config import RunConfig

ReadSplit = Callable[[Any, type[Record]], tuple[list[Any], RowReport]]


def from_path(config: RunConfig, path: str) -> Dataset:
    """The data set of a file, of a folder's splits, or of files that match a pattern.

    Files of the folder that belong to no split in use are named in the account.
    """
    stated = shards.find_splits(path)
    split_files = tuple(filter(None, (stated.train, stated.held_out)))
    limits: dict[str, Any] = {"max_row_chars": config.max_row_chars}

    def read(paths: tuple[str, ...], kind: type[Record]) -> tuple[list[Any], RowReport]:
        return readers.read(paths, kind, skip_bad_rows=config.skip_bad_rows, **limits)

    row_kind: type[Record] | None = None
    if readers.has_ranking_rows(stated.train, **limits):
        row_kind = Ranking
    elif readers.has_unpaired_rows(stated.train, **limits):
        row_kind = Unpaired
    dataset = from_splits(config, path, read, split_files, row_kind)
    return dataclasses.replace(
        dataset,
        split_files=() if row_kind is Ranking else split_files,
        unused=stated.unused,
        **limits,
    )


def from_tfds(config: RunConfig, name: str) -> Dataset:
    """A prepared data set of tensorflow_datasets, in --data-path where that is given.

    Its train split is trained on; its test or validation split is held out.

    Raises:
      ValueError: there is no such data set, or it is not prepared as ArrayRecord.
    """
    import tensorflow_datasets as tfds  # slow to import, and mostly not needed

    try:
        builder = tfds.builder(name, data_dir=config.data_path)
        sources = builder.as_data_source()
    except Exception as error:  # of many kinds
        raise ValueError(
            f"--data tfds:{name} cannot be read: {error}; prepare it with "
            "tfds.builder(NAME, file_format='array_record').download_and_prepare()"
        ) from error
    held_out = [split for split in ("test", "validation") if split in sources]

    def read(split: str, kind: type[Record]) -> tuple[list[Any], RowReport]:
        return readers.from_tfds(
            sources[split],
            kind,
            name=f"{name}/{split}",
            skip_bad_rows=config.skip_bad_rows,
            max_row_chars=config.max_row_chars,
        )

    splits = ("train", *held_out[:1])
    first = islice(sources["train"], 1)
    row_kind = Unpaired if any(map(readers.is_unpaired_row, first)) else None
    dataset = from_splits(config, f"tfds:{name}", read, splits, row_kind)
    unused = tuple(sorted(set(sources) - set(splits)))
    return dataclasses.replace(dataset, unused=unused)


def from_splits(
    config: RunConfig,
    name: str,
    read_split: ReadSplit,
    splits: Sequence[Any],
    row_kind: type[Record] | None,
) -> Dataset:
    """A data set of two stated splits, or of a single one that is split by prompt.

    Args:
      read_split: (split, kind) -> its records and what was skipped.
      row_kind: Ranking or Unpaired where the rows are such; else None.
    """
    rule = HeldOutSplit(config.held_out, config.held_out_seed)

    def read(kind: type[Record]) -> SplitRecords:
        read_parts = [read_split(split, kind) for split in splits]
        if len(read_parts) == 2:
            return stated_split(name, kind, *read_parts)
        return split_by_rule(name, kind, *read_parts[0], rule)

    derivations: Derivations = {}
    if row_kind is Ranking:
        derivations = {Preference: (Ranking, ranking_pairs)}
    return Dataset(
        name=name,
        context=512,
        vocab=4096,
        max_new_tokens=128,
        sft_steps=200,
        read=read,
        derivations=derivations,
        row_kind=row_kind,
        rule=rule,
    )


def mixture(parts: Sequence[tuple[Dataset, float]], name: str) -> Dataset:
    """A mixture of data sets, whose training records keep the weights of their parts.

    No part trains on what another part holds out.
    """
    datasets = [part for part, _ in parts]
    weights = [weight for _, weight in parts]

    def read(kind: type[Record]) -> SplitRecords:
        split_parts = [part.split(kind) for part in datasets]
        every = mixing.MixedRecords([train for train, _ in split_parts], weights)
        held_out = mixing.interleave([held_out for _, held_out in split_parts])
        train, account = drop_held_out(every, held_out, name)
        return SplitRecords(train, held_out, account)

    return Dataset(
        name=name,
        context=max(part.context for part in datasets),
        vocab=max(part.vocab for part in datasets),
        max_new_tokens=max(part.max_new_tokens for part in datasets),
        sft_steps=max(part.sft_steps for part in datasets),
        read=read,
        row_kind=Ranking if all(part.has_rankings for part in datasets) else None,
        parts=tuple(parts),
    )


def with_held_out(base: Dataset, test: Dataset) -> Dataset:
    """A data set whose held-out records are all those of another, --held-out-data.

    Training rows whose first user message is held out are removed, and counted.
    """

    def read(kind: type[Record]) -> SplitRecords:
        comparable = kind is not Ranking or test.has_rankings
        held_out, _ = test.split(kind if comparable else Preference)
        train, account = drop_held_out(base.split(kind)[0], held_out, base.name)
        # pairs hold their prompts out of rankings, and are none themselves
        return SplitRecords(train, held_out if comparable else [], account)

    return dataclasses.replace(
        base,
        read=read,
        derivations={},
        row_kind=Ranking if base.has_rankings else None,
        split_files=(),
        parts=(),
        held_out_data=(base, test),
    )
