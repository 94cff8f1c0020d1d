"""The held-out evaluations of a run: when one is due, the best, and when to stop."""

from collections.abc import Callable, Mapping
from math import inf, isfinite
from typing import Any

from jaxalign.runtime import evaluation_flags
from jaxalign.runtime.config import RunConfig
from jaxalign.runtime.evaluation_flags import PREFIX, EvaluationFlags
from jaxalign.runtime.loop import LoopState

# Held-out metrics of a loop's present state, named without `eval/`.
Measure = Callable[[LoopState], Mapping[str, float]]


class Evaluations:
    """The evaluations that a run has made, which its checkpoints hold.

    Attributes:
      best_metric: the held-out metric of --keep-best, `-` before it for the lowest; or
        empty.
      history: of each evaluation the steps done before it (`step`) and its metrics.
    """

    def __init__(self, config: RunConfig) -> None:
        """The schedule of a configuration; nothing is due without EvaluationFlags.

        Raises:
          ValueError: flags that wait for evaluations which are not made.
        """
        schedule = config if isinstance(config, EvaluationFlags) else EvaluationFlags()
        evaluation_flags.check(schedule, config.keep_best)
        self.every = schedule.eval_every
        self.patience = schedule.patience
        self.export_best = schedule.export_best
        is_held_out = evaluation_flags.is_held_out(config.keep_best)
        self.best_metric = config.keep_best if is_held_out else ""
        self.history: list[dict[str, Any]] = []

    def is_due(self, step: int, total: int) -> bool:
        """Whether to evaluate after `step` of `total` steps."""
        if any(entry["step"] == step for entry in self.history):
            return False
        regular = self.every > 0 and step % self.every == 0
        return step in (0, total) or regular

    def add(self, step: int, metrics: Mapping[str, float]) -> dict[str, float]:
        """Adds the metrics of an evaluation; returns them under their `eval/` names.

        Args:
          step: steps done.
          metrics: Python numbers.

        Raises:
          ValueError: none of them is the metric of --keep-best.
        """
        named = {f"{PREFIX}{name}": value for name, value in metrics.items()}
        if self.best_metric and self.best_metric.removeprefix("-") not in named:
            raise ValueError(
                f"--keep-best: no metric {self.best_metric.removeprefix('-')!r} in "
                f"{sorted(named)}"
            )
        self.history.append({"step": step, **named})
        return named

    def require_held_out(self, rows: int) -> bool:
        """Whether there are held-out rows to evaluate on.

        Raises:
          ValueError: there are none, and --keep-best names a metric of them.
        """
        if not rows and self.best_metric:
            raise ValueError(
                f"--keep-best {self.best_metric}: no rows are held out; set --held-out "
                "above 0, or name a file with --held-out-data"
            )
        return rows > 0

    def score(self, entry: Mapping[str, Any]) -> float:
        """The metric of --keep-best in an entry, higher for better; NaN is worst."""
        value = float(entry[self.best_metric.removeprefix("-")])
        value = -value if self.best_metric.startswith("-") else value
        return value if isfinite(value) else -inf

    def best(self) -> dict[str, Any] | None:
        """The first of the best evaluations; None without one of --keep-best."""
        if not (self.best_metric and self.history):
            return None
        return max(self.history, key=self.score)

    def has_improved(self) -> bool:
        """Whether the last evaluation is the first of the best."""
        return bool(self.history) and self.best() is self.history[-1]

    def at(self, step: int) -> dict[str, Any]:
        """The evaluation after so many steps; empty if there was none."""
        entries = [entry for entry in self.history if entry["step"] == step]
        return entries[-1] if entries else {}

    def should_stop(self) -> bool:
        """Whether --patience is over: so many evaluations since the best one."""
        best = self.best()
        if not self.patience or best is None:
            return False
        return len(self.history) - 1 - self.history.index(best) >= self.patience

    def stop_text(self, total: int) -> str:
        """A line that says why the run ends early."""
        best = self.best()
        assert best is not None
        metric = self.best_metric.removeprefix("-")
        return (
            f"stopped after {self.history[-1]['step']} of {total} steps: "
            f"{self.patience} evaluations without a better {metric} than "
            f"{best[metric]:.4g}, after step {best['step']} (--patience)"
        )

    def summary(self, step: int) -> str:
        """The main numbers of the evaluation after `step` steps, on a line."""
        numbers = {
            name: value
            for name, value in self.at(step).items()
            if name.count("/") == 1
            and isinstance(value, float)
            and not name.endswith(("_low", "_high"))
        }
        shown = "  ".join(f"{name} {value:.4g}" for name, value in numbers.items())
        return f"after {step} steps: {shown}"


def metrics_of(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The metrics of an entry of `Evaluations.history`.

    >>> metrics_of({"step": 4, "eval/loss": 0.5})
    {'eval/loss': 0.5}
    """
    return {name: value for name, value in entry.items() if name != "step"}
