"""A training run: its folder, mesh, log, checkpoints and preemption, as one context."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxalign import sharding
from jaxalign.runtime import (
    compilation_cache,
    disk,
    distributed,
    flags,
    model_usage,
    run_curves,
    run_settings,
)
from jaxalign.runtime.checkpointer import Checkpointer
from jaxalign.runtime.config import RunConfig
from jaxalign.runtime.evaluated_run import EvaluatedRun
from jaxalign.runtime.loggers import LogFunction, Logger, Loggers, RunInfo
from jaxalign.runtime.loop import LoopState
from jaxalign.runtime.mesh import mesh_of
from jaxalign.runtime.metrics_logger import MetricsLogger, merge_groups
from jaxalign.runtime.position import Rate, describe_extension
from jaxalign.runtime.preemption import PreemptionHandler
from jaxalign.runtime.progress import ProgressBar
from jaxalign.runtime.run_folder import RunFolder, folder_of
from jaxalign.runtime.samples_log import DeferredRows, SamplesLog
from jaxalign.runtime.stalls import StallReporter
from jaxalign.types import Params


class Run(EvaluatedRun):
    """A run and its folder, as a context manager; the loop stays in the experiment.

    Inside, the mesh is in context::

        with Run(config, "sft") as run:
            loop = LoopState(0, state, {"data": batches})
            loop = run.restore(loop, roles(state), total=steps, rate=config.rate)
            state = loop.state
            run.evaluate(loop, roles(state), measure)
            for i in run.steps(loop.step, steps):
                state, metrics = update(state, next(batches))
                run.log(i, update=metrics)
                loop = LoopState(i + 1, state, {"data": batches})
                run.evaluate(loop, roles(state), measure)
                run.checkpoint(loop, roles(state))
            state = run.exported_state(loop, roles(state))
            run.finish(run.results())
    """

    def __init__(
        self,
        config: RunConfig,
        experiment: str,
        loggers: Sequence[Logger | LogFunction] = (),
    ) -> None:
        """Args:

        experiment: the name of the program.
        loggers: beside those of --log, see `jaxalign.runtime.loggers`.

        Raises:
          ValueError: --log has an unknown name, or one that is not installed.
        """
        super().__init__(config, experiment)
        all_loggers = Loggers(config.log, loggers, say=self.say)
        self.folder = folder_of(config, experiment)
        self.mesh = mesh_of(config)
        free = flags.resumable_fields(type(config)) | config.LENGTHS
        self.files = RunFolder(self.folder, experiment, config)
        self.progress = ProgressBar()
        self.checkpointer = Checkpointer(
            self.folder / "checkpoints",
            run_settings.fixed_settings(self.files.settings, free=free),
            keep=config.keep,
            best=config.keep_best,
        )
        self.logger = MetricsLogger(
            skip_nonfinite=config.skip_nonfinite,
            last_good=self.checkpointer.last_good,
            before_write=self.check_step,
            show=self.progress.show,
            loggers=all_loggers,
            samples=SamplesLog(getattr(config, "show_samples_every", 0), all_loggers),
        )
        self.preemption = PreemptionHandler(self.progress.show)
        self.stalls = StallReporter(config.stall_after, self.say)
        self.scopes = contextlib.ExitStack()
        self.step: int | None = None  # the one under way
        self.rates: np.ndarray = np.zeros(0)  # the learning rate of each step
        self.data: Any = None  # the iterator whose epochs are logged

    def __enter__(self) -> "Run":
        if not self.config.resume:
            self.files.refuse_used()
        compilation_cache.enable(self.config.compilation_cache)
        distributed.barrier("before the folder is created")
        self.files.make()
        try:
            self.checkpointer.open()
            if self.config.resume and not self.checkpointer.is_empty():
                self.checkpointer.check_settings()
            else:
                self.files.write_settings()
        except BaseException:
            self.checkpointer.close()
            self.files.remove_unused()
            self.files.unlock()
            raise
        self.preemption.install()
        if self.config.debug_nans:
            self.scopes.enter_context(jax.debug_nans(True))
        self.scopes.enter_context(jax.set_mesh(self.mesh))
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        # where an error ended the loop, `steps` has not
        self.progress.stop()
        self.stalls.stop()
        self.scopes.close()
        failure = error
        with self.preemption.defer_signals():
            for close in (self.logger.close, self.finish_checkpoints):
                try:
                    close(error)
                except OSError as caught:
                    failure = failure or caught
        self.preemption.restore()
        if failure is not None:
            self.files.remove_unused()
        self.files.unlock()
        if error is not None and self.step is not None:
            texts = [str(error), *getattr(error, "__notes__", ())]
            if not any("step " in text for text in texts):
                error.add_note(f"at step {self.step}")
        if disk.is_full(failure):
            good = self.checkpointer.last_written()
            raise OSError(
                f"the disk of {self.folder} is full; {good}; free some space, then "
                "continue with --resume"
            ) from failure
        if failure is not error:
            raise failure
        if error is None and self.preemption.requested:
            self.preemption.stop("the run is done")

    def finish_checkpoints(self, error: BaseException | None) -> None:
        """Waits until checkpoints are written.

        Of many processes one that failed does not wait: the others may have ended.
        """
        alone = jax.process_count() == 1
        if alone or error is None or isinstance(error, SystemExit):
            self.checkpointer.finish()

    def note(self, report: Any) -> None:
        """Shows a report of cut or skipped rows, and adds it to data.json."""
        self.files.note(report)

    def describe_data(self, accounts: Sequence[tuple[str, dict[str, Any]]]) -> None:
        """Shows how each kind of record was split, and adds it to data.json."""
        self.files.describe_data(accounts)

    def restore(
        self,
        loop: LoopState,
        roles: Mapping[str, Params],
        *,
        total: int,
        rate: Rate,
    ) -> LoopState:
        """Restores the latest checkpoint with --resume, and opens the log.

        Args:
          loop: the loop at its beginning, and the template of what is restored; its
            iterators are moved to where they were.
          roles: the state's parameters by role, as for `checkpoint`.
          total: steps of the whole run.
          rate: the learning rate of a run of so many steps, by steps done.

        Returns:
          The restored loop; without --resume or a checkpoint, `loop` itself.

        Raises:
          ValueError: the checkpoint is damaged, or of another run or schedule.
        """
        self.total = total
        if self.config.resume and not self.checkpointer.is_empty():
            loop, position = self.checkpointer.restore(loop, roles)
            if position.total != total:
                jump = (position, total, rate)
                self.say(describe_extension(*jump, allowed=self.config.extend))
            self.logger.set_counts(position.skipped, position.last)
            self.restore_evaluations(position)
        self.files.write_settings()
        self.files.write_warnings(self.health.warnings)
        rates = sharding.to_host(rate(total)(np.arange(total)))
        self.rates = np.broadcast_to(rates, (total,))
        self.data = next(iter(loop.iterators.values()), None)
        settings = self.files.settings
        info = RunInfo(
            self.folder,
            self.experiment,
            settings,
            loop.step if self.config.resume else None,
        )
        sampled = getattr(self.config, "sample_rows", 0) > 0
        self.logger.open(info, step=loop.step, sampled=sampled)
        self.rewrite_evaluation(loop.step)
        return loop

    def steps(self, start: int, stop: int) -> Iterator[int]:
        """The numbers of the steps, with a progress bar; flushes the log at the end."""
        self.progress.start(self.experiment, start, stop)
        with self.stalls:
            self.logger.start_clock()
            for step in range(start, stop):
                if self.evaluations.should_stop():
                    break
                self.step, self.preemption.in_loop = step, True
                self.stalls.begin(f"step {step}")
                yield step
                self.progress.advance(first=step == start)
            self.logger.flush()
            self.step, self.preemption.in_loop = None, False
        self.progress.stop()

    def log(
        self,
        step: int,
        *,
        tokens: int = 0,
        rows: Any = None,
        samples: DeferredRows | None = None,
        **groups: Any,
    ) -> None:
        """Writes the metrics of the step before, and keeps this step's on the device.

        The learning rate and the epoch are added.

        Args:
          tokens: of the step, for the rate that is shown.
          rows: the numbers of the batch's rows, for the message if one is at fault.
          samples: of the step, for samples.jsonl.
          **groups: metrics by name, in groups such as `rollout` and `update`; the log
            has the metrics' own names.

        Raises:
          ValueError: two groups have a metric of one name.
          FloatingPointError: the step before was not finite, and may not be skipped;
            names the step, its rows and the last good checkpoint.
        """
        self.logger.flush()
        common = {"learning_rate": self.rates[step]} if step < len(self.rates) else {}
        if (epoch := getattr(self.data, "epoch", None)) is not None:
            common["epoch"] = epoch
        values = merge_groups({**groups, "run": common})
        self.logger.hold(step, values, rows=rows, tokens=tokens, samples=samples)

    def checkpoint(self, loop: LoopState, roles: Mapping[str, Params]) -> None:
        """Saves the loop after a step if that is due, and ends a preempted run.

        A checkpoint is due every --save-every steps, at the end (also where --patience
        is over), and on SIGTERM or Ctrl-C. Every process calls this after every step.

        Args:
          roles: the state's parameters, by role.

        Raises:
          FloatingPointError: the state is not finite, and is not saved.
          SystemExit: with 0, once a run that SIGTERM preempted is saved.
          KeyboardInterrupt: once a run that Ctrl-C interrupted is saved.
        """
        stop = self.preemption.should_stop(loop.step - 1)
        ended = loop.step == self.total or self.evaluations.should_stop()
        if not (stop or ended or loop.step % self.config.save_every == 0):
            return
        self.save(loop, roles)
        with self.preemption.defer_signals():
            stop = self.preemption.requested and not ended
            if stop:
                self.checkpointer.finish(close=False)
        if stop:
            self.preemption.stop(f"saved after step {loop.step - 1}")

    def finish(self, numbers: dict[str, Any]) -> dict[str, Any]:
        """Writes the run's numbers and curves, shows the numbers, returns them."""
        self.files.write_numbers(numbers)
        run_curves.write_curves(self.folder, self.experiment)
        distributed.barrier("when the run is done")
        if distributed.is_first():
            model_usage.show(self.experiment, self.folder)
        return numbers
