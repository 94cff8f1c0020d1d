"""Data sets by the name that `--data` gives: a table of names and their loaders."""

import dataclasses
import math
from collections.abc import Callable

from jaxalign.data.formats import dataset_folder, files
from jaxalign.data.schemas import public_datasets
from jaxalign.feedback import store
from jaxalign.pipeline.datasets.builtin import gsm8k, hh_dialogues, stories, toy
from jaxalign.pipeline.datasets.dataset import Dataset
from jaxalign.pipeline.datasets.files import (
    from_path,
    from_tfds,
    mixture,
    with_held_out,
)
from jaxalign.pipeline.datasets.study import from_study
from jaxalign.runtime import hub
from jaxalign.runtime.config import RunConfig


def from_named_path(config: RunConfig, path: str) -> Dataset:
    """The data set of a path, under the name that `--data` gives."""
    return dataclasses.replace(from_path(config, path), name=config.data)


# in the file or folder --data-path; public sets are read by the fields of their rows
AT_DATA_PATH: dict[str, Callable[[RunConfig, str], Dataset]] = {
    "hh-rlhf": hh_dialogues,
    "stories": stories,
    "gsm8k": gsm8k,
    "alpaca": from_named_path,
    **dict.fromkeys(public_datasets.PARSERS, from_named_path),
}
STATES_SPLIT = ("toy", "hh-rlhf")


def load(config: RunConfig) -> Dataset:
    """The data set that `--data` names, with --held-out-data held out of it.

    Raises:
      ValueError: a named data set without its --data-path.
      FileNotFoundError: neither a known name nor a path.
    """
    if config.held_out_data is not None:
        return held_out_from_file(config, config.held_out_data)
    name = config.data
    if name == "toy":
        return toy(config)
    if name in AT_DATA_PATH:
        return AT_DATA_PATH[name](config, existing_data_path(config))
    if name.startswith("tfds:"):
        return from_tfds(config, name.removeprefix("tfds:"))
    if "=" in name and not path_exists(name):
        return mixture([mixture_part(config, part) for part in name.split(",")], name)
    path = hub.data_path(name)
    if not path_exists(path):
        known = ", ".join(("toy", *AT_DATA_PATH, "tfds:NAME", "ORG/NAME"))
        raise FileNotFoundError(f"--data {path}: neither {known}, nor a file")
    if store.is_study(path):
        return dataclasses.replace(from_study(config, path), name=config.data)
    return from_named_path(config, path)


def is_named(data: str) -> bool:
    """Whether `--data` is the name of a data set, rather than of a file or a hub's."""
    return data == "toy" or data in AT_DATA_PATH


def existing_data_path(config: RunConfig) -> str:
    """The path of a named data set.

    Raises:
      ValueError: there is no --data-path.
      FileNotFoundError: it does not exist.
    """
    if config.data_path is None:
        raise ValueError(f"--data {config.data} needs --data-path, where it lies")
    path = str(config.data_path)
    if not path_exists(path):
        raise FileNotFoundError(f"--data-path {path} does not exist")
    return path


def held_out_from_file(config: RunConfig, file: str) -> Dataset:
    """The data set that `--data` names, with the rows of a file held out.

    For stories the file is a text file, too.

    Raises:
      ValueError: a data set that states its own split, or a folder.
    """
    if config.data in STATES_SPLIT:
        raise ValueError(
            f"--data {config.data} states its own held-out split: leave "
            "--held-out-data out"
        )
    system, path = files.file_system(file)
    if system.isdir(path):
        raise ValueError(f"--held-out-data {file} is a folder: name a file")
    all_rows = dataclasses.replace(config, held_out_data=None, held_out=0.0)
    loader = stories if config.data == "stories" else from_path
    return with_held_out(load(all_rows), loader(all_rows, file))


def mixture_part(config: RunConfig, part: str) -> tuple[Dataset, float]:
    """A part of a mixture, `PATH=WEIGHT`, and its weight.

    Raises:
      ValueError: no path, or a weight that is not a finite number above 0.
    """
    path, _, text = part.rpartition("=")
    try:
        weight = float(text)
    except ValueError:
        weight = math.nan
    if not path or not (math.isfinite(weight) and weight > 0):
        raise ValueError(
            "--data takes PATH=WEIGHT,..., such as a.jsonl=0.7,b.jsonl=0.3, each "
            f"weight a finite number above 0; got {part!r}"
        )
    return load(dataclasses.replace(config, data=path)), weight


def path_exists(path: str) -> bool:
    """Whether a path of this machine or of a bucket exists, or a pattern matches."""
    system, at = files.file_system(path)
    return bool(system.exists(at)) or (
        dataset_folder.is_pattern(path) and bool(system.glob(at))
    )
