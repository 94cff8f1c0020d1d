"""Runs of a sweep as processes, one after the other: one that fails ends no other."""

import contextlib
import math
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jaxalign import messages
from jaxalign.runtime import flags, run_settings
from jaxalign.runtime.sweep_grid import SweepRun

LOGS = "logs"
ADVICE = " (JAXALIGN_TRACEBACK"  # begins the advice at the end of a run's error


def is_done(run: SweepRun) -> bool:
    """Whether a run has ended, with the flags of the sweep.

    Raises:
      ValueError: the folder was made with other flags; names it and each of them.
    """
    folder = run.folder
    if not (folder / "config.json").exists():
        return False
    done = (folder / "numbers.json").exists()
    if done or any(folder.glob("checkpoints/*")):
        settings = run_settings.to_json(run.config)
        free = flags.resumable_fields(type(run.config))
        run_settings.check_settings(folder, settings, free=free)
    return done


def read_numbers(folder: Path) -> dict[str, float]:
    """The finite numbers of a run's numbers.json.

    Raises:
      ValueError: the file is missing or damaged.
    """
    values = run_settings.read_object(folder / "numbers.json", "what the run found")
    return {
        name: float(value)
        for name, value in values.items()
        if isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
    }


def start_run(run: SweepRun, program: str, log: Path) -> str:
    """Runs a run to its end; it continues from its last checkpoint.

    Ctrl-C and SIGTERM reach it once, and it may save itself.

    Args:
      program: a name in `experiments`.
      log: a file for what the run prints; a further start is appended.

    Returns:
      Its error in one sentence; "" if it has ended well.

    Raises:
      KeyboardInterrupt: Ctrl-C, once the run has ended.
      SystemExit: SIGTERM, once the run has ended.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", f"experiments.{program}", *run.arguments]
    with log.open("ab") as file:
        begin = file.tell()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
            start_new_session=True,  # the terminal's Ctrl-C reaches it once, from here
        )
        with forwarded_sigterm(process) as requests:
            status = wait(process)
    if requests:
        raise SystemExit(0)
    if status == 0 and (run.folder / "numbers.json").exists():
        return ""
    return error_of(log, begin, status)


def wait(process: "subprocess.Popen[bytes]") -> int:
    """Waits for a process; Ctrl-C is forwarded to it, and raised once it has ended."""
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.send_signal(signal.SIGINT)
        process.wait()
        raise


@contextlib.contextmanager
def forwarded_sigterm(process: "subprocess.Popen[bytes]") -> Iterator[list[int]]:
    """A context in which SIGTERM goes to a process; gives the signals received."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return

    def forward(number: int, frame: Any) -> None:
        received.append(number)
        process.terminate()

    before = signal.signal(signal.SIGTERM, forward)
    try:
        yield received
    finally:
        signal.signal(signal.SIGTERM, before)


def error_of(log: Path, begin: int, status: int) -> str:
    """The error of a run that has failed, from the end of what it printed.

    Args:
      begin: where its part of the log begins, in bytes.
      status: its exit status.
    """
    if status < 0:
        return f"killed by {signal.Signals(-status).name}"
    if status == 0:
        return "it was stopped before its end"
    text = log.read_bytes()[begin:].decode(errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error: ")] or lines[-1:]
    if not errors:
        return f"it ended with status {status} and printed nothing"
    sentence = errors[-1].removeprefix("error: ").partition(ADVICE)[0]
    return messages.one_line(sentence, 500)


def numbers_by_variant(
    runs: Sequence[SweepRun],
) -> list[tuple[dict[str, str], list[dict[str, float]]]]:
    """The numbers of the finished runs of each variant, one entry a seed."""
    grouped: dict[tuple[str, ...], list[dict[str, float]]] = {}
    variants: dict[tuple[str, ...], dict[str, str]] = {}
    for run in runs:
        key = tuple(run.variant.values())
        variants[key] = run.variant
        numbers = grouped.setdefault(key, [])
        if (run.folder / "numbers.json").exists():
            numbers.append(read_numbers(run.folder))
    return [(variants[key], numbers) for key, numbers in grouped.items()]
