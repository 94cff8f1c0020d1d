"""Which data set `--data` names."""

import dataclasses
import math
from pathlib import Path

from jaxalign.data.formats import dataset_folder, files
from jaxalign.data.schemas import public_datasets
from jaxalign.pipeline.datasets.builtin import gsm8k, hh_dialogues, stories, toy
from jaxalign.pipeline.datasets.dataset import Dataset
from jaxalign.pipeline.datasets.files import (
    from_path,
    from_tfds,
    mixture,
    with_held_out,
)
from jaxalign.runtime import hub
from jaxalign.runtime.config import RunConfig

NAMED = {"hh-rlhf": hh_dialogues, "stories": stories, "gsm8k": gsm8k}
# read as any file is, by their fields
PUBLISHED = ("alpaca", *public_datasets.PARSERS)


def load(config: RunConfig) -> Dataset:
    """The source that `--data` names.

    Raises:
      ValueError: a named data set without its --data-path.
      FileNotFoundError: neither a known name nor a path.
    """
    if config.held_out_data is not None:
        return held_out_from_file(config, config.held_out_data)
    name = config.data
    if "=" in name and not path_exists(name):
        return mixture([mixture_part(config, part) for part in name.split(",")], name)
    if name == "toy":
        return toy(config)
    if name.startswith("tfds:"):
        return from_tfds(config, name.removeprefix("tfds:"))
    if name in NAMED or name in PUBLISHED:
        if config.data_path is None:
            raise ValueError(f"--data {name} needs --data-path, where it lies")
        place = str(config.data_path)
        if not path_exists(place):
            raise FileNotFoundError(f"--data-path {place} does not exist")
        if name in NAMED:
            return NAMED[name](config, Path(place))
        return dataclasses.replace(from_path(config, place), name=name)
    name = hub.data_path(name)
    if not path_exists(name):
        known = ", ".join(("toy", *NAMED, *PUBLISHED, "tfds:NAME", "ORG/NAME"))
        raise FileNotFoundError(f"--data {name}: neither {known}, nor a file")
    return dataclasses.replace(from_path(config, name), name=config.data)


def held_out_from_file(config: RunConfig, file: str) -> Dataset:
    """The source that `--data` names, with the rows of a file held out.

    Of stories it is a text file, too.

    Raises:
      ValueError: a data set that states its own split, or a folder.
    """
    if config.data in ("toy", "hh-rlhf"):
        raise ValueError(
            f"--data {config.data} states its own held-out split: leave "
            "--held-out-data out"
        )
    system, at = files.file_system(file)
    if system.isdir(at):
        raise ValueError(f"--held-out-data {file} is a folder: name a file")
    every = dataclasses.replace(config, held_out_data=None, held_out=0.0)
    if config.data == "stories":
        test = stories(every, Path(file))
    else:
        test = from_path(every, file)
    return with_held_out(load(every), test)


def mixture_part(config: RunConfig, part: str) -> tuple[Dataset, float]:
    """A part of a mixture, `PATH=WEIGHT`."""
    path, _, weight = part.rpartition("=")
    try:
        share = float(weight)
    except ValueError:
        share = math.nan
    if not path or not (math.isfinite(share) and share > 0):
        raise ValueError(
            "--data wants PATH=WEIGHT,..., such as a.jsonl=0.7,b.jsonl=0.3, each "
            f"weight a finite number above 0; got {part!r}"
        )
    return load(dataclasses.replace(config, data=path)), share


def path_exists(path: str) -> bool:
    """Whether a path, of this machine or of a bucket, exists, or matches a file."""
    system, at = files.file_system(path)
    return bool(system.exists(at)) or (
        dataset_folder.is_pattern(path) and bool(system.glob(at))
    )
