"""Runs of a sweep as processes, one after the other: one that fails ends no other."""

import math
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from jaxalign import messages
from jaxalign.runtime import child_process, flags, folder_lock, run_settings
from jaxalign.runtime.sweep_grid import SweepRun

LOGS = "logs"
POLL = 1.0  # seconds between looks at a run of another process
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


def wait_for_other(run: SweepRun, say: Callable[[str], None]) -> None:
    """Waits while another process is running a run: one that a killed sweep has left.

    Args:
      say: shows that it waits, and for which process.
    """
    owner = folder_lock.owner(run.folder)
    if owner:
        say(f"{run.folder.name} is being run by {owner}: waiting for its end")
    while folder_lock.owner(run.folder):
        time.sleep(POLL)


def start_run(
    run: SweepRun, program: str, log: Path, say: Callable[[str], None]
) -> str:
    """Runs a run to its end; it continues from its last checkpoint.

    Ctrl-C and SIGTERM go on to it, so that it saves itself.

    Args:
      program: a name in `experiments`.
      log: a file for what the run prints; a further start is appended.
      say: shows what a signal does.

    Returns:
      Its error in one sentence; "" if it has ended well.

    Raises:
      KeyboardInterrupt: Ctrl-C, once the run has ended.
      SystemExit: with 0, SIGTERM, once the run has ended.
    """
    wait_for_other(run, say)
    if is_done(run):
        return ""
    name = run.folder.name
    explain: dict[int, str] = {
        signal.SIGINT: f"{name} saves after its step; Ctrl-C again ends it at once"
    }
    ended = child_process.run(
        [sys.executable, "-m", f"experiments.{program}", *run.arguments],
        log,
        on_signal=lambda number: say(explain.pop(number, f"{name} is told to end")),
    )
    if signal.SIGINT in ended.received:
        raise KeyboardInterrupt
    if ended.received:
        raise SystemExit(0)
    if ended.status == 0 and (run.folder / "numbers.json").exists():
        return ""
    return error_of(ended)


def error_of(ended: child_process.Ended) -> str:
    """The error of a run that has failed, from the end of what it printed.

    >>> error_of(child_process.Ended(-9, "step 3", ()))
    'killed by SIGKILL'
    >>> error_of(child_process.Ended(1, "step 3\\nerror: no memory\\n", ()))
    'no memory'
    """
    if ended.status < 0:
        return f"killed by {signal.Signals(-ended.status).name}"
    if ended.status == 0:
        return "it was stopped before its end"
    lines = [line.strip() for line in ended.output.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error: ")] or lines[-1:]
    if not errors:
        return f"it ended with status {ended.status} and printed nothing"
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
