"""The checkpoints of a run: when one is due, what it holds, how it is restored."""

from collections.abc import Mapping
from math import isfinite, nan
from pathlib import Path
from typing import Any

from jaxalign.runtime import distributed
from jaxalign.runtime.evaluation_flags import is_held_out
from jaxalign.runtime.loop import LoopState, json_values
from jaxalign.runtime.position import Position
from jaxalign.training import checkpoint, checkpoint_validation, finite
from jaxalign.training.state import TrainState
from jaxalign.types import Params


class Checkpointer:
    """Writes and reads a run's checkpoints, of finite numbers only."""

    def __init__(
        self, folder: Path, settings: Mapping[str, Any], *, keep: int, best: str
    ) -> None:
        """Args:

        folder: of the checkpoints.
        settings: the flags that a resumed run must have in common with this one.
        keep: how many of the latest checkpoints stay.
        best: the metric of --keep-best, or empty.
        """
        self.folder = folder
        self.settings = settings
        self.keep = keep
        self.best = best
        self.scores: list[float] = []  # of --keep-best, since the last checkpoint
        self.evaluated: dict[int, float] = {}  # held-out scores, by steps done
        self.manager: Any = None  # until `open`

    def open(self) -> None:
        """Opens the folder, and deletes what a killed run left half-written."""
        for path in checkpoint.unfinished_checkpoints(self.folder):
            distributed.print_line(
                f"{path.name} was not written to its end, and is skipped"
            )
        distributed.barrier("before unfinished checkpoints are deleted")
        self.manager = checkpoint.open_manager(
            self.folder, keep=self.keep, best=self.best
        )

    def close(self) -> None:
        """Ends without waiting for what is being written."""
        if self.manager is not None:
            self.manager.close()

    def finish(self, *, close: bool = True) -> None:
        """Waits until everything is written."""
        checkpoint.finish(self.manager, close=close)

    def is_empty(self) -> bool:
        """Whether there is no checkpoint."""
        return self.manager.latest_step() is None

    def check_settings(self) -> None:
        """Refuses the latest checkpoint where it is of other settings.

        Raises:
          ValueError: names the flag that differs.
        """
        checkpoint.check_config(self.manager, self.settings)

    def restore(
        self, loop: LoopState, roles: Mapping[str, Params]
    ) -> tuple[LoopState, Position]:
        """Restores the latest checkpoint, and moves the loop's iterators there.

        Raises:
          ValueError: the checkpoint is damaged.
        """
        read = checkpoint.restore(self.manager, loop.state, roles)
        try:
            position = Position.from_json(read.data, loop.iterators)
        except ValueError as error:
            step = self.manager.latest_step()
            raise checkpoint_validation.damage_error(
                self.manager, step, str(error)
            ) from error
        for name, iterator in loop.iterators.items():
            iterator.set_state(position.iterators[name])
        restored = LoopState(position.done, read.state, loop.iterators, position.extras)
        return restored, position

    def add_score(self, metrics: Mapping[str, float]) -> None:
        """Adds a step's metrics to the score of the next checkpoint.

        Raises:
          ValueError: there is no metric of the name that --keep-best gives.
        """
        if not self.best or is_held_out(self.best):
            return
        name = self.best.removeprefix("-")
        if name not in metrics:
            raise ValueError(f"--keep-best: no metric {name!r} in {sorted(metrics)}")
        self.scores.append(metrics[name])

    def add_evaluation(self, step: int, metrics: Mapping[str, float]) -> None:
        """Keeps a held-out metric of --keep-best as the score of that step."""
        if is_held_out(self.best):
            self.evaluated[step] = metrics[self.best.removeprefix("-")]

    def check_finite(self, loop: LoopState, roles: Mapping[str, Params]) -> None:
        """Refuses a state that is not finite.

        Raises:
          FloatingPointError: names the step, the array and the last good checkpoint.
        """
        name = finite.first_nonfinite({**roles, "optimizer": loop.state.opt_state})
        if name is not None:
            raise FloatingPointError(
                f"step {loop.step - 1}: {name} is not finite after the update, which "
                f"is not saved; {self.last_good()}"
            )

    def save(
        self,
        loop: LoopState,
        roles: Mapping[str, Params],
        *,
        total: int,
        skipped: int,
        last: dict[str, float],
        evaluations: list[dict[str, Any]],
        health: dict[str, Any],
    ) -> None:
        """Saves a checkpoint of finite numbers.

        Args:
          roles: the state's parameters, by role.
          total: steps of the whole run.
          skipped: steps whose loss or gradient was not finite.
          last: the metrics of the last step.
          evaluations, health: see `Position`.

        Raises:
          FloatingPointError: names the step, the array and the last good checkpoint.
        """
        self.check_finite(loop, roles)
        position = Position(
            done=loop.step,
            total=total,
            iterators={key: it.get_state() for key, it in loop.iterators.items()},
            extras=json_values(loop.extras),
            skipped=skipped,
            last=last,
            evaluations=evaluations,
            health=health,
        )
        checkpoint.save(
            self.manager,
            loop.state,
            roles,
            data=vars(position),
            config=self.settings,
            metrics=self.score(loop.step),
        )

    def score(self, step: int) -> dict[str, float] | None:
        """The score of a checkpoint by --keep-best's metric.

        Of a held-out metric, that of the evaluation at this step, if there was one; of
        a training metric, the mean since the last checkpoint, which this ends.
        """
        if is_held_out(self.best):
            value = self.evaluated.get(step, nan)
            return {self.best.removeprefix("-"): value} if isfinite(value) else None
        scores = [score for score in self.scores if isfinite(score)]
        self.scores = []
        name = self.best.removeprefix("-")
        return {name: sum(scores) / len(scores)} if scores else None

    def restore_best(
        self, loop: LoopState, roles: Mapping[str, Params]
    ) -> tuple[int, TrainState]:
        """The best checkpoint by --keep-best: steps done, and the state after them.

        It is the loop itself where no checkpoint has a score, or the last one is best.

        Raises:
          ValueError: the best checkpoint is damaged.
        """
        self.finish(close=False)
        best = self.manager.best_step()
        if best is None or self.manager.metrics(best) is None:
            return loop.step, loop.state
        if best == int(loop.state.step):
            return loop.step, loop.state
        read = checkpoint.restore(self.manager, loop.state, roles, step=best)
        return int(read.data["done"]), read.state

    def last_good(self) -> str:
        """The last good checkpoint, for a message; waits until it is written."""
        self.finish(close=False)
        return self.last_written()

    def last_written(self) -> str:
        """The last checkpoint that lies complete on the disk, for a message."""
        unfinished = checkpoint.unfinished_checkpoints(self.folder)
        complete = set(self.folder.glob("[0-9]*")).difference(unfinished)
        steps = [int(path.name) for path in complete if path.name.isdigit()]
        which = f"step {max(steps)}" if steps else "there is no checkpoint yet"
        return f"last good checkpoint: {which}"
