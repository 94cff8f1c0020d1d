"""Which data set `--data` names."""

from pathlib import Path

from experiments.config import Shared
from experiments.sources.files import from_path
from experiments.sources.named import hh_dialogues, stories, toy
from experiments.sources.source import Source


def load(config: Shared) -> Source:
    """The source that `--data` names.

    Raises:
      ValueError: a named data set without its --data-path.
      FileNotFoundError: neither a known name nor a path.
    """
    if config.data == "toy":
        return toy(config)
    if config.data in ("hh-rlhf", "stories"):
        if config.data_path is None:
            raise ValueError(f"--data {config.data} needs --data-path, where it lies")
        if not config.data_path.exists():
            raise FileNotFoundError(f"--data-path {config.data_path} does not exist")
        named = hh_dialogues if config.data == "hh-rlhf" else stories
        return named(config, config.data_path)
    path = Path(config.data)
    if not path.exists():
        raise FileNotFoundError(
            f"--data {config.data}: neither toy, hh-rlhf or stories, nor a file"
        )
    return from_path(config, path)
