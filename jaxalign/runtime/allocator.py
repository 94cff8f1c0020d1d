"""Settings of glibc's allocator that keep freed memory for XLA on CPUs."""

import ctypes
import os
import sys

TRIM_THRESHOLD, TOP_PAD, MMAP_MAX, ARENA_MAX = -1, -2, -4, -8  # of malloc.h


def reuse_freed_memory() -> bool:
    """Keeps freed memory in the process, instead of returning it to the system.

    XLA frees the buffers of a step and requests them again in the next. Where glibc
    returns them in between, the system clears every page again: a fifth of a small
    model's step, two fifths of one of DPO's (`jaxalign.planning.workloads`). Call it
    before JAX starts its threads. JAXALIGN_REUSE_MEMORY=0 turns it off.

    Returns:
      Whether the allocator has been changed: not on other systems than Linux with
      glibc, and not where it is turned off.
    """
    if os.environ.get("JAXALIGN_REUSE_MEMORY") == "0":
        return False
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt"):  # musl has none
        return False
    options = ((ARENA_MAX, 1), (MMAP_MAX, 0), (TRIM_THRESHOLD, -1), (TOP_PAD, 1 << 27))
    return all([libc.mallopt(*option) == 1 for option in options])
