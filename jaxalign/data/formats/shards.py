"""The splits of a data set in a folder, and the files (shards) of each.

train-00000-of-00002.parquet, train-00001-of-00002.parquet     numbered shards
train.00.jsonl, train.01.jsonl                                 without their number
train_prefs-00000-of-00001.parquet, test_prefs-...             splits of a kind
data/train-..., train/0000.parquet, default/train/0000.parquet a download from the hub
train/data-00000-of-00001.arrow + state.json                   of `save_to_disk`

What is ambiguous or missing is refused by name; what is left aside is said.
"""

import collections
import dataclasses
import json
import re
from collections.abc import Sequence

from jaxalign.data.formats import files
from jaxalign.data.formats.file_io import file_system, open_binary

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "eval": "validation",
    "evaluation": "validation",
}
HELD_OUT_SPLITS = ("test", "validation")  # the first that is there
# number, of how many, and what `datasets` or Spark append
SHARD_NUMBER = re.compile(
    r"(?:^|[-_.])(\d{1,9})(?:-of-(\d{1,9})(?:-[0-9a-f]{1,64})?)?"
    r"(?:-[0-9a-f]{16}|-[0-9a-f-]{36}(?:[-.]c\d+)?(?:\.\w+)?)?$"
)
MAX_DEPTH = 3  # folders below a folder that are looked through


@dataclasses.dataclass(frozen=True)
class Shard:
    """A file of a data set.

    Attributes:
      stem: its name, or that of the split's folder, in small letters and without the
        number and the ending.
      number: among the shards of its split.
      total: of the shards.
    """

    path: str
    stem: str
    number: int | None
    total: int | None

    @property
    def role(self) -> str:
        """train, test, validation, or nothing."""
        return next(
            (SPLIT_NAMES[word] for word in self.words if word in SPLIT_NAMES), ""
        )

    @property
    def kind(self) -> str:
        """What else the name says: prefs, of train_prefs."""
        return " ".join(word for word in self.words if word not in SPLIT_NAMES)

    @property
    def words(self) -> list[str]:
        """The words of the stem; a split's stands first or last."""
        words = [word for word in re.split(r"[-_. ]+", self.stem) if word]
        roles = [i for i, word in enumerate(words) if word in SPLIT_NAMES]
        return words if roles in ([0], [len(words) - 1]) else []


@dataclasses.dataclass(frozen=True)
class SplitFiles:
    """The files to train on, those that are held out, and the names left aside."""

    train: tuple[str, ...]
    held_out: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()


def find_splits(path: str) -> SplitFiles:
    """The splits of a folder, or of the files that a pattern such as dir/*_sft-* names.

    A single file is all for training. Where a data set has both a test and a validation
    split, test is held out.

    Raises:
      FileNotFoundError: there is no such file, or no training split.
      ValueError: names the files that no one split can be made of.
    """
    if is_pattern(path):
        found = match_pattern(path)
    elif not files.is_folder(path):
        files.file_ending(path)
        return SplitFiles((path,))
    else:
        found = list_split_files(path.rstrip("/"))
    if not found:
        raise FileNotFoundError(f"{path} holds no {', '.join(files.READERS)}")
    return group_splits(path, [parse_shard(each, path) for each in found])


def group_splits(path: str, shards: Sequence[Shard]) -> SplitFiles:
    """The splits that files make up.

    Raises:
      FileNotFoundError: there is no training split.
      ValueError: several kinds or formats of one, or a missing shard.
    """
    by_role: dict[str, dict[str, list[Shard]]] = collections.defaultdict(dict)
    for each in shards:
        by_role[each.role].setdefault(each.kind, []).append(each)
    if not any(by_role.get(role) for role in SPLIT_NAMES.values()):
        return SplitFiles(sort_shards(path, shards))
    if not by_role["train"]:
        raise FileNotFoundError(
            f"{path} holds no split for training, only {join_names(shards)}"
        )
    if len(by_role["train"]) > 1:
        several = [group[0] for group in by_role["train"].values()]
        raise ValueError(
            f"{path} holds {len(several)} kinds of training data, {join_names(several)}: "
            "name the files of one with a pattern, such as --data "
            f"'{suggest_pattern(path, several[-1])}'"
        )
    ((kind, train),) = by_role["train"].items()
    held_out: list[Shard] = []
    for role in HELD_OUT_SPLITS:
        if not held_out and kind in by_role[role]:
            held_out = by_role[role][kind]
    aside = [each for each in shards if each not in train and each not in held_out]
    return SplitFiles(
        sort_shards(path, train),
        sort_shards(path, held_out),
        tuple(map(file_name, aside)),
    )


def sort_shards(path: str, shards: Sequence[Shard]) -> tuple[str, ...]:
    """The files of a split in the order of their numbers.

    Raises:
      ValueError: two files claim one place, or a shard is missing.
    """
    stems = {(each.stem, files.file_ending(each.path)): each for each in shards}
    if len(stems) > 1:
        raise ambiguity_error(path, list(stems.values()))
    places: dict[int | None, Shard] = {}
    for each in shards:
        if each.number in places:
            raise ambiguity_error(path, [places[each.number], each])
        places[each.number] = each
    if None in places and len(places) > 1:
        raise ambiguity_error(path, shards)
    refuse_missing_shards(path, shards)
    return tuple(each.path for each in sorted(shards, key=lambda s: s.number or 0))


def ambiguity_error(path: str, shards: Sequence[Shard]) -> ValueError:
    """The error of files that claim one split."""
    return ValueError(
        f"{path}: {join_names(shards)} claim the same split: name one of them, or put "
        "the others elsewhere"
    )


def refuse_missing_shards(path: str, shards: Sequence[Shard]) -> None:
    """Refuses numbered shards that are not all there.

    Raises:
      ValueError: names those that are missing.
    """
    totals = {each.total: each for each in shards}
    numbers = {each.number for each in shards if each.number is not None}
    if len(totals) > 1:
        raise ambiguity_error(path, list(totals.values()))
    total = next(iter(totals), None)
    if total is None and len(numbers) < 2:  # or the number is part of a name
        return
    first = 0 if 0 in numbers or total not in (None, *numbers) else 1
    end = max(numbers) + 1 if total is None else total + first
    missing = sorted(set(range(first, min(end, 100_000))) - numbers)
    if missing or max(numbers) >= end:
        shown = ", ".join(map(str, missing[:5])) + ", ..." * (len(missing) > 5)
        fault = f"number {shown} is missing" if missing else "there are too many"
        raise ValueError(f"{path}: of the shards of {file_name(shards[0])}, {fault}")


def parse_shard(path: str, root: str) -> Shard:
    """A file, by its name and those of the folders below the root that it lies in."""
    inside = path.removeprefix(root.rstrip("/") + "/") if root else path
    *folders, name = inside.split("/")
    lower = name.lower()
    if tensorflow := re.search(r"-\d+-of-\d+$", lower):
        lower = lower[: tensorflow.start()]
    stem = lower.removesuffix(files.file_ending(lower)) + (tensorflow or [""])[0]
    number = SHARD_NUMBER.search(stem)
    words = stem[: number.start()] if number else stem
    stems = [folder.lower().partition(".")[0] for folder in folders]
    roles = [each for each in stems if each in SPLIT_NAMES]
    if roles and not any(word in SPLIT_NAMES for word in re.split(r"[-_.]", words)):
        words = roles[-1]
    total = number[2] if number else None
    return Shard(
        path,
        words.strip("-_."),
        int(number[1]) if number else None,
        int(total) if total else None,
    )


def list_split_files(folder: str, depth: int = 0) -> list[str]:
    """The files of a folder that may be a split's: its own, and those of its folders.

    Looked through are `data`, folders named after a split and, where nothing is found,
    the only other folder that holds something.

    Raises:
      ValueError: several folders hold something.
    """
    inside = files.list_folder(folder)
    if {"state.json", "dataset_info.json"} <= set(inside):
        return list_saved_dataset(folder)
    names = {n: f"{folder}/{n}" for n in sorted(inside, key=files.natural_sort_key)}
    found = [names[n] for n in names if files.is_data_file(n) and not inside[n]]
    folders = [n for n in names if inside[n] and not n.startswith(".")]
    below = {n: names[n] for n in folders if depth < MAX_DEPTH}
    for name, inner in below.items():
        if name == "data" or name.lower().partition(".")[0] in SPLIT_NAMES:
            found += list_split_files(inner, depth + 1)
    if found or depth:
        return found
    full = {
        name: each
        for name, inner in below.items()
        if (each := list_split_files(inner, 1))
    }
    if len(full) > 1:
        raise ValueError(
            f"{folder} holds several data sets, in {', '.join(full)}: name one, such "
            f"as {folder}/{min(full)}"
        )
    return next(iter(full.values()), [])


def list_saved_dataset(folder: str) -> list[str]:
    """The files of a folder that `save_to_disk` of `datasets` wrote, in their order.

    Raises:
      ValueError: its state.json is not as it should be.
    """
    state = f"{folder}/state.json"
    try:
        with open_binary(state) as file:
            told = json.loads(file.read(1 << 20))
        names = [each["filename"] for each in told["_data_files"]]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{state} does not name the files of a data set") from error
    if told.get("_indices_data_files"):
        raise ValueError(f"{folder} keeps rows apart from their order: save it again")
    inside = files.list_folder(folder)
    for name in names:
        if not isinstance(name, str) or name not in inside:
            raise ValueError(f"{state} names {name!r}, which {folder} does not hold")
    return [f"{folder}/{name}" for name in names]


def is_pattern(path: str) -> bool:
    """Whether a path stands for the files that it matches."""
    return "*" in path and not file_system(path)[0].exists(file_system(path)[1])


def match_pattern(pattern: str) -> list[str]:
    """The readable files that match a pattern."""
    system, at = file_system(pattern)
    found = [system.unstrip_protocol(each) for each in system.glob(at)]
    if "://" not in pattern:
        found = [each.removeprefix("file://") for each in found]
    return sorted(filter(files.is_data_file, found), key=files.natural_sort_key)


def join_names(shards: Sequence[Shard]) -> str:
    """The files' names, of many the first."""
    names = sorted(map(file_name, shards))
    return ", ".join(names[:4]) + ", ..." * (len(names) > 4)


def file_name(shard: Shard) -> str:
    """A file's name."""
    return shard.path.rpartition("/")[2]


def suggest_pattern(path: str, shard: Shard) -> str:
    """A pattern for the files of a shard's kind."""
    folder = path if is_pattern(path) else shard.path.rpartition("/")[0]
    return f"{folder}/*{shard.kind.replace(' ', '*')}*"
