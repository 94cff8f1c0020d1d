"""How a run that fails ends: in one sentence, and with an exit status."""

import traceback
from pathlib import Path
from types import TracebackType

import jax

ROOT = Path(__file__).resolve().parents[2]
OURS = ("jaxalign", "experiments")
TRACE = "JAXALIGN_TRACEBACK=1 shows where it arose"
LONGEST = 2000  # characters of what a library has to say

SMALLER = (
    "try more --micro-batches (or --minibatches), a smaller --batch or --context, "
    "--remat full, --dtype bfloat16, or more devices in --mesh"
)


def sentence(error: BaseException) -> str:
    """What a user is told of an error: what, where, and what to do.

    ValueError, OSError and FloatingPointError are what input is refused with, here and
    in libraries; of libraries' the place is told. All others are faults of ours.
    """
    text = one_line(error)
    if isinstance(error, KeyboardInterrupt):
        return (
            f"interrupted{noted(error)}; a run with checkpoints goes on with --resume"
        )
    if isinstance(error, jax.errors.JaxRuntimeError):
        if "RESOURCE_EXHAUSTED" in text or "Out of memory" in text:
            return (
                f"error: out of memory on the device{noted(error)} ({text}): {SMALLER}"
            )
        return f"error: the device failed{noted(error)} ({text}); {TRACE}"
    if isinstance(error, MemoryError):
        where = f"{place(error)}{noted(error)}"
        return f"error: out of memory at {where}: {SMALLER}"
    if isinstance(error, RecursionError):
        return (
            f"error: something is nested too deep, at {place(error)}{noted(error)}: a "
            f"row of the data or a file of the model's folder, or else this is a bug; "
            f"{TRACE}"
        )
    if isinstance(error, ImportError) and not str(error.name).startswith(OURS):
        package = error.name or "a package"
        return f"error: {text}: this needs {package}, pip install it first; {TRACE}"
    if isinstance(error, ValueError | OSError | FloatingPointError):
        own = innermost(error.__traceback__).startswith(OURS)
        where = "" if own else f", at {place(error)}"
        return f"error: {text}{where}{noted(error)} ({TRACE})"
    kind = type(error).__name__
    return (
        f"error: this is a bug of jaxalign: {kind} at {place(error)}{noted(error)}: "
        f"{text}; please report it, with the command and its trace ({TRACE})"
    )


def noted(error: BaseException) -> str:
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
    text = " ".join(text.split()) or type(error).__name__
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} ..."


def innermost(trace: TracebackType | None) -> str:
    """The file in which an error arose, see `shown`."""
    frames = traceback.extract_tb(trace)
    return shown(frames[-1].filename) if frames else ""


def place(error: BaseException) -> str:
    """The last line of ours that an error went through, `FILE:LINE`."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if shown(frame.filename).startswith(OURS)]
    frame = next(reversed(own or frames), None)
    return f"{shown(frame.filename)}:{frame.lineno}" if frame else "an unknown place"


def shown(file: str) -> str:
    """A file's path from the root of the project, or as it is."""
    path = Path(file).resolve()
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else file
