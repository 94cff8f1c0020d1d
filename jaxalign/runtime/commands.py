"""A command: flags are read and checked, a program runs, and whatever fails is told."""

import logging
import os
import sys
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import tyro

from jaxalign.runtime import distributed, failures, flags, leftovers

ConfigType = TypeVar("ConfigType", bound=flags.Checked)


def quiet() -> None:
    """Keeps back the traces of threads that save: what ended them is raised as well."""
    for name in ("absl", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    sys.unraisablehook = lambda _: None
    warnings.showwarning = warning


def warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: Any = None,
    line: str | None = None,
) -> None:
    """Shows a warning as a sentence, not as a line of a program; of libraries', none
    that is for programmers.
    """
    if not issubclass(category, DeprecationWarning | FutureWarning | ResourceWarning):
        text = " ".join(str(message).split())
        print(f"warning: {text}", file=sys.stderr, flush=True)


def run(main: Callable[[ConfigType], Any], config: type[ConfigType]) -> None:
    """Runs a program on the flags of its command line; a failure is one sentence.

    What is refused leaves no folder behind. JAXALIGN_TRACEBACK=1, or --debug-nans,
    shows where an error arose.

    Raises:
      SystemExit: with 1 where it failed, 130 where it was interrupted.
    """
    traced = bool(os.environ.get("JAXALIGN_TRACEBACK"))
    try:
        with flags.unchecked():
            arguments = tyro.cli(config)
        flags.check(arguments)
        traced = traced or getattr(arguments, "debug_nans", False)
        if not traced:
            quiet()
        main(arguments)
    except (Exception, KeyboardInterrupt) as error:
        leftovers.take_back()
        if traced:
            raise
        if isinstance(error, jax.errors.JaxRuntimeError) and jax.process_count() > 1:
            distributed.leave(error)
        print(failures.sentence(error), file=sys.stderr, flush=True)
        sys.exit(130 if isinstance(error, KeyboardInterrupt) else 1)
