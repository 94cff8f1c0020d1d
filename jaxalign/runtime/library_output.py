"""Silences libraries, except for their warnings to users: one line each."""

import logging
import sys
import threading
import warnings
from typing import Any


def silence() -> None:
    """Turns off libraries' error logs and the traces of their threads.

    What ends a thread that saves is raised in the run as well. Set JAXALIGN_TRACEBACK=1
    to see all of it: `cli.run_command` then does not call this.
    """
    for name in ("absl", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    sys.unraisablehook = lambda _: None
    threading.excepthook = lambda _: None
    warnings.showwarning = show_warning


def show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: Any = None,
    line: str | None = None,
) -> None:
    """Prints a warning as one line; drops warnings that are meant for programmers."""
    if not issubclass(category, DeprecationWarning | FutureWarning | ResourceWarning):
        text = " ".join(str(message).split())
        print(f"warning: {text}", file=sys.stderr, flush=True)
