"""Splits of a data set and the files (shards) of each, by the names of the files.

train-00000-of-00002.parquet, train-00001-of-00002.parquet     numbered shards
train.00.jsonl, train.01.jsonl                                 without a total
train_prefs-00000-of-00001.parquet, test_prefs-...             splits of a kind
data/train-..., train/0000.parquet, default/train/0000.parquet a download from the hub
train/data-00000-of-00001.arrow + state.json                   `save_to_disk`

Ambiguous or missing files raise an error that names them; unused files are reported.
"""

import collections
import dataclasses
import re
from collections.abc import Sequence

from jaxalign.data.formats import files
from jaxalign.data.formats.dataset_folder import (
    SPLIT_NAMES,
    is_pattern,
    list_split_files,
    match_pattern,
)

HELD_OUT_SPLITS = ("test", "validation")  # the first one of these that exists
# number, total, and the hashes that `datasets` or Spark append
SHARD_NUMBER = re.compile(
    r"(?:^|[-_.])(\d{1,9})(?:-of-(\d{1,9})(?:-[0-9a-f]{1,64})?)?"
    r"(?:-[0-9a-f]{16}|-[0-9a-f-]{36}(?:[-.]c\d+)?(?:\.\w+)?)?$"
)


@dataclasses.dataclass(frozen=True)
class Shard:
    """A file of a data set.

    Attributes:
      path: the file.
      stem: lower-case file name without number and ending, or the name of the folder of
        the split.
      number: number of the shard in its split, or None.
      total: number of shards of the split, or None.
    """

    path: str
    stem: str
    number: int | None
    total: int | None

    @property
    def split(self) -> str:
        """train, test, validation, or "" if the stem names no split."""
        return next((SPLIT_NAMES[w] for w in self.words if w in SPLIT_NAMES), "")

    @property
    def kind(self) -> str:
        """The stem without the split: prefs for train_prefs."""
        return " ".join(word for word in self.words if word not in SPLIT_NAMES)

    @property
    def words(self) -> list[str]:
        """Words of the stem; none if it does not begin or end with the only split."""
        words = [word for word in re.split(r"[-_. ]+", self.stem) if word]
        splits = [i for i, word in enumerate(words) if word in SPLIT_NAMES]
        return words if splits in ([0], [len(words) - 1]) else []


@dataclasses.dataclass(frozen=True)
class SplitFiles:
    """Files of the training and of the held-out split, and names of unused files."""

    train: tuple[str, ...]
    held_out: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()


def find_splits(path: str) -> SplitFiles:
    """Find the splits of a folder, or of the files that match a pattern (dir/*_sft-*).

    A single file is a training split. Of a test and a validation split, test is held
    out.

    Raises:
      FileNotFoundError: no such file, or no training split.
      ValueError: ambiguous or missing files; names them.
    """
    if is_pattern(path):
        paths = match_pattern(path)
    elif not files.is_folder(path):
        files.file_ending(path)
        return SplitFiles((path,))
    else:
        paths = list_split_files(path.rstrip("/"))
    if not paths:
        raise FileNotFoundError(f"{path} holds no {', '.join(files.READERS)}")
    return group_splits(path, [parse_shard(file, path) for file in paths])


def group_splits(path: str, shards: Sequence[Shard]) -> SplitFiles:
    """Group the shards of a data set into its training and its held-out split.

    Args:
      path: name of the data set in error messages.

    Raises:
      FileNotFoundError: no training split.
      ValueError: several kinds or formats of one split, or a missing shard.
    """
    by_split: dict[str, dict[str, list[Shard]]] = collections.defaultdict(dict)
    for shard in shards:
        by_split[shard.split].setdefault(shard.kind, []).append(shard)
    if not any(by_split.get(split) for split in SPLIT_NAMES.values()):
        return SplitFiles(sort_shards(path, shards))
    if not by_split["train"]:
        raise FileNotFoundError(
            f"{path} holds no training split, only {join_names(shards)}"
        )
    if len(by_split["train"]) > 1:
        examples = [group[0] for group in by_split["train"].values()]
        raise ValueError(
            f"{path} holds {len(examples)} kinds of training data, "
            f"{join_names(examples)}: select one with a pattern, such as --data "
            f"'{suggest_pattern(path, examples[-1])}'"
        )
    ((kind, train),) = by_split["train"].items()
    held_out: list[Shard] = []
    for split in HELD_OUT_SPLITS:
        if not held_out and kind in by_split[split]:
            held_out = by_split[split][kind]
    unused = [s for s in shards if s not in train and s not in held_out]
    return SplitFiles(
        sort_shards(path, train),
        sort_shards(path, held_out),
        tuple(map(file_name, unused)),
    )


def sort_shards(path: str, shards: Sequence[Shard]) -> tuple[str, ...]:
    """Files of one split in the order of their numbers.

    Raises:
      ValueError: two files with one number, or a missing shard.
    """
    stems = {(shard.stem, files.file_ending(shard.path)): shard for shard in shards}
    if len(stems) > 1:
        raise ambiguity_error(path, list(stems.values()))
    by_number: dict[int | None, Shard] = {}
    for shard in shards:
        if shard.number in by_number:
            raise ambiguity_error(path, [by_number[shard.number], shard])
        by_number[shard.number] = shard
    if None in by_number and len(by_number) > 1:
        raise ambiguity_error(path, shards)
    refuse_missing_shards(path, shards)
    return tuple(s.path for s in sorted(shards, key=lambda s: s.number or 0))


def ambiguity_error(path: str, shards: Sequence[Shard]) -> ValueError:
    """The error of several files that may all be the same split."""
    return ValueError(
        f"{path}: {join_names(shards)} may all be the same split: name one of them, or "
        "move the others"
    )


def refuse_missing_shards(path: str, shards: Sequence[Shard]) -> None:
    """Refuse numbered shards of which some are missing.

    Raises:
      ValueError: names the missing numbers.
    """
    totals = {shard.total: shard for shard in shards}
    numbers = {shard.number for shard in shards if shard.number is not None}
    if len(totals) > 1:
        raise ambiguity_error(path, list(totals.values()))
    total = next(iter(totals), None)
    if total is None and len(numbers) < 2:  # the number may be a part of the name
        return
    first = 0 if 0 in numbers or total not in (None, *numbers) else 1
    end = max(numbers) + 1 if total is None else total + first
    missing = sorted(set(range(first, min(end, 100_000))) - numbers)
    if missing or max(numbers) >= end:
        shown = ", ".join(map(str, missing[:5])) + ", ..." * (len(missing) > 5)
        fault = f"number {shown} is missing" if missing else "there are too many"
        raise ValueError(f"{path}: of the shards of {file_name(shards[0])}, {fault}")


def parse_shard(path: str, root: str) -> Shard:
    """Parse the name of a file, and those of its folders below `root`."""
    inner = path.removeprefix(root.rstrip("/") + "/") if root else path
    *folders, name = inner.split("/")
    lower = name.lower()
    # TensorFlow appends the number to the ending
    if suffix := re.search(r"-\d+-of-\d+$", lower):
        lower = lower[: suffix.start()]
    stem = lower.removesuffix(files.file_ending(lower)) + (suffix or [""])[0]
    number = SHARD_NUMBER.search(stem)
    words = stem[: number.start()] if number else stem
    folder_names = [folder.lower().partition(".")[0] for folder in folders]
    split_folders = [folder for folder in folder_names if folder in SPLIT_NAMES]
    if split_folders and not any(w in SPLIT_NAMES for w in re.split(r"[-_.]", words)):
        words = split_folders[-1]
    total = number[2] if number else None
    return Shard(
        path,
        words.strip("-_."),
        int(number[1]) if number else None,
        int(total) if total else None,
    )


def join_names(shards: Sequence[Shard]) -> str:
    """Names of the first four files."""
    names = sorted(map(file_name, shards))
    return ", ".join(names[:4]) + ", ..." * (len(names) > 4)


def file_name(shard: Shard) -> str:
    """Name of a file without its folders."""
    return shard.path.rpartition("/")[2]


def suggest_pattern(path: str, shard: Shard) -> str:
    """A pattern for the files of a shard's kind."""
    folder = path if is_pattern(path) else shard.path.rpartition("/")[0]
    return f"{folder}/*{shard.kind.replace(' ', '*')}*"
