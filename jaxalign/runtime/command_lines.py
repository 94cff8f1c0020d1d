"""The command that repeats a program: its flags that are not the defaults."""

import dataclasses
import shlex
from typing import Any

from jaxalign.runtime import flags


def config_command(config: Any, program: str) -> str:
    """The command line of a configuration, as a report shows it.

    Flags that change no number, such as --out, are left out.

    Args:
      config: a dataclass of flags.
      program: the module, such as `experiments.red_team`.
    """
    # more seeds continue a run, and are other numbers all the same
    free = flags.resumable_fields(type(config)) - {"seeds"}
    parts = ["python", "-m", program]
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if value == field.default or field.name in free or value is None:
            continue
        flag = "--" + field.name.replace("_", "-")
        if isinstance(value, bool):
            parts.append(flag if value else f"--no-{flag[2:]}")
        elif isinstance(value, tuple):
            parts += [flag, *map(str, value)]
        else:
            parts += [flag, str(value)]
    return shlex.join(parts)
