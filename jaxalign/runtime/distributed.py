"""Many processes that are one run: how they join, agree, and end together.

The engine is JAX's own: every process runs the same program on its own devices and its
own share of the rows. The first alone writes logs and says how far the run is; all of
them need the same folders, as on a shared file system.
"""

import os
import sys
from typing import NoReturn

import jax
import numpy as np
import rich
from jax.experimental import multihost_utils

from jaxalign import messages

# Seconds without a sign of life after which a process counts as dead, and seconds that
# one which ends waits for the others; then JAX ends them all.
HEARTBEAT = 60
SHUTDOWN = 60


def join(told: str) -> None:
    """Joins the other processes, before any device is used.

    Args:
      told: empty for a run of one process; 1 where the launcher says what is needed
        (TPU pods, SLURM, Open MPI); or ADDRESS:PORT,PROCESSES,INDEX.

    Raises:
      ValueError: something else.
    """
    if not told:
        return
    known: dict[str, str | int] = {}
    if told != "1":
        address, *numbers = told.split(",")
        if len(numbers) != 2 or not all(number.isdigit() for number in numbers):
            raise ValueError(
                f"JAXALIGN_DISTRIBUTED is 1 or ADDRESS:PORT,PROCESSES,INDEX, such as "
                f"10.0.0.1:1234,2,0; not {told!r}"
            )
        known = {"coordinator_address": address}
        known |= {"num_processes": int(numbers[0]), "process_id": int(numbers[1])}
    # On CPUs programs would run at once, in an order of each process's own, and wait
    # for each other's collectives for ever.
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    devices: int = jax.config.jax_num_cpu_devices  # type: ignore[attr-defined]
    os.environ.setdefault("PJRT_NPROC", str(thread_count(devices)))
    jax.distributed.initialize(
        **known,  # type: ignore[arg-type]
        heartbeat_timeout_seconds=HEARTBEAT,
        shutdown_timeout_seconds=SHUTDOWN,
    )


def thread_count(devices: int) -> int:
    """How many threads XLA should have on CPUs, for so many devices of this process.

    By default there are as many as cores, or devices. Where each device has one that
    waits in a collective, and the launch of the next program takes another, none is
    left for a device whose part of the collective has not begun: all wait for ever.
    """
    return max(os.cpu_count() or 1, 2 * devices + 1)


def is_first() -> bool:
    """Whether this is the process that writes and speaks for all."""
    return jax.process_index() == 0


def print_line(text: str) -> None:
    """Shows a line as it is; of many processes the first does."""
    if is_first():
        console = rich.get_console()
        shown = text.encode(console.encoding, "backslashreplace")
        text = shown.decode(console.encoding)
        console.print(text, markup=False, emoji=False, soft_wrap=True)


def barrier(where: str) -> None:
    """Waits until all processes are here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(f"jaxalign {where}")


def broadcast_text(text: str) -> str:
    """The first process's text, on all of them; of one length everywhere."""
    if jax.process_count() == 1:
        return text
    letters = np.frombuffer(text.encode(), np.uint8)
    return bytes(multihost_utils.broadcast_one_to_all(letters)).decode()


def leave(error: Exception) -> NoReturn:
    """Ends a process whose collective failed, without waiting for the others."""
    first_line = messages.first_line(error)
    print(
        f"error: process {jax.process_index()} of {jax.process_count()} lost the "
        f"others: one of them has ended or cannot be reached ({first_line}); start all "
        f"of them again with --resume",
        file=sys.stderr,
        flush=True,
    )
    os._exit(1)
