"""Ctrl-C on a command line: one KeyboardInterrupt, whose cleanup is not interrupted."""

import signal
import threading
from types import FrameType


class InterruptOnce:
    """A SIGINT handler that raises KeyboardInterrupt at the first Ctrl-C only."""

    def __init__(self) -> None:
        self.raised = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if not self.raised:
            self.raised = True
            raise KeyboardInterrupt

    def install(self) -> None:
        """Installs the handler; only the main thread has one."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self)
