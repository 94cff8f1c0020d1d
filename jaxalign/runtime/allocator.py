"""How the C library keeps memory that XLA has freed on a CPU."""

import ctypes
import sys

TRIM_THRESHOLD, TOP_PAD, MMAP_MAX, ARENA_MAX = -1, -2, -4, -8  # of malloc.h


def reuse_freed_memory() -> bool:
    """Has freed memory used again, rather than returned to the system and fetched anew.

    XLA frees the buffers of a step and asks for them again in the next; where glibc
    returns them in between, the system clears every page again: a fifth of a small
    model's step, two fifths of one of DPO's (`jaxalign.planning.workloads`). To be
    called before JAX starts its threads. Returns whether there was anything to do.
    """
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt"):  # musl has none
        return False
    options = ((ARENA_MAX, 1), (MMAP_MAX, 0), (TRIM_THRESHOLD, -1), (TOP_PAD, 1 << 27))
    return all([libc.mallopt(*option) == 1 for option in options])
