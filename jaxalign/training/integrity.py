"""Whether a checkpoint is what was saved, and one sentence where it is not."""

import contextlib
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orbax.checkpoint as ocp


def checksum(data: Any) -> int:
    """By which an edited or damaged data item is known."""
    return zlib.crc32(json.dumps(data, sort_keys=True).encode())


def read_item(manager: ocp.CheckpointManager, step: int, name: str) -> dict[str, Any]:
    """A JSON item of a checkpoint.

    Raises:
      ValueError: it is damaged.
    """
    path = Path(manager.directory) / str(step) / name / "metadata"
    try:
        item = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise damage_error(manager, step, f"{name}: {error}") from error
    if not isinstance(item, dict):
        raise damage_error(manager, step, f"{name} is not a JSON object")
    return item


def damage_error(manager: ocp.CheckpointManager, step: int, reason: str) -> ValueError:
    """One sentence about a checkpoint that cannot be used, and what to do."""
    path = Path(manager.directory) / str(step)
    earlier = [other for other in manager.all_steps() if other < step]
    then = f"go on from step {max(earlier)}" if earlier else "start anew"
    first = next(iter(reason.splitlines()), "")[:200]
    return ValueError(
        f"the checkpoint {path} is damaged ({first}); delete that folder to {then}"
    )


@contextlib.contextmanager
def report_damage(manager: ocp.CheckpointManager, step: int) -> Iterator[None]:
    """Says of whatever the reading stack raises that the checkpoint is damaged."""
    try:
        yield
    except Exception as error:
        raise damage_error(manager, step, str(error) or type(error).__name__) from error
