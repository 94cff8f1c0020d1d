"""JAX's persistent compilation cache: a second start of a run compiles nothing.

It stores the programs that XLA compiles, so that results are the same to the bit.
"""

import functools
import hashlib
import os
import platform
import time
from pathlib import Path

import jax
from jax.experimental.compilation_cache import compilation_cache

OFF = "off"


def enable(place: str | None) -> Path | None:
    """Stores compiled programs in a folder, for this process and later ones.

    Args:
      place: the folder; "off" for none; None for `JAX_COMPILATION_CACHE_DIR`, or else
        the user's `default_folder`.

    Returns:
      The folder; None if it is off, or if the default folder cannot be written.

    Raises:
      OSError: the given folder cannot be written.
    """
    variable = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    folder = None
    try:
        if place != OFF:
            folder = Path(place or variable or default_folder())
            folder.mkdir(parents=True, exist_ok=True)
            remove_empty(folder)
    except (OSError, RuntimeError):  # a user without a home is a RuntimeError
        if place is not None:
            raise
        folder = None
    if str(folder or "") != (jax.config.jax_compilation_cache_dir or ""):  # type: ignore[attr-defined]
        compilation_cache.reset_cache()
        jax.config.update("jax_compilation_cache_dir", folder and str(folder))
    # all programs, also those that compile at once
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    return folder


def default_folder() -> Path:
    """`~/.cache/jaxalign/compiled/...` (or below `XDG_CACHE_HOME`).

    Its last part depends on the kind of CPU: machines share home folders, and a program
    compiled for one CPU may contain instructions that another lacks.
    """
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "jaxalign" / "compiled" / cpu_kind()


@functools.cache
def cpu_kind() -> str:
    """A short name of the instruction set of this machine's CPU."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    described = [x for x in lines if x.startswith(("flags", "Features", "model name"))]
    text = "\n".join(sorted(set(described)) or [platform.processor()])
    digest = hashlib.blake2b(text.encode(), digest_size=4).hexdigest()
    return f"{platform.machine()}-{digest}"


def remove_empty(folder: Path) -> None:
    """Removes the empty entries that a killed process may have left."""
    for entry in folder.glob("*-cache"):
        status = entry.stat()
        if not status.st_size and time.time() - status.st_mtime > 60:
            entry.unlink(missing_ok=True)
