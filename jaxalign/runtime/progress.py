"""The progress of a run's steps: a bar in a terminal, and lines in a file of output."""

import time
from collections.abc import Mapping

from rich import progress

from jaxalign.runtime import distributed

SECONDS = 30.0  # between lines, where the output is no terminal


class ProgressBar:
    """A bar of steps with the latest numbers; of many processes the first shows one.

    Where the output is no terminal (a file, a cluster's log), a bar could only be shown
    at its end: there lines say how far the run is, one every half a minute at most.
    """

    def __init__(self) -> None:
        self.bar = progress.Progress(
            progress.TextColumn("{task.description}", markup=False),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TextColumn("{task.fields[numbers]}", markup=False),
            progress.TimeRemainingColumn(),
            disable=not distributed.is_first(),
        )
        self.task: progress.TaskID | None = None
        self.shown = 0.0  # when a line was shown

    def start(self, name: str, done: int, total: int) -> None:
        """Shows the bar at `done` of `total` steps."""
        self.bar.start()
        self.task = self.bar.add_task(
            name, total=total, completed=done, numbers="compiling ..."
        )
        if not self.bar.console.is_terminal:
            distributed.print_line(f"{name}: compiling the first step ...")
        self.shown = time.monotonic()

    def advance(self, *, first: bool) -> None:
        """Counts a step; after the first there is nothing left to compile."""
        if self.task is not None:
            if first:
                self.bar.update(self.task, numbers="")
            self.bar.advance(self.task)

    def show(self, numbers: str) -> None:
        """Shows numbers beside the bar, or on a line where that is due."""
        if self.task is None:
            return
        self.bar.update(self.task, numbers=numbers)
        now = time.monotonic()
        if not self.bar.console.is_terminal and now - self.shown >= SECONDS:
            self.shown = now
            task = self.bar.tasks[0]
            done = f"{task.completed:.0f} of {task.total:.0f} steps"
            distributed.print_line(f"{task.description}: {done}  {numbers}")

    def stop(self) -> None:
        """Ends the bar; more than once is allowed."""
        if self.bar.live.is_started:
            self.bar.stop()


def headline(metrics: Mapping[str, float], tokens_per_second: float) -> str:
    """The few numbers of a step that are shown beside the bar.

    Of answers sampled by the policy that is their reward, since the loss says little:
    at ratio 1 it is about 0.

    >>> headline({"loss": 0.6931, "accuracy": 0.5}, 1234.5)
    'loss 0.6931  1,234 tokens/s'
    >>> headline({"loss": 1e-8, "reward": 0.25, "kl": 0.031}, 0)
    'reward 0.25  kl 0.031  loss 0.0000'
    """
    online = [f"{k} {metrics[k]:.4g}" for k in ("reward", "kl") if k in metrics]
    shown = online if "reward" in metrics else []
    shown = [*shown, f"loss {metrics['loss']:.4f}"]
    if tokens_per_second:
        shown.append(f"{tokens_per_second:,.0f} tokens/s")
    return "  ".join(shown)
