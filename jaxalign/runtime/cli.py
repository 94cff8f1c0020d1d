"""Command lines: flags are parsed and validated, and each failure is one sentence."""

import gc
import os
import shlex
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import tyro

from jaxalign.runtime import (
    allocator,
    compilation_cache,
    config_file,
    distributed,
    flags,
    folder_cleanup,
    help_text,
    library_output,
    repeated_flags,
    stage_flags,
    supervisor,
    trl_flags,
)
from jaxalign.runtime.interrupts import InterruptOnce

ConfigType = TypeVar("ConfigType", bound=flags.ValidatedConfig)


def run_command(main: Callable[[ConfigType], Any], config: type[ConfigType]) -> None:
    """Runs a program on the flags of its command line; a failure is one sentence.

    A refused command leaves no folder behind. JAXALIGN_TRACEBACK=1, or --debug-nans,
    shows where an error arose.

    Raises:
      SystemExit: with 1 where it failed, 130 where it was interrupted.
    """
    gc.enable()  # which `experiments` disables during imports
    interrupts = InterruptOnce()
    interrupts.install()
    traced = bool(os.environ.get("JAXALIGN_TRACEBACK"))
    try:
        arguments = parse_arguments(config, sys.argv[1:])
        traced = traced or getattr(arguments, "debug_nans", False)
        if not traced:
            library_output.silence()
        main(arguments)
    except (Exception, KeyboardInterrupt) as error:
        interrupts.raised = True  # another Ctrl-C does not interrupt the end
        folder_cleanup.delete_unused()
        if traced and not distributed.joined:
            raise
        if traced:
            traceback.print_exc()
        else:
            print(distributed.error_message(error), file=sys.stderr, flush=True)
        status = 130 if isinstance(error, KeyboardInterrupt) else 1
        if distributed.joined:
            sys.stdout.flush()
            os._exit(status)  # JAX would wait for the others
        sys.exit(status)


def parse_arguments(
    config: type[ConfigType], arguments: Sequence[str], program: str | None = None
) -> ConfigType:
    """The configuration of a command line: flags, on top of those of --config.

    Args:
      program: the command, for messages; by default that of the running program.

    Raises:
      ValueError: an invalid flag, or file of --config.
      SystemExit: after help, or where tyro refuses a flag.
    """
    arguments = repeated_flags.join_repeated(config, arguments)
    program = program or program_name()
    file, others = config_file.split_flag(arguments)
    default, topic = None, help_text.requested_topic(others)
    missing = dict.fromkeys(config_file.required_fields(config), tyro.MISSING)
    if file is not None:
        default = config_file.read_config(config, file, **missing)
    if topic is not None:
        with flags.defer_validation():
            shown = default or config(**missing)
        help_text.show(shown, program or sys.argv[0], topic)
        raise SystemExit(0)
    trl_flags.refuse(config, others)
    with flags.defer_validation():
        parsed: Any = tyro.cli(config, prog=program, args=others, default=default)
    flags.validate(parsed)
    stage_flags.refuse_without_effect(config, stage_flags.flag_names(others))
    return cast(ConfigType, parsed)


def program_name() -> str | None:
    """The command of the running program, `python -m NAME`; None if it is no module."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return f"python -m {spec.name.removesuffix('.__main__')}" if spec else None


def command_line() -> str:
    """The command that was typed, for reports; "" where a function was called."""
    name = program_name() or ""
    shown = shlex.join([*name.split(), *sys.argv[1:]])
    return shown if name.startswith("python -m experiments.") else ""


def launch(main: Callable[[ConfigType], Any], config: type[ConfigType]) -> None:
    """Runs an experiment from its command line; see `run_command`.

    With a flag `compilation_cache` compiled programs are kept there.

    With JAXALIGN_DISTRIBUTED the process joins the others first, under a supervisor;
    see `distributed.join` and `supervisor`.
    """
    setting = os.environ.get("JAXALIGN_DISTRIBUTED", "")
    if setting:
        supervisor.supervise(setting)

    def start(arguments: ConfigType) -> None:
        compilation_cache.enable(getattr(arguments, "compilation_cache", "off"))
        distributed.join(setting)
        main(arguments)

    allocator.reuse_freed_memory()
    run_command(start, config)
