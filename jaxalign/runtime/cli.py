"""A command: flags are read and checked, a program runs, and whatever fails is told."""

import logging
import os
import sys
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import tyro

from jaxalign.runtime import distributed, errors, flags, folder_cleanup

ConfigType = TypeVar("ConfigType", bound=flags.ValidatedConfig)


def silence_libraries() -> None:
    """Keeps back the traces of threads that save: what ended them is raised as well."""
    for name in ("absl", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    sys.unraisablehook = lambda _: None
    warnings.showwarning = show_warning


def show_warning(
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


def run_command(main: Callable[[ConfigType], Any], config: type[ConfigType]) -> None:
    """Runs a program on the flags of its command line; a failure is one sentence.

    What is refused leaves no folder behind. JAXALIGN_TRACEBACK=1, or --debug-nans,
    shows where an error arose.

    Raises:
      SystemExit: with 1 where it failed, 130 where it was interrupted.
    """
    traced = bool(os.environ.get("JAXALIGN_TRACEBACK"))
    try:
        with flags.defer_validation():
            arguments = tyro.cli(config)
        flags.validate(arguments)
        traced = traced or getattr(arguments, "debug_nans", False)
        if not traced:
            silence_libraries()
        main(arguments)
    except (Exception, KeyboardInterrupt) as error:
        folder_cleanup.delete_unused()
        if traced:
            raise
        if isinstance(error, jax.errors.JaxRuntimeError) and jax.process_count() > 1:
            distributed.leave(error)
        print(errors.error_message(error), file=sys.stderr, flush=True)
        sys.exit(130 if isinstance(error, KeyboardInterrupt) else 1)
