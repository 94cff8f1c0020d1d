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


class Notice:
    """SIGTERM, the notice of preemption: the step under way is finished and saved.

    Of many processes any may be told; JAX's preemption service then names the step
    after which all of them stop. Use as a context manager.
    """

    def __init__(self) -> None:
        self.told = False
        self.waiting = False  # for the end of a step; or else there is nothing to save
        self.before: Any = None

    def __enter__(self) -> "Notice":
        self.mine = jax.process_count() == 1 and (
            threading.current_thread() is threading.main_thread()
        )
        if self.mine:
            self.before = signal.signal(signal.SIGTERM, self.take)
        return self

    def __exit__(self, *_: object) -> None:
        if self.mine:
            signal.signal(signal.SIGTERM, self.before)

    def take(self, number: int, frame: FrameType | None) -> None:
        """Remembers the signal until the step is done, or ends the run at once."""
        if not self.waiting:
            raise SystemExit(0)
        self.told = True

    def reached(self, step: int) -> bool:
        """Whether the run is to stop after this step; ask at each, on every process."""
        if jax.process_count() > 1:
            self.told = bool(multihost_utils.reached_preemption_sync_point(step))
        return self.told


class Watchdog:
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

    def __enter__(self) -> "Watchdog":
        if self.seconds > 0:
            threading.Thread(target=self.watch, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
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
