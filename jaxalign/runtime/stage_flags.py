"""Flags that a pipeline sets for its stages: given for one stage, they do not count."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from jaxalign.runtime.config import RunConfig

SHARED = (
    *("seed", "liked", "data_path", "context", "overlong", "skip_bad_rows"),
    *("held_out", "held_out_seed", "mesh", "dtype", "remat"),
    *("keep_special_tokens", "template_date"),
    *("compilation_cache", "log"),
)
# of a stage in config.yaml: flags that the pipeline sets
REPLACED = (*SHARED, "model", "data", "held_out_data")
INPUTS = ("model", "data", "out", "resume")  # what the pipeline passes on


def has_effect(name: str) -> bool:
    """Whether a flag of a stage, by its field's name, changes what the stage does."""
    return name not in SHARED and name not in INPUTS


def refuse_without_effect(kind: type, names: Iterable[str]) -> None:
    """Refuses flags of stages that the pipeline sets itself.

    Args:
      kind: a program's configuration; only pipelines have such flags.
      names: of the flags that are given, as fields: `ppo.beta`.

    Raises:
      ValueError: names the flag, and what to give in its place.
    """
    if not issubclass(kind, RunConfig):
        return
    for name in names:
        stage, dot, field = name.rpartition(".")
        if dot and not has_effect(field):
            flag = f"--{name}".replace("_", "-")
            reason = "the pipeline passes it on from stage to stage"
            if field in SHARED:
                own = f"--{field}".replace("_", "-")
                reason = f"all stages have the pipeline's {own}"
            raise ValueError(f"{flag} has no effect: {reason}; leave it out")


def flag_names(words: Iterable[str]) -> Iterator[str]:
    """The fields of the flags of a command line.

    >>> list(flag_names(["--ppo.kl-target=3", "--no-resume", "x", "--ppo.no-resume"]))
    ['ppo.kl_target', 'resume', 'ppo.resume']
    """
    for word in words:
        if word.startswith("--"):
            flag = word[2:].partition("=")[0].replace("-", "_")
            outer, dot, last = flag.rpartition(".")
            yield f"{outer}{dot}{last.removeprefix('no_')}"


def value_names(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """The fields of a file's values, those of inner configurations with dots."""
    for name, value in values.items():
        field = f"{prefix}{str(name).replace('-', '_')}"
        if isinstance(value, Mapping):
            yield from value_names(value, f"{field}.")
        else:
            yield field
