"""SIGTERM and Ctrl-C during a run: a last checkpoint, then the end."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NoReturn

import jax
from jax.experimental import multihost_utils

from jaxalign.runtime import distributed


class PreemptionHandler:
    """Handles SIGTERM (the notice of preemption) and SIGINT (Ctrl-C) in a run.

    In a step, either is recorded: `Run.checkpoint` saves after the step and ends the
    run. A second Ctrl-C ends the step at once. Outside the loop there is nothing to
    save, and either ends the run at once. While files are being written, signals wait.

    Of many processes any may receive SIGTERM; JAX's preemption service then names the
    step after which all of them stop.

    Attributes:
      in_loop: whether a step is under way.
      requested: whether the run must stop after the step.
      interrupted: whether Ctrl-C requested it.
    """

    def __init__(self, announce: Callable[[str], None]) -> None:
        """Args:

        announce: shows what the first Ctrl-C does.
        """
        self.announce = announce
        self.in_loop = False
        self.requested = False
        self.interrupted = False
        self.writing = False
        self.previous: dict[int, Any] = {}  # handlers, by signal

    def install(self) -> None:
        """Installs the handlers; only the main thread has any."""
        main = threading.current_thread() is threading.main_thread()
        if main and jax.process_count() == 1:
            for number, handler in (
                (signal.SIGTERM, self.terminate),
                (signal.SIGINT, self.interrupt),
            ):
                self.previous[number] = signal.signal(number, handler)

    def restore(self) -> None:
        """Restores the previous handlers."""
        while self.previous:
            signal.signal(*self.previous.popitem())

    def terminate(self, number: int, frame: FrameType | None) -> None:
        """Handles SIGTERM.

        Raises:
          SystemExit: with 0, outside the loop.
        """
        self.requested = True
        if not (self.in_loop or self.writing):
            raise SystemExit(0)

    def interrupt(self, number: int, frame: FrameType | None) -> None:
        """Handles SIGINT.

        Raises:
          KeyboardInterrupt: outside the loop, or at the second Ctrl-C.
        """
        first = not self.interrupted
        self.requested = self.interrupted = True
        if self.writing:
            return
        if self.in_loop and first:
            self.announce("saves after this step; Ctrl-C again ends it at once")
            return
        previous = self.previous.get(number)
        if callable(previous):
            previous(number, frame)

    @contextlib.contextmanager
    def defer_signals(self) -> Iterator[None]:
        """A context in which signals are recorded only, since files are written."""
        self.writing = True
        try:
            yield
        finally:
            self.writing = False

    def should_stop(self, step: int) -> bool:
        """Whether the run must stop after this step.

        Every process calls it at every step: they agree on the step.
        """
        if jax.process_count() > 1:
            self.requested = bool(multihost_utils.reached_preemption_sync_point(step))
        return self.requested

    def stop(self, done: str) -> NoReturn:
        """Ends a run that was requested to stop, and says how to continue.

        Args:
          done: what the run has done, such as "saved after step 7".

        Raises:
          KeyboardInterrupt: after Ctrl-C.
          SystemExit: with 0, after SIGTERM.
        """
        if self.interrupted:
            error = KeyboardInterrupt()
            error.add_note(done)
            raise error
        distributed.print_line(f"preempted: {done}; continue with --resume")
        raise SystemExit(0)
