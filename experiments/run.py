"""One run and its folder: what it was told, its metrics, checkpoints and progress."""

import dataclasses
import json
import time
from collections.abc import Iterator
from typing import Any

import jax
import rich
from rich import progress

from experiments import processes
from experiments.config import Shared, folder_of, mesh_of
from jaxalign.training import checkpoint, metrics
from jaxalign.training.state import TrainState
from jaxalign.types import Params

# Flags that do not change what a run computes, so that a resumed run may change them.
FREE = {"out", "resume", "save_every", "mesh", "steps", "skip_bad_rows"}


class Run:
    """A run's folder, as a context manager; the loop itself stays in the experiment.

    Inside, the mesh is in context. Metrics are logged one step late, so that the
    accelerator never waits for the log.
    """

    def __init__(self, config: Shared, experiment: str) -> None:
        self.config = config
        self.folder = folder_of(config, experiment)
        self.mesh = mesh_of(config)
        self.experiment = experiment
        self.settings = plain(config)
        self.writer: metrics.Writer | None = None
        self.pending: tuple[int, dict[str, jax.Array]] | None = None
        self.last: dict[str, float] = {}
        self.tokens = 0
        self.clock = time.perf_counter()
        self.bar = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TextColumn("{task.fields[numbers]}"),
            progress.TimeRemainingColumn(),
            disable=not processes.first(),
        )

    def __enter__(self) -> "Run":
        known = self.folder / "checkpoints"
        if not self.config.resume and known.exists() and any(known.iterdir()):
            raise ValueError(
                f"{self.folder} already holds a run: add --resume to go on with it, "
                "or choose another --out"
            )
        processes.meet("before the folder is made")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            settings = self.folder / "config.json"
            if not (self.config.resume and settings.exists()):
                self.write("config.json", json.dumps(self.settings, indent=2))
        except OSError as error:
            raise OSError(
                f"cannot write the run's folder {self.folder}: {error}"
            ) from error
        self.manager = checkpoint.open(known)
        self.scope = jax.set_mesh(self.mesh)
        self.scope.__enter__()
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self.scope.__exit__(kind, error, trace)
        if self.writer is not None:
            self.writer.close()
        if jax.process_count() == 1 or kind is not jax.errors.JaxRuntimeError:
            checkpoint.finish(self.manager)  # which waits for the other processes

    def resume(
        self, state: TrainState, roles: dict[str, Params]
    ) -> tuple[TrainState, int, Any]:
        """The state to start from, the steps already done, and the data's cursor.

        Without --resume, or with nothing saved yet: the state given, 0 and None.

        Args:
          roles: the state's parameters by role, as `save` is given them.
        """
        done, cursor = 0, None
        if self.config.resume and self.manager.latest_step() is not None:
            found = checkpoint.restore(
                self.manager, state, roles, config=self.compared()
            )
            state, done, cursor = found.state, found.data["done"], found.data["cursor"]
        if processes.first():
            self.writer = metrics.Writer(self.folder, resume_step=done - 1)
        return state, done, cursor

    def note(self, report: Any) -> None:
        """Shows and keeps what was read, cut and skipped."""
        self.say(f"{self.experiment}: {report}")
        self.write("data.txt", f"{report}\n", mode="a")

    def say(self, text: str) -> None:
        """Shows a line; of many processes the first does."""
        if processes.first():
            rich.print(text)

    def write(self, name: str, text: str, *, mode: str = "w") -> None:
        """Writes a file of the folder; of many processes the first does."""
        if processes.first():
            with (self.folder / name).open(mode) as file:
                file.write(text)

    def steps(self, done: int, total: int) -> Iterator[int]:
        """Steps `done` to `total`, with a progress bar; flushes the log at the end."""
        with self.bar:
            self.task = self.bar.add_task(
                self.experiment, total=total, completed=done, numbers=""
            )
            self.clock = time.perf_counter()
            for step in range(done, total):
                yield step
                self.bar.advance(self.task)
            self.flush()

    def log(self, step: int, values: dict[str, jax.Array], *, tokens: int = 0) -> None:
        """Writes the step before this one, and keeps this one for the next call."""
        self.flush()
        self.pending = (step, values)
        self.tokens = tokens

    def flush(self) -> None:
        """Writes the pending step; a NaN in it stops the run.

        Raises:
          FloatingPointError: names the step and the last good checkpoint.
        """
        if self.pending is None:
            return
        step, values = self.pending
        self.pending = None
        numbers = metrics.flatten(jax.device_get(values))
        now = time.perf_counter()
        rate, self.clock = self.tokens / max(now - self.clock, 1e-9), now
        try:
            metrics.check_finite(numbers, step)
        except FloatingPointError as error:
            saved = self.manager.latest_step()
            kept = "there is no checkpoint yet" if saved is None else f"step {saved}"
            raise FloatingPointError(
                f"{error}; last good checkpoint: {kept}"
            ) from error
        self.last = {k: v for k, v in numbers.items() if k != "finite"}
        if self.writer is not None:
            self.writer.log(step, self.last)
        self.bar.update(
            self.task, numbers=f"loss {numbers['loss']:.4f}  {rate:,.0f} tokens/s"
        )

    def due(self, step: int, total: int) -> bool:
        """Whether a checkpoint is due after this step."""
        return (step + 1) % self.config.save_every == 0 or step + 1 == total

    def save(
        self, state: TrainState, roles: dict[str, Params], done: int, cursor: Any
    ) -> None:
        """Saves a checkpoint, once all that it holds is known to be finite.

        Args:
          roles: the state's parameters, by role.
          done: how many steps are done.
          cursor: JSON-able: where the data stands, and what else the loop carries.
        """
        self.flush()
        data = {"done": done, "cursor": cursor}
        checkpoint.save(self.manager, state, roles, data=data, config=self.compared())

    def compared(self) -> dict[str, Any]:
        """The settings that a resumed run may not change."""
        return {k: v for k, v in self.settings.items() if k not in FREE}

    def finish(self, numbers: dict[str, Any]) -> dict[str, Any]:
        """Writes the run's numbers to its folder and shows them."""
        self.write("numbers.json", json.dumps(numbers, indent=2))
        shown = "  ".join(
            f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}"
            for k, v in numbers.items()
            if isinstance(v, int | float | str)
        )
        self.say(f"[bold]{self.experiment}[/bold]  {shown}  -> {self.folder}")
        processes.meet("when the run is done")
        return numbers


def plain(config: Any) -> dict[str, Any]:
    """A configuration as JSON values."""
    settings: dict[str, Any] = json.loads(
        json.dumps(dataclasses.asdict(config), default=str)
    )
    return settings
