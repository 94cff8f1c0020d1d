"""The progress bar of a run's steps."""

from rich import progress

from jaxalign.runtime import distributed


class ProgressBar:
    """A bar of steps with the latest numbers; of many processes the first shows one."""

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

    def start(self, name: str, done: int, total: int) -> None:
        """Shows the bar at `done` of `total` steps."""
        self.bar.start()
        self.task = self.bar.add_task(
            name, total=total, completed=done, numbers="compiling ..."
        )
        if not self.bar.console.is_terminal:  # there a bar is shown at its end only
            distributed.print_line(f"{name}: compiling the first step ...")

    def advance(self, *, first: bool) -> None:
        """Counts a step; after the first there is nothing left to compile."""
        if self.task is not None:
            if first:
                self.bar.update(self.task, numbers="")
            self.bar.advance(self.task)

    def show(self, numbers: str) -> None:
        """Shows numbers beside the bar."""
        if self.task is not None:
            self.bar.update(self.task, numbers=numbers)

    def stop(self) -> None:
        """Ends the bar; more than once is allowed."""
        if self.bar.live.is_started:
            self.bar.stop()
