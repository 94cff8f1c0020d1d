"""Records in files of the user's own, and in data sets of tensorflow_datasets."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

from jaxalign.data import mixing, readers
from jaxalign.data.formats import shards
from jaxalign.data.records import (
    Demonstration,
    Preference,
    Prompt,
    Ranking,
    RowReport,
    Unpaired,
)
from jaxalign.data.records import ranking_pairs as pairs_of
from jaxalign.data.splits import HeldOutSplit
from jaxalign.pipeline.datasets.dataset import Dataset, map_splits
from jaxalign.pipeline.datasets.held_out import (
    Accounts,
    drop_held_out,
    split_by_rule,
    stated_split,
)
from jaxalign.runtime.config import RunConfig

Read = Callable[[Any, Any], tuple[list[Any], RowReport]]


def from_path(config: RunConfig, path: str) -> Dataset:
    """Records of a file, of a folder's splits, or of the files that a pattern names.

    What is in a folder and of no split that is used is said.
    """
    stated = shards.find_splits(path)
    streams = tuple(filter(None, (stated.train, stated.held_out)))
    limits: dict[str, Any] = {"max_row_chars": config.max_row_chars}

    def read(kind: Any, split: tuple[str, ...]) -> tuple[list[Any], RowReport]:
        return readers.read(split, kind, skip_bad_rows=config.skip_bad_rows, **limits)

    ranked = readers.has_ranking_rows(stated.train, **limits)
    single = not ranked and readers.has_unpaired_rows(stated.train, **limits)
    source = from_splits(config, path, read, streams, ranked, single, stated.unused)
    return dataclasses.replace(source, streams=() if ranked else streams, **limits)


def mixture(parts: Sequence[tuple[Dataset, float]], name: str) -> Dataset:
    """Several sources as one, whose training records know the weights of their parts.

    What any part holds out, no part trains on.
    """
    sources = [part for part, _ in parts]
    reads: Accounts = {}

    def together(kind: str) -> tuple[list[Any], list[Any]]:
        found = [getattr(part, kind)() for part in sources]
        weights = [weight for _, weight in parts]
        train = mixing.MixedRecords([records for records, _ in found], weights)
        held_out = mixing.interleave([records for _, records in found])
        return drop_held_out(train, held_out, name, reads), held_out

    ranked = all(part.rankings is not None for part in sources)
    return Dataset(
        name=name,
        context=max(part.context for part in sources),
        vocab=max(part.vocab for part in sources),
        max_new_tokens=max(part.max_new_tokens for part in sources),
        sft_steps=max(part.sft_steps for part in sources),
        demonstrations=lambda: together("demonstrations"),
        prompts=lambda: together("prompts"),
        preferences=lambda: together("preferences"),
        rankings=(lambda: together("rankings")) if ranked else None,
        parts=tuple(parts),
        reads=reads,
    )


def with_held_out(base: Dataset, test: Dataset) -> Dataset:
    """A source whose held-out records are all those of another, --held-out-data.

    Training rows whose first user message is held out are removed, and counted.
    """
    reads: Accounts = {}

    def records(kind: str) -> tuple[list[Any], list[Any]]:
        train, held_out = getattr(base, kind)()[0], getattr(test, kind)()[0]
        return drop_held_out(train, held_out, base.name, reads), held_out

    def rankings() -> tuple[list[Ranking], list[Ranking]]:
        if test.rankings is None:
            held_out: list[Any] = test.preferences()[0]
        else:
            held_out = test.rankings()[0]
        assert base.rankings is not None
        train = drop_held_out(base.rankings()[0], held_out, base.name, reads)
        return train, held_out if test.rankings else []

    return dataclasses.replace(
        base,
        demonstrations=lambda: records("demonstrations"),
        prompts=lambda: records("prompts"),
        preferences=lambda: records("preferences"),
        rankings=None if base.rankings is None else rankings,
        streams=(),
        parts=(),
        unpaired=None,
        held_out_data=(base, test),
        reads=reads,
    )


def from_tfds(config: RunConfig, name: str) -> Dataset:
    """Records of a prepared data set of tensorflow_datasets, in --data-path if told.

    Its train split is trained on, its test or validation split held out.

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

    def read(kind: Any, split: str) -> tuple[list[Any], RowReport]:
        return readers.from_tfds(
            sources[split],
            kind,
            name=f"{name}/{split}",
            skip_bad_rows=config.skip_bad_rows,
            max_row_chars=config.max_row_chars,
        )

    splits = ("train", *held_out[:1])
    aside = tuple(sorted(set(sources) - set(splits)))
    single = any(readers.is_unpaired_row(row) for row in islice(sources["train"], 1))
    return from_splits(config, f"tfds:{name}", read, splits, False, single, aside)


def from_splits(
    config: RunConfig,
    name: str,
    read: Read,
    splits: Sequence[Any],
    ranked: bool,
    single: bool,
    left_aside: tuple[str, ...],
) -> Dataset:
    """The records of two stated splits; of a single one, split by prompt.

    Args:
      ranked: they are rankings.
      single: they are unpaired answers.
    """
    rule = HeldOutSplit(config.held_out, config.held_out_seed)
    reads: Accounts = {}

    def records(kind: Any) -> tuple[list[Any], list[Any]]:
        found = [read(kind, split) for split in splits]
        if len(found) == 2:
            return stated_split(name, kind, found, reads)
        return split_by_rule(name, kind, *found[0], rule, reads)

    rankings = functools.cache(lambda: records(Ranking))

    @functools.cache
    def preferences() -> tuple[list[Preference], list[Preference]]:
        return map_splits(pairs_of, rankings()) if ranked else records(Preference)

    return Dataset(
        name=name,
        context=512,
        vocab=4096,
        max_new_tokens=128,
        sft_steps=200,
        demonstrations=functools.cache(lambda: records(Demonstration)),
        prompts=functools.cache(lambda: records(Prompt)),
        preferences=preferences,
        rankings=rankings if ranked else None,
        unpaired=functools.cache(lambda: records(Unpaired)) if single else None,
        rule=rule,
        reads=reads,
        left_aside=left_aside,
    )
