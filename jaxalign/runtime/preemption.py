"""What watches over a run: a notice that it must end, and steps that take too long."""

import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from types import FrameType
from typing import Any

import jax
from jax.experimental import multihost_utils


class PreemptionHandler:
    """Handles SIGTERM, the notice of preemption, by a last checkpoint.

    Any of many processes may receive it; JAX's preemption service then names the step
    after which all of them stop. Use as a context manager.

    Attributes:
      in_loop: whether a step is under way; otherwise SIGTERM ends the run at once,
        since there is nothing to save.
    """

    def __init__(self) -> None:
        self.in_loop = False
        self.requested = False
        self.installed = False
        self.previous: Any = None

    def __enter__(self) -> "PreemptionHandler":
        self.installed = jax.process_count() == 1 and (
            threading.current_thread() is threading.main_thread()
        )
        if self.installed:
            self.previous = signal.signal(signal.SIGTERM, self.handle)
        return self

    def __exit__(self, *_: object) -> None:
        if self.installed:
            signal.signal(signal.SIGTERM, self.previous)

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Records the signal until the step is done, or ends the run at once."""
        if not self.in_loop:
            raise SystemExit(0)
        self.requested = True

    def should_stop(self, step: int) -> bool:
        """Whether the run must stop after this step.

        Every process calls it at every step: they agree on the step.
        """
        if jax.process_count() > 1:
            self.requested = bool(multihost_utils.reached_preemption_sync_point(step))
        return self.requested


class StallReporter:
    """A thread that says when nothing has been done for too long, and where it hangs.

    It stops nothing: a first step may compile for long. Use as a context manager.
    """

    def __init__(self, seconds: float, say: Callable[[str], None]) -> None:
        """Args:

        seconds: without a sign of life after which it speaks, and again after as many;
            0 for never.
        say: shows a line.
        """
        self.seconds = seconds
        self.say = say
        self.main = threading.get_ident()
        self.ended = threading.Event()
        self.alive("the first step")

    def alive(self, doing: str) -> None:
        """A sign of life, and what is begun now."""
        self.doing = doing
        self.since = time.monotonic()

    def __enter__(self) -> "StallReporter":
        if self.seconds > 0:
            threading.Thread(target=self.watch, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Ends the thread."""
        self.ended.set()

    def watch(self) -> None:
        """Looks at the clock until the run ends."""
        told = self.since
        while not self.ended.wait(self.seconds / 4):
            told = max(told, self.since)
            if time.monotonic() - told < self.seconds:
                continue
            told = time.monotonic()
            frame = sys._current_frames().get(self.main)
            (where,) = traceback.extract_stack(frame, limit=1) or (None,)
            at = f"; Python is at {where.filename}:{where.lineno}" if where else ""
            self.say(
                f"{self.doing} has taken {told - self.since:.0f} s: it compiles, "
                f"computes, or waits for a file or another process{at}"
            )
