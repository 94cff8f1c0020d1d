"""Runs that are stopped within one process, and what they leave, byte for byte."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from experiments.run import Run
from tests import kill

# Files that say when, and how often, a run was started; and the caches of what a run
# was told, which do not depend on it.
LEFT_OUT = ("events.out.tfevents", "data.txt", "config.json")


class Stop(Exception):
    """A run that is stopped."""


@contextlib.contextmanager
def at_step(monkeypatch: pytest.MonkeyPatch, step: int) -> Iterator[None]:
    """Stops runs in a step, after its update and before it is logged."""
    log = Run.log

    def until(self: Run, at: int, *args: Any, **kwargs: Any) -> None:
        if at == step:
            raise Stop
        log(self, at, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "log", until)
        yield


@contextlib.contextmanager
def before_the_numbers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Stops runs once all is saved and exported but numbers.json."""

    def end(self: Run, numbers: Any) -> None:
        raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(Run, "finish", end)
        yield


def contents(folder: Path) -> dict[str, Any]:
    """All that a run left: the bytes of each file, and the last checkpoint's arrays."""
    found: dict[str, Any] = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and "checkpoints" not in path.parts
        and not path.name.startswith(LEFT_OUT)
    }
    last = folder / "checkpoints" / str(kill.steps(folder)[-1])
    found["checkpoints"] = {n: x.tobytes() for n, x in kill.arrays(folder).items()}
    for item in ("data", "config"):
        found[f"checkpoints/{item}"] = (last / item / "metadata").read_bytes()
    return found
