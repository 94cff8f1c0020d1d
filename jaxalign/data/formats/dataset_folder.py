"""Files of a data set: in a folder in a common layout, or matching a pattern."""

import json

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
MAX_DEPTH = 3  # levels of folders to search


def is_split_folder(name: str) -> bool:
    """Whether the name of a folder is that of a split, such as train or test.v2."""
    return name.lower().partition(".")[0] in SPLIT_NAMES


def list_split_files(folder: str, depth: int = 0) -> list[str]:
    """Data files of a folder, and of the folders in it that belong to its data set.

    These are `data`, the folders named after a split and, if all of them are empty, the
    only other folder that has data files.

    Args:
      depth: level of the folder below the data set's.

    Raises:
      ValueError: several other folders have data files.
    """
    entries = files.list_folder(folder)
    if {"state.json", "dataset_info.json"} <= set(entries):
        return list_saved_dataset(folder)
    paths = {n: f"{folder}/{n}" for n in sorted(entries, key=files.natural_sort_key)}
    data_files = [
        p for n, p in paths.items() if files.is_data_file(n) and not entries[n]
    ]
    folders = [n for n in paths if entries[n] and not n.startswith(".")]
    subfolders = {n: paths[n] for n in folders if depth < MAX_DEPTH}
    for name, path in subfolders.items():
        if name == "data" or is_split_folder(name):
            data_files += list_split_files(path, depth + 1)
    if data_files or depth:
        return data_files
    contents = {name: list_split_files(path, 1) for name, path in subfolders.items()}
    nonempty = {name: paths for name, paths in contents.items() if paths}
    if len(nonempty) > 1:
        raise ValueError(
            f"{folder} holds several data sets, in {', '.join(nonempty)}: name one, "
            f"such as {folder}/{min(nonempty)}"
        )
    return next(iter(nonempty.values()), [])


def list_saved_dataset(folder: str) -> list[str]:
    """Files of a folder that `save_to_disk` of `datasets` wrote, in their order.

    Raises:
      ValueError: state.json is malformed, names a missing file, or reorders the rows.
    """
    state_path = f"{folder}/state.json"
    try:
        with open_binary(state_path) as file:
            state = json.loads(file.read(1 << 20))
        names = [entry["filename"] for entry in state["_data_files"]]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(
            f"{state_path} does not name the files of a data set"
        ) from error
    if state.get("_indices_data_files"):
        raise ValueError(
            f"{folder} stores the order of its rows apart from the rows: save it again "
            "after `flatten_indices()`"
        )
    entries = files.list_folder(folder)
    for name in names:
        if not isinstance(name, str) or name not in entries:
            raise ValueError(f"{state_path} names {name!r}, which is not in {folder}")
    return [f"{folder}/{name}" for name in names]


def is_pattern(path: str) -> bool:
    """Whether a path is a pattern such as dir/*_sft-*, and not a file of that name."""
    if "*" not in path:
        return False
    system, inner = file_system(path)
    return not system.exists(inner)


def match_pattern(pattern: str) -> list[str]:
    """Data files that match a pattern, in natural order of names."""
    system, inner = file_system(pattern)
    paths = [system.unstrip_protocol(path) for path in system.glob(inner)]
    if "://" not in pattern:
        paths = [path.removeprefix("file://") for path in paths]
    return sorted(filter(files.is_data_file, paths), key=files.natural_sort_key)
