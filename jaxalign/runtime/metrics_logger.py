"""The metrics of a run's steps: logged one step late, checked for NaN, shown."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax

from jaxalign.runtime import distributed
from jaxalign.training import metrics


class Pending(NamedTuple):
    """The metrics of a step, on the device.

    Attributes:
      rows: numbers of the batch's rows, for the message where one is at fault.
      tokens: of the batch, for the rate.
    """

    step: int
    values: Mapping[str, Any]
    rows: Any
    tokens: int


class MetricsLogger:
    """Keeps a step's metrics on the device until the next step has been dispatched.

    So the accelerator does not wait for the log.

    Attributes:
      pending: the metrics that `flush` writes.
      last: the metrics of the last written step.
      skipped: steps whose loss or gradient was not finite.
    """

    def __init__(
        self,
        *,
        skip_nonfinite: int,
        last_good: Callable[[], str],
        before_write: Callable[[int, dict[str, float]], None],
        show: Callable[[str], None],
    ) -> None:
        """Args:

        skip_nonfinite: how many steps that are not finite are counted and skipped.
        last_good: names the last good checkpoint, for the message of the next one.
        before_write: receives each step and its metrics, and may raise.
        show: shows the numbers of a step.
        """
        self.skip_nonfinite = skip_nonfinite
        self.last_good = last_good
        self.before_write = before_write
        self.show = show
        self.last: dict[str, float] = {}
        self.skipped = 0
        self.pending: Pending | None = None
        self.clock = time.perf_counter()
        self.writer: metrics.Writer | None = None

    def set_counts(self, skipped: int, last: Mapping[str, float]) -> None:
        """Continues the counts of a resumed run."""
        self.skipped, self.last = skipped, dict(last)

    def open(self, folder: Path, *, step: int) -> None:
        """Opens the log, and drops its lines from `step` on."""
        if distributed.is_first():
            self.writer = metrics.Writer(folder, resume_step=step - 1)

    def close(self, error: BaseException | None = None) -> None:
        """Closes the log; the pending step is not written.

        Args:
          error: what ended the run; then nothing more is raised.

        Raises:
          OSError: the last lines cannot be written.
        """
        if self.writer is not None:
            try:
                self.writer.close()
            except OSError:
                if error is None:
                    raise

    def start_clock(self) -> None:
        """Begins to measure the tokens per second."""
        self.clock = time.perf_counter()

    def hold(
        self, step: int, values: Mapping[str, Any], *, rows: Any, tokens: int
    ) -> None:
        """Keeps the metrics of a step until `flush`."""
        self.pending = Pending(step, values, rows, tokens)

    def flush(self) -> None:
        """Writes the pending step.

        Raises:
          FloatingPointError: names the step, its rows and the last good checkpoint.
        """
        if self.pending is None:
            return
        step, values, rows, tokens = self.pending
        self.pending = None
        numbers = metrics.flatten(jax.device_get(values))
        now = time.perf_counter()
        rate, self.clock = tokens / max(now - self.clock, 1e-9), now
        try:
            metrics.check_finite(numbers, step, rows)
        except FloatingPointError as error:
            self.skip(error)
        self.last = {k: v for k, v in numbers.items() if k != "finite"}
        if self.skipped:
            self.last["skipped"] = self.skipped
        self.before_write(step, self.last)
        if self.writer is not None:
            self.writer.log(step, self.last)
        self.show(f"loss {numbers['loss']:.4f}  {rate:,.0f} tokens/s")

    def write_evaluation(self, step: int, metrics: Mapping[str, float]) -> None:
        """Writes held-out metrics, on a line of their own.

        Args:
          step: steps done before the evaluation: the number of the next step.
        """
        if self.writer is not None:
            self.writer.log(step, metrics)

    def skip(self, error: FloatingPointError) -> None:
        """Counts a step that is not finite, and stops the run after too many."""
        text = f"{error}; {self.last_good()}"
        if self.skipped >= self.skip_nonfinite:
            raise FloatingPointError(text) from error
        self.skipped += 1
        distributed.print_line(
            f"skipped ({self.skipped} of {self.skip_nonfinite}): {text}"
        )


def merge_groups(groups: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The metrics of all groups under their own names.

    Raises:
      ValueError: two groups have a metric of one name.

    >>> merge_groups({"rollout": {"reward": 1.0}, "update": {"loss": 0.5}})
    {'reward': 1.0, 'loss': 0.5}
    """
    merged: dict[str, Any] = {}
    group_of: dict[str, str] = {}
    for group, values in groups.items():
        for name, value in values.items():
            if name in merged:
                raise ValueError(
                    f"metric {name!r} is in two groups, {group_of[name]} and {group}: "
                    "rename one of them"
                )
            merged[name], group_of[name] = value, group
    return merged
