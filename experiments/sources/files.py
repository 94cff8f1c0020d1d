"""Records in files of the user's own, and in data sets of tensorflow_datasets."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

from experiments.config import Shared
from experiments.sources.source import Source, both
from jaxalign.data import files, formats
from jaxalign.data.records import Demonstration, Preference, Prompt, Ranking, Report
from jaxalign.data.records import pairs as pairs_of

Read = Callable[[Any, str], tuple[list[Any], Report]]


def from_path(config: Shared, path: str) -> Source:
    """Records of a file, or of a folder with train.* and test.* files."""
    system, at = files.file_system(path)
    if not system.exists(at):
        raise FileNotFoundError(f"no such file: {path}")
    folder = system.isdir(at)

    def read(kind: Any, split: str) -> tuple[list[Any], Report]:
        file = one(path, split) if folder else path
        return formats.read(file, kind, skip_bad_rows=config.skip_bad_rows)

    ranked = formats.holds_rankings(one(path, "train") if folder else path)
    splits = ("train", "test") if folder else ("",)
    source = from_splits(path, read, splits, ranked)
    streams = [one(path, split) for split in splits] if folder else [path]
    return source if ranked else dataclasses.replace(source, streams=tuple(streams))


def mixture(parts: Sequence[tuple[Source, float]], name: str) -> Source:
    """Several sources as one; pairs are mixed by weights, all else put together."""

    def together(name: str) -> tuple[list[Any], list[Any]]:
        found = [getattr(part, name)() for part, _ in parts]
        return (
            [record for train, _ in found for record in train],
            [record for _, held_out in found for record in held_out],
        )

    sources = [part for part, _ in parts]
    return Source(
        name=name,
        context=max(part.context for part in sources),
        vocab=max(part.vocab for part in sources),
        max_new_tokens=max(part.max_new_tokens for part in sources),
        sft_steps=max(part.sft_steps for part in sources),
        demonstrations=lambda: [d for part in sources for d in part.demonstrations()],
        prompts=lambda: together("prompts"),
        preferences=lambda: together("preferences"),
        parts=tuple(parts),
    )


def from_tfds(config: Shared, name: str) -> Source:
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

    def read(kind: Any, split: str) -> tuple[list[Any], Report]:
        return formats.from_tfds(
            sources[split],
            kind,
            name=f"{name}/{split}",
            skip_bad_rows=config.skip_bad_rows,
        )

    return from_splits(f"tfds:{name}", read, ("train", *held_out[:1]), ranked=False)


def from_splits(name: str, read: Read, splits: tuple[str, ...], ranked: bool) -> Source:
    """The records of two splits; of a single one, every tenth record is held out."""

    def records(kind: Any) -> tuple[list[Any], list[Any]]:
        found = []
        for split in splits:
            part, report = read(kind, split)
            print(f"{name} {split}".rstrip() + f": {report}")
            found.append(part)
        if len(found) == 2:
            return found[0], found[1]
        (whole,) = found
        rest = [r for i, r in enumerate(whole) if i % 10 != 9]
        return rest, whole[9::10] or whole[-1:]

    rankings = functools.cache(lambda: records(Ranking))

    @functools.cache
    def preferences() -> tuple[list[Preference], list[Preference]]:
        return both(pairs_of, rankings()) if ranked else records(Preference)

    return Source(
        name=name,
        context=512,
        vocab=4096,
        max_new_tokens=128,
        sft_steps=200,
        demonstrations=functools.cache(lambda: records(Demonstration)[0]),
        prompts=functools.cache(lambda: records(Prompt)),
        preferences=preferences,
        rankings=rankings if ranked else None,
    )


def one(folder: str, split: str) -> str:
    """The file of a split.

    Raises:
      FileNotFoundError: there is none.
    """
    for found in files.files(folder):
        if found.rpartition("/")[2].partition(".")[0] == split:
            return found
    raise FileNotFoundError(
        f"{folder} holds no {split}.jsonl (or {', '.join(files.ENDINGS[1:])})"
    )
