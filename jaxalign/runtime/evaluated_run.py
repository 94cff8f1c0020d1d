"""What a run does beside its steps: held-out evaluations, warnings, results."""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxalign.runtime import distributed
from jaxalign.runtime.checkpointer import Checkpointer
from jaxalign.runtime.config import RunConfig
from jaxalign.runtime.evaluations import Evaluations, Measure, metrics_of
from jaxalign.runtime.loop import LoopState
from jaxalign.runtime.metrics_logger import MetricsLogger
from jaxalign.runtime.position import Position
from jaxalign.runtime.preemption import PreemptionHandler
from jaxalign.runtime.run_folder import RunFolder
from jaxalign.runtime.split_lines import split_lines
from jaxalign.runtime.stalls import StallReporter
from jaxalign.training.run_health import HealthWarning, RunHealth
from jaxalign.training.state import TrainState
from jaxalign.types import Params


class EvaluatedRun:
    """The part of `Run` that measures held-out metrics and warns.

    Attributes:
      total: steps of the whole run, once it is restored.
      evaluations: those made so far, and when the next is due.
      health: the detectors of a run that goes wrong.
      exported: steps done before the state that is exported.
    """

    files: RunFolder
    checkpointer: Checkpointer
    logger: MetricsLogger
    stalls: StallReporter
    preemption: PreemptionHandler

    def __init__(self, config: RunConfig, experiment: str) -> None:
        self.config = config
        self.experiment = experiment
        self.total = 0
        self.evaluations = Evaluations(config)
        self.health = RunHealth()
        self.exported = 0

    @property
    def last(self) -> dict[str, float]:
        """The metrics of the last written step, by name."""
        return self.logger.last

    def say(self, text: str) -> None:
        """Shows a line; of many processes the first does."""
        distributed.print_line(text)

    def restore_evaluations(self, position: Position) -> None:
        """Continues the evaluations and warnings of a checkpoint."""
        self.evaluations.history = position.evaluations
        self.health = RunHealth(position.health)

    def rewrite_evaluation(self, step: int) -> None:
        """Writes the evaluation of a restored checkpoint, whose line was dropped."""
        if made := self.evaluations.at(step):
            self.logger.write_evaluation(step, metrics_of(made))

    def check_step(self, step: int, metrics: dict[str, float]) -> None:
        """Gives the metrics of a step to --keep-best and to the warnings."""
        self.checkpointer.add_score(metrics)
        self.warn(self.health.add_step(step, metrics))

    def warn(self, warnings: Sequence[HealthWarning]) -> None:
        """Shows warnings that a run goes wrong, and writes them to warnings.json."""
        for warning in warnings:
            self.say(f"{self.experiment}: warning: {warning}")
        if warnings:
            self.files.write_warnings(self.health.warnings)

    def evaluate(
        self, loop: LoopState, roles: Mapping[str, Params], measure: Measure | None
    ) -> None:
        """Measures held-out metrics where that is due, and saves a better state.

        Evaluations are due at the start of the run, at its end, and every --eval-every
        steps between. No training number depends on them. Called before the loop, and
        in it after every step, before `checkpoint`.

        Args:
          roles: the state's parameters, by role.
          measure: of the loop's state; None where nothing is held out.

        Raises:
          FloatingPointError: the state is not finite.
          ValueError: there is no metric of --keep-best's name.
        """
        if measure is None or not self.evaluations.is_due(loop.step, self.total):
            return
        self.logger.flush()
        if loop.step:
            self.checkpointer.check_finite(loop, roles)
        self.stalls.begin(f"the evaluation after {loop.step} steps")
        metrics = self.evaluations.add(loop.step, measure(loop))
        self.checkpointer.add_evaluation(loop.step, metrics)
        self.logger.write_evaluation(loop.step, metrics)
        self.say(f"{self.experiment}: {self.evaluations.summary(loop.step)}")
        for line in split_lines(metrics):
            self.say(f"  {line}")
        self.warn(self.health.add_evaluation(loop.step, metrics))
        if self.evaluations.has_improved():
            self.save(loop, roles)
        if self.evaluations.should_stop():
            self.say(f"{self.experiment}: {self.evaluations.stop_text(self.total)}")
        self.logger.start_clock()

    def save(self, loop: LoopState, roles: Mapping[str, Params]) -> None:
        """Saves the loop after a step, unless that is done."""
        self.logger.flush()
        with self.preemption.defer_signals():
            self.checkpointer.save(
                loop,
                roles,
                total=self.total,
                skipped=self.logger.skipped,
                last=self.last,
                evaluations=self.evaluations.history,
                health=self.health.to_json(),
            )

    def exported_state(
        self, loop: LoopState, roles: Mapping[str, Params]
    ) -> TrainState:
        """The state to write as a model: the last, or with --export-best the best."""
        self.exported = loop.step
        if not self.evaluations.export_best:
            return loop.state
        self.exported, state = self.checkpointer.restore_best(loop, roles)
        self.say(
            f"{self.experiment}: the model written is that after step {self.exported} "
            f"of {loop.step}, the best by --keep-best {self.config.keep_best}"
        )
        return state

    def results(self) -> dict[str, Any]:
        """The numbers of a trained model: held-out ones first (`eval/...`).

        Those are of the state that is exported; then follow the last step's training
        metrics (`train/...`).
        """
        held_out = self.evaluations.at(self.exported)
        steps = {"eval/step": self.exported} if held_out else {}
        training = {f"train/{name}": value for name, value in self.last.items()}
        return metrics_of(held_out) | steps | training
