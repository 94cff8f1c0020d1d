"""A child process: signals reach it once, what it prints is kept, and it is gone."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from jaxalign.runtime import child_process

# records the signals in a file, and ends at SIGTERM or at the second SIGINT
CHILD = """
import os, signal, sys, time
received = []
def record(number, frame):
    received.append(number)
    print("received", signal.Signals(number).name, flush=True)
    if received.count(signal.SIGINT) > 1 or number == signal.SIGTERM:
        sys.exit(7)
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, record)
print("pid", os.getpid(), flush=True)
time.sleep(60)
"""


def run_and_signal(log: Path, signals: list[int], shown: list[int] | None = None):
    """Runs CHILD, and sends this process a signal for each line that it prints."""

    def send():
        for count, number in enumerate(signals, 1):
            while not log.exists() or log.read_text().count("\n") < count:
                time.sleep(0.005)
            os.kill(os.getpid(), number)

    thread = threading.Thread(target=send)
    thread.start()
    on_signal = shown.append if shown is not None else lambda number: None
    ended = child_process.run([sys.executable, "-c", CHILD], log, on_signal=on_signal)
    thread.join()
    return ended


@pytest.mark.parametrize(
    "signals, received",
    [
        ([signal.SIGTERM], ["SIGTERM"]),
        ([signal.SIGHUP], ["SIGTERM"]),  # a closed terminal: it may save itself
        ([signal.SIGINT, signal.SIGINT], ["SIGINT", "SIGINT"]),
        ([signal.SIGINT, signal.SIGTERM], ["SIGINT", "SIGTERM"]),
    ],
)
def test_each_signal_reaches_it_once_and_it_is_gone(tmp_path, signals, received):
    before = [signal.getsignal(n) for n in child_process.FORWARDED]
    shown = []
    ended = run_and_signal(tmp_path / "logs" / "log", signals, shown)
    first, *lines = ended.output.splitlines()
    assert lines == [f"received {name}" for name in received]
    assert ended.status == 7 and list(ended.received) == signals == shown
    with pytest.raises(ProcessLookupError):
        os.kill(int(first.split()[1]), 0)
    assert before == [signal.getsignal(n) for n in child_process.FORWARDED]


def test_a_log_is_appended_and_only_the_new_part_is_returned(tmp_path):
    log = tmp_path / "log"
    for text in ("one", "two"):
        command = [sys.executable, "-c", f"print('{text}')"]
        ended = child_process.run(command, log, on_signal=print)
        assert ended == (0, f"{text}\n", ())
    assert log.read_text() == "one\ntwo\n"


def test_a_killed_child_has_the_signals_number(tmp_path):
    command = [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]
    ended = child_process.run(command, tmp_path / "log", on_signal=print)
    assert ended == (-9, "", ())


def test_a_signal_while_it_is_being_started_reaches_it_too(tmp_path, monkeypatch):
    popen = subprocess.Popen

    def start(*args, **others):
        child = popen(*args, **others)
        while not (tmp_path / "log").read_text():
            time.sleep(0.005)
        signal.raise_signal(signal.SIGTERM)
        return child

    monkeypatch.setattr(subprocess, "Popen", start)
    ended = run_and_signal(tmp_path / "log", [])
    assert ended.status == 7 and ended.received == (signal.SIGTERM,)


def test_what_is_ignored_stays_so(tmp_path):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as under nohup
    try:
        with child_process.signal_handler(lambda number, frame: None):
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
