"""A command: flags are read and checked, a program runs, and whatever fails is told."""

import os
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import tyro

from jaxalign.runtime import (
    allocator,
    compilation_cache,
    distributed,
    errors,
    flags,
    folder_cleanup,
    library_output,
)
from jaxalign.runtime.config import RunConfig
from jaxalign.runtime.interrupts import InterruptOnce

ConfigType = TypeVar("ConfigType", bound=flags.ValidatedConfig)
RunConfigType = TypeVar("RunConfigType", bound=RunConfig)


def run_command(main: Callable[[ConfigType], Any], config: type[ConfigType]) -> None:
    """Runs a program on the flags of its command line; a failure is one sentence.

    What is refused leaves no folder behind. JAXALIGN_TRACEBACK=1, or --debug-nans,
    shows where an error arose.

    Raises:
      SystemExit: with 1 where it failed, 130 where it was interrupted.
    """
    interrupts = InterruptOnce()
    interrupts.install()
    traced = bool(os.environ.get("JAXALIGN_TRACEBACK"))
    try:
        with flags.defer_validation():
            arguments = tyro.cli(config)
        flags.validate(arguments)
        traced = traced or getattr(arguments, "debug_nans", False)
        if not traced:
            library_output.silence()
        main(arguments)
    except (Exception, KeyboardInterrupt) as error:
        interrupts.raised = True
        folder_cleanup.delete_unused()
        if traced:
            raise
        if isinstance(error, jax.errors.JaxRuntimeError) and jax.process_count() > 1:
            distributed.leave(error)
        print(errors.error_message(error), file=sys.stderr, flush=True)
        sys.exit(130 if isinstance(error, KeyboardInterrupt) else 1)


def launch(main: Callable[[RunConfigType], Any], config: type[RunConfigType]) -> None:
    """Runs an experiment from its command line, see `run_command`.

    JAXALIGN_DISTRIBUTED joins the other processes first, see `distributed.join`.
    """

    def start(arguments: RunConfigType) -> None:
        compilation_cache.enable(arguments.compilation_cache)
        distributed.join(os.environ.get("JAXALIGN_DISTRIBUTED", ""))
        main(arguments)

    allocator.reuse_freed_memory()
    run_command(start, config)
