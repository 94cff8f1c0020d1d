"""The metrics of a run's steps: logged one step late, checked for NaN, shown.

The clock's metrics (`seconds`, `tokens_per_second`) go to timing.jsonl and the loggers,
and not to metrics.jsonl, whose numbers are those of any repetition of the run.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax

from jaxalign import sharding
from jaxalign.runtime import distributed
from jaxalign.runtime.loggers import Loggers, RunInfo
from jaxalign.runtime.progress import headline
from jaxalign.runtime.samples_log import DeferredRows, SamplesLog
from jaxalign.training import metrics


class Pending(NamedTuple):
    """The metrics of a step, on the device.

    Attributes:
      rows: numbers of the batch's rows, for the message where one is at fault.
      tokens: of the batch, for the rate.
      samples: of the step.
    """

    step: int
    values: Mapping[str, Any]
    rows: Any
    tokens: int
    samples: DeferredRows | None


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
        loggers: Loggers,
        samples: SamplesLog,
    ) -> None:
        """Args:

        skip_nonfinite: how many steps that are not finite are counted and skipped.
        last_good: names the last good checkpoint, for the message of the next one.
        before_write: receives each step and its metrics, and may raise.
        show: shows the numbers of a step.
        loggers: receive what metrics.jsonl does, and times.
        samples: receives the samples of each step.
        """
        self.skip_nonfinite = skip_nonfinite
        self.last_good = last_good
        self.before_write = before_write
        self.show = show
        self.loggers = loggers
        self.samples = samples
        self.last: dict[str, float] = {}
        self.skipped = 0
        self.pending: Pending | None = None
        self.clock = time.perf_counter()
        self.writer: metrics.Writer | None = None
        self.timing: metrics.Writer | None = None

    def set_counts(self, skipped: int, last: Mapping[str, float]) -> None:
        """Continues the counts of a resumed run."""
        self.skipped, self.last = skipped, dict(last)

    def open(self, run: RunInfo, *, step: int, sampled: bool) -> None:
        """Opens the logs, and drops their lines from `step` on.

        Args:
          sampled: whether the run has samples.
        """
        if not distributed.is_first():
            return
        self.writer = metrics.Writer(run.folder, resume_step=step - 1)
        timing = metrics.TIMING
        self.timing = metrics.Writer(run.folder, resume_step=step - 1, name=timing)
        if sampled:
            self.samples.open(run.folder, step=step)
        self.loggers.open(run)

    def close(self, error: BaseException | None = None) -> None:
        """Closes the logs; the pending step is not written.

        Args:
          error: what ended the run; then nothing more is raised.

        Raises:
          OSError: the last lines cannot be written.
        """
        self.loggers.close()
        for log in (self.writer, self.timing, self.samples):
            try:
                if log is not None:
                    log.close()
            except OSError:
                if error is None:
                    raise

    def start_clock(self) -> None:
        """Begins to measure the tokens per second."""
        self.clock = time.perf_counter()

    def hold(
        self,
        step: int,
        values: Mapping[str, Any],
        *,
        rows: Any,
        tokens: int,
        samples: DeferredRows | None = None,
    ) -> None:
        """Keeps the metrics and samples of a step until `flush`."""
        self.pending = Pending(step, values, rows, tokens, samples)

    def flush(self) -> None:
        """Writes the pending step.

        Raises:
          FloatingPointError: names the step, its rows and the last good checkpoint.
        """
        if self.pending is None:
            return
        step, values, rows, tokens, samples = self.pending
        self.pending = None
        numbers = metrics.flatten(jax.device_get(values))
        now = time.perf_counter()
        seconds, self.clock = now - self.clock, now
        rate = tokens / max(seconds, 1e-9)
        times = {"seconds": seconds} | ({"tokens_per_second": rate} if tokens else {})
        try:
            metrics.check_finite(numbers, step, rows)
        except FloatingPointError as error:
            self.skip(error)
        self.last = {k: v for k, v in numbers.items() if k != "finite"}
        if self.skipped:
            self.last["skipped"] = self.skipped
        self.before_write(step, self.last)
        self.write(step, self.last, times)
        if samples is not None and distributed.is_first():
            arrays = jax.tree.map(sharding.to_host, samples.arrays)
            self.samples.write(step, samples.make(step, arrays))
        self.show(headline(numbers, rate))

    def write(
        self, step: int, numbers: Mapping[str, float], times: Mapping[str, float]
    ) -> None:
        """Writes the numbers and times of a step; of many processes the first does."""
        if self.writer is None or self.timing is None:
            return
        self.writer.log(step, numbers)
        if times:
            self.timing.log(step, times)
        known = metrics.finite_metrics(metrics.flatten({**numbers, **times}))
        self.loggers.log(step, known)

    def write_evaluation(self, step: int, metrics: Mapping[str, float]) -> None:
        """Writes held-out metrics, on a line of their own.

        Args:
          step: steps done before the evaluation: the number of the next step.
        """
        self.write(step, metrics, {})

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
