"""The flags of programs that measure, and write what they measured into a folder."""

import dataclasses
from pathlib import Path

from jaxalign.runtime import flags


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReportConfig(flags.ValidatedConfig):
    """Flags that every program with a report shares."""

    out: Path | None = flags.resumable(None)
    """The report's folder; by default runs/PROGRAM/DATE-TIME."""
    seed: int = 0
    """Seed of all random numbers: of samples, and of the bootstrap of intervals."""
    resume: bool = flags.resumable(False)
    """Continue in the folder --out; flags that change its numbers must be the same."""
