"""The grid of a sweep: values of flags, and the command of each run.

A run is a program with the sweep's common flags, a value for each varied field, and a
seed; its folder is named by these, such as `beta=0.1,seed=0`.
"""

import contextlib
import dataclasses
import io
import itertools
import re
import shlex
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxalign import messages
from jaxalign.runtime import cli, config_values, defaults, flags

RUN_FLAGS = ("out", "seed", "resume")  # flags of each run that the sweep sets


class SweepRun(NamedTuple):
    """A run of a sweep.

    Attributes:
      variant: the varied values, by field.
      seed: of the run.
      folder: of the run.
      arguments: the command line of its program.
      config: the configuration that the program would parse from it.
    """

    variant: dict[str, str]
    seed: int
    folder: Path
    arguments: list[str]
    config: Any

    def command(self, program: str) -> str:
        """The command that runs it, for a shell."""
        return shlex.join(["python", "-m", f"experiments.{program}", *self.arguments])


def split_arguments(
    arguments: Sequence[str], config: type
) -> tuple[list[str], list[str]]:
    """A command line as the sweep's own arguments, and those of the program.

    A flag that is no field of `config`, and the words after it, are the program's; so
    is all that follows `--`. --config is the program's, unless it is the first word.

    >>> @dataclasses.dataclass
    ... class Sweep:
    ...     seeds: int = 1
    >>> split_arguments(["dpo", "--lora-rank", "8", "--seeds", "2"], Sweep)
    (['dpo', '--seeds', '2'], ['--lora-rank', '8'])
    """
    kind: Any = config
    names = {field.name for field in dataclasses.fields(kind)}
    own: list[str] = []
    theirs: list[str] = []
    target = own
    for i, word in enumerate(arguments):
        if word == "--":
            return own, theirs + list(arguments[i + 1 :])
        if word.startswith("--"):
            name = flag_name(word)
            is_own = name in names or name.removeprefix("no_") in names
            is_own |= name == "help" or (name == "config" and i == 0)
            target = own if is_own else theirs
        target.append(word)
    return own, theirs


def flag_name(word: str) -> str:
    """The field of a flag such as `--lora-rank=8`."""
    return word.removeprefix("--").partition("=")[0].replace("-", "_")


def parse_settings(settings: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The values of each varied field, from texts such as `beta=0.1,0.3`.

    Raises:
      ValueError: no `FIELD=VALUE,...`, or a field or value that comes twice.

    >>> parse_settings(["beta=0.1,0.3", "loss=dpo,ipo"])
    {'beta': ('0.1', '0.3'), 'loss': ('dpo', 'ipo')}
    """
    values: dict[str, tuple[str, ...]] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        name = name.removeprefix("--").replace("-", "_")
        parts = tuple(part.strip() for part in text.split(","))
        if not equals or not name or not all(parts):
            raise ValueError(
                f"--set {setting!r}: expected FIELD=VALUE,VALUE,..., such as "
                "beta=0.1,0.3"
            )
        if name in values:
            raise ValueError(f"--set {name} is there twice: give all its values once")
        if len({variant_name({name: part}) for part in parts}) < len(parts):
            raise ValueError(f"--set {setting!r} has a value twice")
        values[name] = parts
    return values


def variants(values: Mapping[str, Sequence[str]]) -> list[dict[str, str]]:
    """All combinations of the values; the last field varies fastest."""
    return [
        dict(zip(values, each, strict=True))
        for each in itertools.product(*values.values())
    ]


def variant_name(variant: Mapping[str, object]) -> str:
    """The name of a run's folder; characters that paths have otherwise become `_`.

    >>> variant_name({"beta": "0.1", "model": "runs/sft", "seed": 0})
    'beta=0.1,model=runs_sft,seed=0'
    """
    safe = lambda value: re.sub(r"[^A-Za-z0-9._+-]", "_", str(value))
    return ",".join(f"{name}={safe(value)}" for name, value in variant.items())


def make_runs(
    kind: Any,
    common: Sequence[str],
    values: Mapping[str, Sequence[str]],
    *,
    seeds: Sequence[int],
    out: Path,
) -> list[SweepRun]:
    """The runs of a sweep: all variants with the first seed, then with the next.

    Args:
      kind: the configuration class of the program.
      common: flags of the program that all runs have.
      values: of each varied field.
      out: the sweep's folder.

    Raises:
      ValueError: an unknown field, or a value of another type or range.
      SystemExit: tyro has shown what is wrong with the common flags.
    """
    check_fields(kind, common, values)
    with flags.prefix_errors("flags of each run"):
        cli.parse_arguments(kind, common, f"python -m {kind.__module__}")
    for name, texts in values.items():
        for text in texts:  # one by one, so that a message names the value
            parse_value(kind, common, {name: text})
    runs = []
    for seed, variant in itertools.product(seeds, variants(values)):
        folder = out / variant_name(variant | {"seed": seed})
        arguments = [*common, *setting_flags(kind, variant), "--seed", str(seed)]
        arguments += ["--out", str(folder), "--resume"]
        config = defaults.resolve(parse_value(kind, arguments, variant))
        runs.append(SweepRun(variant, seed, folder, arguments, config))
    return runs


def check_fields(
    kind: Any, common: Sequence[str], values: Mapping[str, Sequence[str]]
) -> None:
    """Refuses fields that the program does not have, or that are set in two ways.

    Raises:
      ValueError: names the field.
    """
    fields = [field.name for field in dataclasses.fields(kind) if field.init]
    given = {flag_name(word) for word in common if word.startswith("--")}
    for name in values:
        if name in RUN_FLAGS:
            advice = "--seeds varies it" if name == "seed" else "each run has its own"
            raise ValueError(f"--set {name} is not possible: {advice}")
        if name not in fields:
            raise ValueError(f"--set: {messages.unknown_name('field', name, fields)}")
        if name in given:
            raise ValueError(
                f"--{name.replace('_', '-')} is a flag of all runs, and varied by "
                "--set: leave one of them out"
            )
    for name in sorted(given.intersection(RUN_FLAGS)):
        raise ValueError(f"--{name} of the runs is set by the sweep: leave it out")


def setting_flags(kind: Any, variant: Mapping[str, str]) -> list[str]:
    """The flags that set a variant's values.

    Raises:
      ValueError: a value of a switch that is not true or false.
    """
    hints = typing.get_type_hints(kind)
    words = []
    for name, text in variant.items():
        flag = name.replace("_", "-")
        if hints[name] is bool:
            if text.lower() not in ("true", "false"):
                raise ValueError(f"--set {name}={text}: expected true or false")
            words.append(f"--{flag}" if text.lower() == "true" else f"--no-{flag}")
        else:
            words += [f"--{flag}", text]
    return words


def parse_value(kind: Any, arguments: Sequence[str], variant: Mapping[str, str]) -> Any:
    """The configuration of a command line with the values of a variant.

    Raises:
      ValueError: a value of another type, or out of range; names the values.
    """
    words = [*arguments, *setting_flags(kind, variant)]
    hints = typing.get_type_hints(kind)
    shown = " ".join(f"--set {name}={text}" for name, text in variant.items())
    try:
        with contextlib.redirect_stderr(io.StringIO()), flags.prefix_errors(shown):
            return cli.parse_arguments(kind, words)
    except SystemExit as error:
        expected = ", ".join(config_values.describe(hints[name]) for name in variant)
        raise ValueError(f"{shown}: expected {expected}") from error
