"""One run and its folder: what it was told, its metrics, checkpoints and progress."""

import contextlib
import dataclasses
import time
from collections.abc import Iterator, Sequence
from math import isfinite
from typing import Any

import jax

from jaxalign.runtime import (
    compilation_cache,
    distributed,
    leftovers,
    preemption,
    resuming,
)
from jaxalign.runtime.config import Shared, folder_of, mesh_of
from jaxalign.runtime.data_report import summary
from jaxalign.runtime.resuming import Position
from jaxalign.training import checkpoint, finite, metrics
from jaxalign.training.state import TrainState
from jaxalign.types import Params


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
        self.settings = resuming.plain(config)
        self.writer: metrics.Writer | None = None
        self.pending: tuple[int, dict[str, jax.Array], Any] | None = None
        self.last: dict[str, float] = {}
        self.scores: list[float] = []  # of --keep-best, since the last checkpoint
        self.skipped = 0
        self.data: dict[str, Any] = {"data": config.data, "splits": [], "notes": []}
        self.leaving = False
        self.scopes = contextlib.ExitStack()
        self.notice = preemption.Notice()
        self.watchdog = preemption.Watchdog(config.stall_after, self.say)
        self.tokens = 0
        self.step: int | None = None  # the one under way
        self.clock = time.perf_counter()
        self.bar = distributed.progress_bar()

    def __enter__(self) -> "Run":
        known = self.folder / "checkpoints"
        if not self.config.resume and known.exists() and any(known.iterdir()):
            raise ValueError(
                f"{self.folder} already holds a run: add --resume to go on with it, "
                "or choose another --out"
            )
        compilation_cache.enable(self.config.compilation_cache)
        distributed.meet("before the folder is made")
        leftovers.make(self.folder)
        for path in checkpoint.unfinished(known):
            self.say(f"{path.name} was not written to its end, and is left out")
        distributed.meet("before what is unfinished is deleted")
        self.manager = checkpoint.open(
            known, keep=self.config.keep, best=self.config.keep_best
        )
        try:
            if self.config.resume and self.manager.latest_step() is not None:
                checkpoint.check(self.manager, self.compared())
            else:
                self.write_settings()
        except BaseException:
            self.manager.close()
            leftovers.take_back(self.folder)
            raise
        self.scopes.enter_context(self.notice)
        if self.config.debug_nans:
            self.scopes.enter_context(jax.debug_nans(True))
        self.scopes.enter_context(jax.set_mesh(self.mesh))
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if self.bar.live.is_started:  # where an error ended the loop
            self.bar.stop()
        self.scopes.close()
        if self.writer is not None:
            self.writer.close()
        if jax.process_count() == 1 or kind is not jax.errors.JaxRuntimeError:
            checkpoint.finish(self.manager)  # which waits for the other processes
        if error is not None:
            leftovers.take_back(self.folder)
            if self.step is not None and "step " not in str(error):
                error.add_note(f"at step {self.step}")

    def resume(
        self,
        state: TrainState,
        roles: dict[str, Params],
        total: int,
        rate: resuming.Rate,
    ) -> tuple[TrainState, int, Any]:
        """The state to start from, the steps already done, and the data's cursor.

        Without --resume, or with nothing saved yet: the state given, 0 and None.

        Args:
          roles: the state's parameters by role, as `save` is given them.
          total: steps of the whole run.
          rate: the learning rate of a run of so many steps, by steps done.

        Raises:
          ValueError: the checkpoint is damaged, or of another run or schedule.
        """
        self.total = total
        position = Position(0, total)
        if self.config.resume:
            state, position = resuming.restored(self.manager, state, roles, total)
            if position.total != total:
                told = (position, total, rate)
                self.say(resuming.extended(*told, allowed=self.config.extend))
        self.skipped, self.last = position.skipped, dict(position.last)
        self.write_settings()
        if distributed.first():
            self.writer = metrics.Writer(self.folder, resume_step=position.done - 1)
        return state, position.done, position.cursor

    def note(self, report: Any) -> None:
        """Shows a report of what was cut or skipped, and keeps it in data.json."""
        self.say(f"{self.experiment}: {report}")
        self.data["notes"].append(str(report))
        if distributed.first():
            resuming.write_json(self.folder / "data.json", self.data)

    def describe_data(self, accounts: Sequence[tuple[str, dict[str, Any]]]) -> None:
        """Shows how each kind of record was split, and keeps it in data.json."""
        for kind, account in accounts:
            self.say(f"{self.experiment}: {summary(kind, account)}")
        self.data["splits"] = [{"kind": kind} | account for kind, account in accounts]
        if distributed.first():
            resuming.write_json(self.folder / "data.json", self.data)

    def say(self, text: str) -> None:
        """Shows a line; of many processes the first does."""
        distributed.say(text)

    def write(self, name: str, text: str, *, mode: str = "w") -> None:
        """Writes a file of the folder; of many processes the first does."""
        if distributed.first():
            with (self.folder / name).open(mode) as file:
                file.write(text)

    def steps(self, done: int, total: int) -> Iterator[int]:
        """Steps `done` to `total`, with a progress bar; flushes the log at the end.

        Raises:
          SystemExit: with 0, once the step after a notice of preemption is saved.
        """
        with self.bar, self.watchdog:
            self.task = self.bar.add_task(
                self.experiment, total=total, completed=done, numbers="compiling ..."
            )
            if not self.bar.console.is_terminal:  # where a bar is shown at its end only
                self.say(f"{self.experiment}: compiling the first step ...")
            self.clock = time.perf_counter()
            for self.step in range(done, total):
                step = self.step
                self.notice.waiting = True
                self.watchdog.alive(f"step {step}")
                yield step
                if step == done:
                    self.bar.update(self.task, numbers="")
                self.bar.advance(self.task)
                if self.leaving and step + 1 < total:
                    checkpoint.finish(self.manager, close=False)
                    self.say(f"told to end: saved after step {step}; --resume goes on")
                    raise SystemExit(0)
            self.flush()
            self.step, self.notice.waiting = None, False

    def log(
        self,
        step: int,
        values: dict[str, jax.Array],
        *,
        tokens: int = 0,
        rows: Any = None,
    ) -> None:
        """Writes the step before this one, and keeps this one for the next call.

        Args:
          rows: the numbers of the batch's rows, for the message if it is at fault.
        """
        self.flush()
        self.pending = (step, values, rows)
        self.tokens = tokens

    def flush(self) -> None:
        """Writes the pending step; a NaN in it stops the run, or is skipped if told.

        Raises:
          FloatingPointError: names the step, its rows and the last good checkpoint.
        """
        if self.pending is None:
            return
        step, values, rows = self.pending
        self.pending = None
        numbers = metrics.flatten(jax.device_get(values))
        now = time.perf_counter()
        rate, self.clock = self.tokens / max(now - self.clock, 1e-9), now
        try:
            metrics.check_finite(numbers, step, rows)
        except FloatingPointError as error:
            self.skip(error)
        self.last = {k: v for k, v in numbers.items() if k != "finite"}
        if self.skipped:
            self.last["skipped"] = self.skipped
        if self.config.keep_best:
            self.scores.append(self.score())
        if self.writer is not None:
            self.writer.log(step, self.last)
        self.bar.update(
            self.task, numbers=f"loss {numbers['loss']:.4f}  {rate:,.0f} tokens/s"
        )

    def skip(self, error: FloatingPointError) -> None:
        """Counts a step that is not finite, and stops the run if those are too many."""
        text = f"{error}; {self.last_good()}"
        if self.skipped >= self.config.skip_nonfinite:
            raise FloatingPointError(text) from error
        self.skipped += 1
        self.say(f"skipped ({self.skipped} of {self.config.skip_nonfinite}): {text}")

    def last_good(self) -> str:
        """Says which checkpoint is the last that is written to its end."""
        checkpoint.finish(self.manager, close=False)
        saved = self.manager.latest_step()
        kept = "there is no checkpoint yet" if saved is None else f"step {saved}"
        return f"last good checkpoint: {kept}"

    def score(self) -> float:
        """What --keep-best says of the step that was written last.

        Raises:
          ValueError: there is no such metric.
        """
        name = self.config.keep_best.removeprefix("-")
        if name not in self.last:
            raise ValueError(f"--keep-best: no metric {name!r} in {sorted(self.last)}")
        return self.last[name]

    def due(self, step: int, total: int) -> bool:
        """Whether a checkpoint is due after this step."""
        self.leaving = self.notice.reached(step)
        last = step + 1 == total
        return (step + 1) % self.config.save_every == 0 or last or self.leaving

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
        self.check_saved(state, roles, done)
        position = Position(done, self.total, cursor, self.skipped, self.last)
        name, scores = self.config.keep_best, [s for s in self.scores if isfinite(s)]
        told = {name.removeprefix("-"): sum(scores) / len(scores)} if scores else None
        self.scores = []
        checkpoint.save(
            self.manager,
            state,
            roles,
            data=dataclasses.asdict(position),
            config=self.compared(),
            metrics=told,
        )

    def check_saved(
        self, state: TrainState, roles: dict[str, Params], done: int
    ) -> None:
        """Refuses to save parameters or moments that are not finite.

        Raises:
          FloatingPointError: names the step, the array and the last good checkpoint.
        """
        name = finite.first_nonfinite({**roles, "optimizer": state.opt_state})
        if name is not None:
            raise FloatingPointError(
                f"step {done - 1}: {name} is not finite after the update, which is "
                f"not saved; {self.last_good()}"
            )

    def write_settings(self) -> None:
        """Writes config.json, and deletes the numbers of an earlier end."""
        if distributed.first():
            (self.folder / "numbers.json").unlink(missing_ok=True)
            resuming.write_json(self.folder / "config.json", self.settings)

    def compared(self) -> dict[str, Any]:
        """The settings that a resumed run may not change."""
        return resuming.compared(self.settings, free=self.config.LENGTHS)

    def finish(self, numbers: dict[str, Any]) -> dict[str, Any]:
        """Writes the run's numbers to its folder and shows them; null is not finite."""
        unknown = {
            k: None
            for k, v in numbers.items()
            if isinstance(v, float) and not isfinite(v)
        }
        if distributed.first():
            resuming.write_json(self.folder / "numbers.json", numbers | unknown)
        shown = "  ".join(
            f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}"
            for k, v in numbers.items()
            if isinstance(v, int | float | str)
        )
        self.say(f"{self.experiment}  {shown}  -> {self.folder}")
        distributed.meet("when the run is done")
        return numbers
