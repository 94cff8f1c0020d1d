"""What a resumed run may take over: settings that did not change, and finished work.

A run's settings are those that change what it computes; the flags that do not are
marked `flags.resumable` where they are defined. `steps` is not, since the learning
rate's schedule is laid out over them: `--extend` allows another number, and the run
then says by how much the rate jumps.
Checkpoints hold the number itself, whichever flags and data it came of.
"""

import dataclasses
import json
import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import jax

from jaxalign.atomic_files import atomic_path

Rate = Callable[[int], Callable[[Any], jax.Array]]  # steps -> steps done -> rate


def to_json(config: Any) -> dict[str, Any]:
    """A configuration as JSON values."""
    settings: dict[str, Any] = json.loads(
        json.dumps(dataclasses.asdict(config), default=str)
    )
    return settings


def fixed_settings(
    settings: Mapping[str, Any], *, free: Collection[str]
) -> dict[str, Any]:
    """The settings that a resumed run may not change: all but those of `free`."""
    return {name: value for name, value in settings.items() if name not in free}


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file: all of it, or what was there stays."""
    with atomic_path(path) as part:
        part.write_text(json.dumps(value, indent=2))


def read_settings(folder: Path) -> dict[str, Any]:
    """What config.json says.

    Raises:
      ValueError: it is not there, or damaged.
    """
    purpose = f"with which flags {folder} was made"
    return read_object(folder / "config.json", purpose)


def read_object(path: Path, purpose: str) -> dict[str, Any]:
    """The JSON object in a file of a run's folder.

    Args:
      purpose: what cannot be known without the file, for the message.

    Raises:
      ValueError: it is not there, or damaged; one sentence, and what to do.
    """
    then = (
        f"so it cannot be known {purpose}: delete that folder to make it anew, or "
        "choose another --out"
    )
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        reason = "is not there" if not path.exists() else f"cannot be read: {error}"
        raise ValueError(f"{path} {reason}; {then}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} is not a JSON object; {then}")
    return found


def same_setting(saved: Any, now: Any, folders: tuple[Any, Any]) -> bool:
    """Whether two settings are equal, or paths to one place beside either folder.

    >>> same_setting("runs/a/sft/policy", "/b/sft/policy", ("runs/a/dpo", "/b/dpo"))
    True
    """
    if not (isinstance(saved, str) and isinstance(now, str) and all(folders)):
        return bool(saved == now)
    beside = [
        os.path.relpath(path, folder)
        for path, folder in zip((saved, now), folders, strict=True)
    ]
    return saved == now or (beside[0] == beside[1] and beside[0].startswith(".."))


def differences(
    folder: Path, settings: Mapping[str, Any], *, free: Collection[str]
) -> list[str]:
    """What config.json of a folder says otherwise than these settings.

    Args:
      settings: this run's, of `to_json`.
      free: names that may differ.

    Raises:
      ValueError: there is no config.json, or it is damaged.
    """
    there = read_settings(folder)
    saved, now = (fixed_settings(each, free=free) for each in (there, settings))
    folders = (there.get("out"), settings.get("out"))
    missing = "(absent)"
    return [
        f"--{name.replace('_', '-')} {saved.get(name, missing)!r} then, "
        f"{now.get(name, missing)!r} now"
        for name in sorted({*saved, *now})
        if not same_setting(saved.get(name, missing), now.get(name, missing), folders)
    ]


def check_settings(
    folder: Path, settings: Mapping[str, Any], *, free: Collection[str]
) -> None:
    """Refuses a folder that was made with other settings; see `differences`.

    Raises:
      ValueError: names the folder and each flag that differs, then and now.
    """
    differing = differences(folder, settings, free=free)
    if differing:
        raise ValueError(
            f"{folder} was made with other flags ({', '.join(differing)}): resume with "
            "the same, delete that folder and what was made from it, or choose "
            "another --out"
        )


@dataclasses.dataclass(frozen=True)
class Position:
    """Where a run stands: what its checkpoints hold beside the state.

    Attributes:
      done: steps done.
      total: steps of the whole run, over which the schedule is laid out.
      iterators: positions of the data iterators, by name.
      extras: other values of the loop, by name.
      skipped: steps that were not finite.
      last: the metrics of the step before.
    """

    done: int
    total: int
    iterators: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    extras: dict[str, Any] = dataclasses.field(default_factory=dict)
    skipped: int = 0
    last: dict[str, float] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, data: Any, iterators: Collection[str]) -> "Position":
        """The position that a checkpoint's data item holds.

        Args:
          iterators: the names of the loop's iterators.

        Raises:
          ValueError: it is of another form, or stands outside the run.
        """
        names = {field.name for field in dataclasses.fields(cls)}
        if not isinstance(data, dict) or set(data) != names:
            raise ValueError(f"its data item should hold {sorted(names)}")
        position = cls(**data)
        if not isinstance(position.extras, dict):
            raise ValueError("its extras should be an object")
        if not isinstance(position.iterators, dict) or (
            set(position.iterators) != set(iterators)
        ):
            raise ValueError(f"its iterators should be {sorted(iterators)}")
        counts = (position.done, position.total, position.skipped)
        if any(type(count) is not int or count < 0 for count in counts):
            raise ValueError(f"done, total and skipped are {counts}")
        if position.done > position.total:
            raise ValueError(f"{position.done} of {position.total} steps are done")
        return position


def describe_extension(
    saved: Position, total: int, rate: Rate, *, allowed: bool
) -> str:
    """Says how the learning rate jumps where a run goes on over another schedule.

    Args:
      rate: the schedule of a run of so many steps.
      allowed: whether --extend was given.

    Raises:
      ValueError: it was not, or more steps are done than the run should have.
    """
    if not allowed:
        raise ValueError(
            f"the run to resume has {saved.total} steps, and now should have {total}: "
            "its learning rate's schedule is laid out over them; resume with as many "
            "(--steps), or add --extend to go on over another schedule"
        )
    if total < saved.done:
        raise ValueError(
            f"{saved.done} steps are done, more than the {total} that the run should "
            "have: give it as many at least"
        )
    before, after = (float(rate(steps)(saved.done)) for steps in (saved.total, total))
    return (
        f"--extend: {total} steps rather than {saved.total}; at step {saved.done} the "
        f"learning rate jumps from {before:.4g} to {after:.4g}"
    )
