"""Reports of steps that take too long."""

import sys
import threading
import time
import traceback
from collections.abc import Callable


class StallReporter:
    """Reports a step that takes too long, and the line that Python is executing.

    It ends nothing: a first step may compile for long. Its thread runs inside the
    context.
    """

    def __init__(self, seconds: float, report: Callable[[str], None]) -> None:
        """Args:

        seconds: time without progress before a report, and between reports; 0 for no
            reports.
        report: receives the line.
        """
        self.seconds = seconds
        self.report = report
        self.main = threading.get_ident()
        self.ended = threading.Event()
        self.task = "the first step"
        self.since = time.monotonic()

    def begin(self, task: str) -> None:
        """Records that a task begins now."""
        self.task = task
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
        """Compares the task's time with the limit until `stop`."""
        reported = self.since
        while not self.ended.wait(self.seconds / 4):
            reported = max(reported, self.since)
            if time.monotonic() - reported < self.seconds:
                continue
            reported = time.monotonic()
            frame = sys._current_frames().get(self.main)
            (line,) = traceback.extract_stack(frame, limit=1) or (None,)
            where = f"; Python is at {line.filename}:{line.lineno}" if line else ""
            self.report(
                f"{self.task} has taken {reported - self.since:.0f} s: it compiles, "
                f"computes, or waits for a file or another process{where}"
            )
