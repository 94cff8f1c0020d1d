"""Prompts that models are evaluated on."""

import dataclasses
from typing import Literal

from jaxalign.data.records import Prompt
from jaxalign.pipeline import datasets
from jaxalign.pipeline.evaluation.models import EvaluationConfig, run_config
from jaxalign.pipeline.prompts import cyclic_slice


@dataclasses.dataclass(frozen=True, kw_only=True)
class PromptFlags:
    """Flags that name prompts."""

    data: str
    """A file of prompts (JSON lines, CSV, Parquet ...; answers in it are references),
    toy, a published set (hh-rlhf, gsm8k, ...), tfds:NAME, or ORG/NAME of a hub."""
    data_path: str | None = None
    """Path of the named data set: local, or in a bucket (gs://, hf://datasets/...)."""
    split: Literal["auto", "all", "held_out", "train"] = "auto"
    """The prompts of the data set; auto: all of a file of one split, else the held-out
    ones."""
    prompts: int | None = None
    """At most so many prompts, the first; by default all (of toy 512)."""
    skip_bad_rows: bool = False
    """Skip and count malformed rows, rather than stop at the first."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PromptConfig(PromptFlags, EvaluationConfig):
    """Flags of programs that evaluate models on prompts."""


def load_dataset(config: PromptConfig) -> datasets.Dataset:
    """The data set that `--data` names; of a file without a stated split, all of it.

    A named data set has its held-out rows, which training leaves out by default.
    """
    settings = run_config(
        config,
        data=config.data,
        data_path=config.data_path,
        skip_bad_rows=config.skip_bad_rows,
    )
    if config.split == "auto" and not datasets.is_named(config.data):
        settings = dataclasses.replace(settings, held_out=0.0)
    return datasets.load(settings)


def load_prompts(
    config: PromptConfig, source: datasets.Dataset | None = None
) -> list[Prompt]:
    """The prompts that the flags name, in the order of the data.

    Args:
      source: the data set, where it is loaded already.

    Raises:
      ValueError: there are none, or a row is malformed (FILE:LINE, field).
      FileNotFoundError: no such data.
    """
    train, held_out = (source or load_dataset(config)).prompts()
    if config.split == "all":
        prompts = [*train, *held_out]
    elif config.split == "train" or (config.split == "auto" and not len(held_out)):
        prompts = train
    else:
        prompts = held_out
    if not len(prompts):
        raise ValueError(
            f"--data {config.data} has no prompts in its {config.split} split"
        )
    count = 512 if config.data == "toy" else len(prompts)
    return cyclic_slice(prompts, 0, config.prompts or count)
