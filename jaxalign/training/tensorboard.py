"""TensorBoard event files, written in the caller's thread.

tensorboardX's own writer has a thread: after a write error, such as a full disk, that
thread ends and the training loop would wait for it forever.
"""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from jaxalign import lazy

if TYPE_CHECKING:
    from tensorboardX import event_file_writer, summary
    from tensorboardX.proto import event_pb2
else:
    event_file_writer = lazy.module("tensorboardX.event_file_writer")
    event_pb2 = lazy.module("tensorboardX.proto.event_pb2")
    summary = lazy.module("tensorboardX.summary")

FLUSH_SECONDS = 30.0


class EventFile:
    """An event file of scalars in a run's folder."""

    def __init__(
        self, folder: str | os.PathLike[str], *, purge_step: int | None = None
    ) -> None:
        """Opens a new event file.

        Args:
          purge_step: TensorBoard drops the events of earlier files from this step on.
        """
        self.writer = event_file_writer.EventsWriter(str(Path(folder) / "events"))
        self.flushed = time.monotonic()
        if purge_step is not None:
            log = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
            self.write(event_pb2.Event(step=purge_step, session_log=log))

    def write(self, event: "event_pb2.Event") -> None:
        """Writes an event with the current time."""
        event.wall_time = time.time()
        self.writer.write_event(event)

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Writes scalars of a step by name.

        Raises:
          OSError: they cannot be written.
        """
        for name, value in values.items():
            self.write(event_pb2.Event(step=step, summary=summary.scalar(name, value)))
        if time.monotonic() - self.flushed > FLUSH_SECONDS:
            self.writer.flush()
            self.flushed = time.monotonic()

    def close(self) -> None:
        """Writes what is buffered, and closes the file."""
        self.writer.close()
