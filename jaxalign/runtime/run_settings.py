"""The flags of a run in its folder, and which of them a resumed run may change.

Flags that do not change what a run computes are marked `flags.resumable` where they are
defined; all others must be the same when a run is resumed. `steps` is not resumable,
since the learning rate's schedule is laid out over them: --extend allows another
number, and the run then shows by how much the rate jumps.
"""

import dataclasses
import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from jaxalign.atomic_files import atomic_path


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
    """Writes a JSON file completely, or leaves the previous file."""
    with atomic_path(path) as part:
        part.write_text(json.dumps(value, indent=2))


def read_settings(folder: Path) -> dict[str, Any]:
    """The settings in config.json.

    Raises:
      ValueError: the file is missing or damaged.
    """
    return read_object(folder / "config.json", f"with which flags {folder} was made")


def read_object(path: Path, purpose: str) -> dict[str, Any]:
    """The JSON object in a file of a run's folder.

    Args:
      purpose: what is unknown without the file, for the message.

    Raises:
      ValueError: the file is missing or damaged; one sentence with a remedy.
    """
    remedy = (
        f"so it is unknown {purpose}: delete that folder to make it again, or choose "
        "another --out"
    )
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        reason = "is missing" if not path.exists() else f"cannot be read: {error}"
        raise ValueError(f"{path} {reason}; {remedy}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} is not a JSON object; {remedy}")
    return value


def same_setting(saved: Any, now: Any, folders: tuple[Any, Any]) -> bool:
    """Whether two settings are equal, or paths to one place relative to their folders.

    >>> folders = ("runs/a/dpo", "/b/dpo")
    >>> same_setting("runs/a/sft/policy", "/b/sft/policy", folders)
    True
    >>> same_setting("", "", folders), same_setting("", "x", folders)
    (True, False)
    """
    texts = isinstance(saved, str) and isinstance(now, str) and saved and now
    if saved == now or not (texts and all(folders)):
        return bool(saved == now)
    relative = [
        os.path.relpath(path, folder)
        for path, folder in zip((saved, now), folders, strict=True)
    ]
    return relative[0] == relative[1] and relative[0].startswith("..")


def differences(
    folder: Path, settings: Mapping[str, Any], *, free: Collection[str]
) -> list[str]:
    """The flags that differ between a folder's config.json and these settings.

    Args:
      settings: of this run; see `to_json`.
      free: names that may differ.

    Returns:
      For each flag, a text such as "--batch 16 then, 8 now".

    Raises:
      ValueError: config.json is missing or damaged.
    """
    stored = read_settings(folder)
    saved, now = (fixed_settings(each, free=free) for each in (stored, settings))
    folders = (stored.get("out"), settings.get("out"))
    absent = "(absent)"
    return [
        f"--{name.replace('_', '-')} {saved.get(name, absent)!r} then, "
        f"{now.get(name, absent)!r} now"
        for name in sorted({*saved, *now})
        if not same_setting(saved.get(name, absent), now.get(name, absent), folders)
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
