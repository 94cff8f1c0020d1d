"""TensorBoard event files, written in the caller's thread.

tensorboardX's own writer has a thread: after a write error, such as a full disk, that
thread ends and the training loop would wait for it forever.
"""

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxalign import lazy

if TYPE_CHECKING:
    from tensorboardX import event_file_writer, summary
    from tensorboardX.proto import event_pb2
else:
    event_file_writer = lazy.module("tensorboardX.event_file_writer")
    event_pb2 = lazy.module("tensorboardX.proto.event_pb2")
    summary = lazy.module("tensorboardX.summary")

FLUSH_SECONDS = 30.0
ENTITIES = {ord(mark): f"&#{ord(mark)};" for mark in "&<>|\\`*_[]~#"}


class EventFile:
    """An event file of scalars and texts in a run's folder."""

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
        self.flush_if_due()

    def add_text(self, step: int, name: str, markdown: str) -> None:
        """Writes a text of a step, which TensorBoard shows as Markdown.

        Raises:
          OSError: it cannot be written.
        """
        self.write(event_pb2.Event(step=step, summary=summary.text(name, markdown)))
        self.flush_if_due()

    def flush_if_due(self) -> None:
        """Writes what is buffered, every FLUSH_SECONDS."""
        if time.monotonic() - self.flushed > FLUSH_SECONDS:
            self.writer.flush()
            self.flushed = time.monotonic()

    def close(self) -> None:
        """Writes what is buffered, and closes the file."""
        self.writer.close()


class TensorBoardLogger:
    """Metrics as scalars and samples as a table, in a run's folder."""

    def __init__(
        self, folder: str | os.PathLike[str], *, purge_step: int | None = None
    ) -> None:
        """Opens a new event file; see `EventFile`."""
        self.events = EventFile(folder, purge_step=purge_step)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Writes metrics of a step."""
        self.events.add(step, metrics)

    def text(self, step: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Writes samples of a step, rows of one set of columns."""
        names = list(rows[0])
        lines = [names, ["---"] * len(names)]
        lines += [[escape_cell(row[name]) for name in names] for row in rows]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        self.events.add_text(step, "samples", table)

    def close(self) -> None:
        """Closes the file."""
        self.events.close()


def escape_cell(value: Any) -> str:
    """A value as a cell of a Markdown table: one line, without markup.

    >>> escape_cell("a|b\\n<i>"), escape_cell(0.12345678), escape_cell(None)
    ('a&#124;b<br>&#60;i&#62;', '0.1235', '')
    """
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    return "<br>".join(str(value).translate(ENTITIES).splitlines())
