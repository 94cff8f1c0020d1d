"""Error messages of commands: one sentence for each exception."""

import traceback
from pathlib import Path
from types import TracebackType

import jax

from jaxalign import messages

ROOT = Path(__file__).resolve().parents[2]
OWN_PACKAGES = ("jaxalign", "experiments")
TRACE_ADVICE = "JAXALIGN_TRACEBACK=1 shows where it arose"
MAX_CHARS = 2000  # of a library's message

MEMORY_ADVICE = (
    "try more --micro-batches (or --minibatches), a smaller --batch or --context, "
    "--remat full, --dtype bfloat16, or more devices in --mesh"
)


def error_message(error: BaseException) -> str:
    """The message of an exception: what failed, where, and what to do.

    Invalid input raises ValueError, OSError or FloatingPointError, in libraries too; a
    library's message gets the line of this project that called it. Any other exception
    is a bug of this project.
    """
    text, notes = one_line(error), notes_of(error)
    where = f"{location(error)}{notes}"
    if isinstance(error, KeyboardInterrupt):
        advice = "" if "continue" in notes else "; continue a run with --resume"
        return f"interrupted{notes}{advice}"
    if isinstance(error, jax.errors.JaxRuntimeError):
        if "RESOURCE_EXHAUSTED" in text or "Out of memory" in text:
            return (
                f"error: out of memory on the device{notes} ({text}): {MEMORY_ADVICE}"
            )
        return f"error: the device failed{notes} ({text}); {TRACE_ADVICE}"
    if isinstance(error, MemoryError):
        return f"error: out of memory at {where}: {MEMORY_ADVICE}"
    if isinstance(error, RecursionError):
        return (
            f"error: data nested too deep, at {where}: a row of the data or a file of "
            f"the model's folder, or else this is a bug; {TRACE_ADVICE}"
        )
    if isinstance(error, ImportError) and not str(error.name).startswith(OWN_PACKAGES):
        package = error.name or "a package"
        return f"error: {text}: pip install {package} first; {TRACE_ADVICE}"
    if isinstance(error, ValueError | OSError | FloatingPointError):
        own = innermost_file(error.__traceback__).startswith(OWN_PACKAGES)
        place = "" if own else f", at {location(error)}"
        return f"error: {text}{place}{notes} ({TRACE_ADVICE})"
    return (
        f"error: this is a bug of jaxalign: {type(error).__name__} at {where}: {text}; "
        f"please report it, with the command and its trace ({TRACE_ADVICE})"
    )


def notes_of(error: BaseException) -> str:
    """The notes of an exception, such as the step, each after a comma.

    Notes of libraries on their stack frames, which are not printed, are left out.
    """
    notes = [n for n in getattr(error, "__notes__", ()) if "internal frames" not in n]
    return "".join(f", {note}" for note in notes)


def one_line(error: BaseException) -> str:
    """The text of an exception on one line; its type where it has no text.

    A missing file is `x: No such file or directory`, without Python's error number.
    """
    text = str(error)
    if isinstance(error, OSError) and error.strerror and error.filename:
        text = f"{error.filename}: {error.strerror}"
    return messages.one_line(text or type(error).__name__, MAX_CHARS)


def innermost_file(trace: TracebackType | None) -> str:
    """The file that raised an exception; see `display_path`."""
    frames = traceback.extract_tb(trace)
    return display_path(frames[-1].filename) if frames else ""


def location(error: BaseException) -> str:
    """The innermost line of this project in a traceback, `FILE:LINE`."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if display_path(f.filename).startswith(OWN_PACKAGES)]
    frame = next(reversed(own or frames), None)
    if frame is None:
        return "an unknown place"
    return f"{display_path(frame.filename)}:{frame.lineno}"


def display_path(file: str) -> str:
    """A file's path relative to the project; files elsewhere keep theirs."""
    path = Path(file).resolve()
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else file
