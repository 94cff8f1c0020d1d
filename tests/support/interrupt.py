"""Contexts in which runs raise `Stop` at chosen places, within the test's process."""

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from jaxalign.runtime.run import Run


class Stop(Exception):
    """Raised in a run to stop it."""


@contextlib.contextmanager
def stop_at_step(monkeypatch: pytest.MonkeyPatch, step: int) -> Iterator[None]:
    """Stops runs in a step, after its update and before it is logged."""
    log = Run.log

    def log_until(self: Run, at: int, *args: Any, **kwargs: Any) -> None:
        if at == step:
            raise Stop
        log(self, at, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "log", log_until)
        yield


@contextlib.contextmanager
def stop_before_numbers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Stops runs when everything but numbers.json is written."""

    def end(self: Run, numbers: Any) -> None:
        raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(Run, "finish", end)
        yield


@contextlib.contextmanager
def stop_each_stage_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Stops each stage once: in its second step, or without one before its end.

    Yields:
      The folders of the stopped stages, in order.
    """
    log, finish, stopped = Run.log, Run.finish, []

    def stop(run: Run) -> None:
        name = "/".join(run.folder.parts[-2:])
        if name not in stopped:
            stopped.append(name)
            raise Stop

    def log_until(self: Run, at: int, *args: Any, **kwargs: Any) -> None:
        if at == 1:
            stop(self)
        log(self, at, *args, **kwargs)

    def end(self: Run, numbers: Any) -> Any:
        stop(self)
        return finish(self, numbers)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "log", log_until)
        patch.setattr(Run, "finish", end)
        yield stopped
