"""Several processes as one run: joining, agreeing, printing once.

JAX does the work: every process runs the same program on its own devices and its own
share of the rows. The first process alone writes logs and prints; all of them need the
same folders, as on a shared file system.
"""

import os

import jax
import numpy as np
import rich
from jax.experimental import multihost_utils

from jaxalign.runtime import errors, supervisor

# Seconds without a heartbeat after which JAX counts a process as dead, and seconds that
# one which ends waits for the others. Supervisors notice a death within a second.
HEARTBEAT = 60
SHUTDOWN = 60
joined = False  # whether this process is one of several


def join(setting: str) -> None:
    """Joins the other processes, before any device is used.

    Args:
      setting: empty for a run of one process; 1 where the launcher describes the
        processes (TPU pods, SLURM, Open MPI); or ADDRESS:PORT,PROCESSES,INDEX.

    Raises:
      ValueError: any other setting.
    """
    global joined
    if not setting:
        return
    processes: dict[str, str | int] = {}
    if setting != "1":
        address, *numbers = setting.split(",")
        if len(numbers) != 2 or not all(number.isdigit() for number in numbers):
            raise ValueError(
                f"JAXALIGN_DISTRIBUTED is 1 or ADDRESS:PORT,PROCESSES,INDEX, such as "
                f"10.0.0.1:1234,2,0; not {setting!r}"
            )
        processes = {"coordinator_address": address}
        processes |= {"num_processes": int(numbers[0]), "process_id": int(numbers[1])}
    # With asynchronous dispatch on CPUs, each process would run programs in an order of
    # its own, and collectives would wait for each other forever.
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    devices: int = jax.config.jax_num_cpu_devices  # type: ignore[attr-defined]
    os.environ.setdefault("PJRT_NPROC", str(thread_count(devices)))
    joined = True
    jax.distributed.initialize(
        **processes,  # type: ignore[arg-type]
        heartbeat_timeout_seconds=HEARTBEAT,
        shutdown_timeout_seconds=SHUTDOWN,
    )
    if setting == "1" and (address := coordinator_address()):
        supervisor.join(address, jax.process_count(), jax.process_index())


def coordinator_address() -> str:
    """HOST:PORT of the first process as the launcher gave it; empty if unknown."""
    state = getattr(jax._src.distributed, "global_state", None)  # no public name
    return str(getattr(state, "coordinator_address", None) or "")


def thread_count(devices: int) -> int:
    """The number of XLA threads on CPUs, for so many devices of this process.

    XLA's default is the number of cores, or of devices. If one thread for each device
    waits in a collective, and the launch of the next program takes another, none is
    left for a device whose part of the collective has not begun: all wait forever.
    """
    return max(os.cpu_count() or 1, 2 * devices + 1)


def is_first() -> bool:
    """Whether this is the process that writes files and prints."""
    return jax.process_index() == 0


def print_line(text: str) -> None:
    """Prints a line without markup; of many processes the first prints."""
    if is_first():
        console = rich.get_console()
        shown = text.encode(console.encoding, "backslashreplace")
        text = shown.decode(console.encoding)
        console.print(text, markup=False, emoji=False, soft_wrap=True)


def barrier(where: str) -> None:
    """Waits until all processes have reached this line.

    Args:
      where: a name of the line, the same in all processes.
    """
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(f"jaxalign {where}")


def broadcast_text(text: str) -> str:
    """The first process's text, in every process; all texts have the same length."""
    if jax.process_count() == 1:
        return text
    letters = np.frombuffer(text.encode(), np.uint8)
    return bytes(multihost_utils.broadcast_one_to_all(letters)).decode()


def error_message(error: BaseException) -> str:
    """The message of an error; of many processes, one may have ended the others.

    A supervisor replaces this message once it has the name of the lost process.
    """
    if not joined or not isinstance(error, jax.errors.JaxRuntimeError):
        return errors.error_message(error)
    return (
        f"error: process {jax.process_index()} of {jax.process_count()} lost the others"
        f" ({errors.one_line(error):.200}): one of them has ended or cannot be reached;"
        " start all of them again with --resume"
    )
