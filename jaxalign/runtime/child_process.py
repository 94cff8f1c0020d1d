"""A child process that is run to its end; signals to this process go on to it."""

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

# what each signal goes on as: a terminal that is closed must not end a run unsaved
FORWARDED = {
    signal.SIGINT: signal.SIGINT,
    signal.SIGTERM: signal.SIGTERM,
    signal.SIGHUP: signal.SIGTERM,
}


class Ended(NamedTuple):
    """How a child process ended.

    Attributes:
      status: its exit status, minus a signal's number where that killed it.
      output: what it printed.
      received: the signals that this process received meanwhile.
    """

    status: int
    output: str
    received: tuple[int, ...]


def run(
    command: Sequence[str], log: Path, *, on_signal: Callable[[int], object]
) -> Ended:
    """Runs a command to its end; SIGINT, SIGTERM and SIGHUP go on to it.

    It has a session of its own, so that the terminal's Ctrl-C reaches it once, from
    here. In other threads than the main one nothing is forwarded.

    Args:
      log: a file for what it prints, which is appended.
      on_signal: called with each signal that goes on to it.
    """
    received: list[int] = []
    child: subprocess.Popen[bytes] | None = None

    def forward(number: int, frame: Any) -> None:
        received.append(number)
        if child is not None:
            child.send_signal(FORWARDED[signal.Signals(number)])
            on_signal(number)

    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file, signal_handler(forward):
        begin = file.tell()
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
            start_new_session=True,
        )
        for number in tuple(received):  # while it was being started
            child.send_signal(FORWARDED[signal.Signals(number)])
        status = child.wait()
    output = log.read_bytes()[begin:].decode(errors="replace")
    return Ended(status, output, tuple(received))


@contextlib.contextmanager
def signal_handler(handler: Callable[[int, Any], None]) -> Iterator[None]:
    """A context in which a handler has the signals of `FORWARDED`.

    One that this process ignores stays so (SIGHUP under nohup).
    """
    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in FORWARDED:
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
