"""How a run that fails ends: in one sentence, and with an exit status."""

import traceback
from pathlib import Path
from types import TracebackType

import jax

from jaxalign import messages

ROOT = Path(__file__).resolve().parents[2]
OWN_PACKAGES = ("jaxalign", "experiments")
TRACE_ADVICE = "JAXALIGN_TRACEBACK=1 shows where it arose"
MAX_CHARS = 2000  # characters of what a library has to say

MEMORY_ADVICE = (
    "try more --micro-batches (or --minibatches), a smaller --batch or --context, "
    "--remat full, --dtype bfloat16, or more devices in --mesh"
)


def error_message(error: BaseException) -> str:
    """What a user is told of an error: what, where, and what to do.

    ValueError, OSError and FloatingPointError are what input is refused with, here and
    in libraries; of libraries' the place is told. All others are faults of ours.
    """
    text = one_line(error)
    if isinstance(error, KeyboardInterrupt):
        return f"interrupted{notes_of(error)}; continue a run with --resume"
    if isinstance(error, jax.errors.JaxRuntimeError):
        if "RESOURCE_EXHAUSTED" in text or "Out of memory" in text:
            return f"error: out of memory on the device{notes_of(error)} ({text}): {MEMORY_ADVICE}"
        return f"error: the device failed{notes_of(error)} ({text}); {TRACE_ADVICE}"
    if isinstance(error, MemoryError):
        where = f"{location(error)}{notes_of(error)}"
        return f"error: out of memory at {where}: {MEMORY_ADVICE}"
    if isinstance(error, RecursionError):
        return (
            f"error: something is nested too deep, at {location(error)}{notes_of(error)}: a "
            f"row of the data or a file of the model's folder, or else this is a bug; "
            f"{TRACE_ADVICE}"
        )
    if isinstance(error, ImportError) and not str(error.name).startswith(OWN_PACKAGES):
        package = error.name or "a package"
        return (
            f"error: {text}: this needs {package}, pip install it first; {TRACE_ADVICE}"
        )
    if isinstance(error, ValueError | OSError | FloatingPointError):
        own = innermost_file(error.__traceback__).startswith(OWN_PACKAGES)
        where = "" if own else f", at {location(error)}"
        return f"error: {text}{where}{notes_of(error)} ({TRACE_ADVICE})"
    kind = type(error).__name__
    return (
        f"error: this is a bug of jaxalign: {kind} at {location(error)}{notes_of(error)}: "
        f"{text}; please report it, with the command and its trace ({TRACE_ADVICE})"
    )


def notes_of(error: BaseException) -> str:
    """What was added to an error on its way, such as the step.

    Libraries' notes on the trace, which is not shown, are left out.
    """
    notes = [n for n in getattr(error, "__notes__", ()) if "internal frames" not in n]
    return "".join(f", {note}" for note in notes)


def one_line(error: BaseException) -> str:
    """What an error says, on one line; its kind where it says nothing.

    A missing file is `[Errno 2] No such file ...: 'x'` in Python.
    """
    text = str(error)
    if isinstance(error, OSError) and error.strerror and error.filename:
        text = f"{error.filename}: {error.strerror}"
    return messages.one_line(text or type(error).__name__, MAX_CHARS)


def innermost_file(trace: TracebackType | None) -> str:
    """The file in which an error arose, see `display_path`."""
    frames = traceback.extract_tb(trace)
    return display_path(frames[-1].filename) if frames else ""


def location(error: BaseException) -> str:
    """The last line of ours that an error went through, `FILE:LINE`."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [
        frame
        for frame in frames
        if display_path(frame.filename).startswith(OWN_PACKAGES)
    ]
    frame = next(reversed(own or frames), None)
    return (
        f"{display_path(frame.filename)}:{frame.lineno}"
        if frame
        else "an unknown place"
    )


def display_path(file: str) -> str:
    """A file's path from the root of the project, or as it is."""
    path = Path(file).resolve()
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else file
