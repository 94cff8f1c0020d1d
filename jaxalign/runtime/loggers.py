"""Where a run's metrics go beside metrics.jsonl: TensorBoard, W&B, a function.

A logger has three methods (`Logger`). `--log` names those that a run opens, and
`main(config, loggers=[f])` of the training experiments adds others: loggers, or plain
functions f(step, metrics). Of many processes the first has loggers.

A logger that fails, such as for want of a network, does not end the run: a warning says
so once, and it is not called again.
"""

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from jaxalign import messages
from jaxalign.runtime.wandb_logger import WandbLogger
from jaxalign.training.tensorboard import TensorBoardLogger

Row = Mapping[str, Any]
NONE = "none"


class Logger(Protocol):
    """Receives what a run logs; a method that raises turns the logger off."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Receives finite metrics of a step by name, of training or held out.

        Held-out ones are a call of their own, before the step of that number, and all
        their names begin with eval/.
        """

    def text(self, step: int, rows: Sequence[Row]) -> None:
        """Receives samples of a step: rows of one set of columns."""

    def close(self) -> None:
        """Ends the log."""


LogFunction = Callable[[int, Mapping[str, float]], None]


class RunInfo(NamedTuple):
    """The run that a logger is opened for.

    Attributes:
      folder: of the run.
      experiment: the name of its program.
      settings: the values of its flags, by name.
      resumed: the first step that is logged; None unless the run is resumed.
    """

    folder: Path
    experiment: str
    settings: Mapping[str, Any]
    resumed: int | None


class NamedLogger(NamedTuple):
    """A logger that `--log` may name.

    Attributes:
      package: what it needs to be installed.
      extra: of jaxalign, which installs that; "" where every installation has it.
      open: makes the logger of a run.
    """

    package: str
    extra: str
    open: Callable[[RunInfo], Logger]


def open_tensorboard(run: RunInfo) -> Logger:
    """TensorBoard events in the run's folder."""
    return TensorBoardLogger(run.folder, purge_step=run.resumed)


def open_wandb(run: RunInfo) -> Logger:
    """A run of Weights & Biases, in the project that WANDB_PROJECT names."""
    return WandbLogger(run.folder, run.experiment, run.settings)


LOGGERS = {
    "tensorboard": NamedLogger("tensorboardX", "", open_tensorboard),
    "wandb": NamedLogger("wandb", "wandb", open_wandb),
}


class FunctionLogger:
    """The logger of a function f(step, metrics)."""

    def __init__(self, function: LogFunction) -> None:
        self.function = function

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Calls the function with a copy of the metrics."""
        self.function(step, dict(metrics))

    def text(self, step: int, rows: Sequence[Row]) -> None:
        """Does nothing."""

    def close(self) -> None:
        """Does nothing."""


def parse_names(log: str) -> list[str]:
    """The names of loggers in the text of `--log`.

    Raises:
      ValueError: an unknown name, or the package of one is not installed.

    >>> parse_names("tensorboard"), parse_names("none")
    (['tensorboard'], [])
    """
    if log.strip() == NONE:
        return []
    names = [name.strip() for name in log.split(",")]
    if NONE in names:
        raise ValueError(f"--log {log}: {NONE} stands alone, for no logger at all")
    for name in names:
        if name not in LOGGERS:
            unknown = messages.unknown_name("logger", name, [*LOGGERS, NONE])
            raise ValueError(f"--log {log}: {unknown}")
        package, extra, _ = LOGGERS[name]
        if importlib.util.find_spec(package) is None:
            raise ValueError(
                f"--log {name} needs the package {package}: "
                f"pip install 'jaxalign[{extra}]', or leave {name} out"
            )
    return list(dict.fromkeys(names))


class Loggers:
    """All loggers of a run as one, of which none can end the run.

    Attributes:
      active: those that work, by the name that warnings have.
    """

    def __init__(
        self,
        log: str,
        others: Sequence[Logger | LogFunction] | Logger | LogFunction = (),
        *,
        say: Callable[[str], None],
    ) -> None:
        """Args:

        log: the text of `--log`.
        others: further loggers, or functions f(step, metrics); or a single one.
        say: shows a warning.

        Raises:
          ValueError: as `parse_names`; one of the others is neither.
        """
        self.names = parse_names(log)
        several = others if isinstance(others, Sequence) else [others]
        self.others = dict(map(name_logger, several))
        self.say = say
        self.active: dict[str, Logger] = {}

    def open(self, run: RunInfo) -> None:
        """Opens the loggers that `--log` names."""
        for name in self.names:
            try:
                self.active[name] = LOGGERS[name].open(run)
            except Exception as error:
                self.warn(f"--log {name}", error)
        self.active |= self.others

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Gives all loggers the finite metrics of a step."""
        self.call(lambda logger: logger.log(step, metrics))

    def text(self, step: int, rows: Sequence[Row]) -> None:
        """Gives all loggers the samples of a step."""
        self.call(lambda logger: logger.text(step, rows))

    def close(self) -> None:
        """Closes all loggers; more than once is allowed."""
        self.call(lambda logger: logger.close())
        self.active = {}

    def call(self, method: Callable[[Logger], None]) -> None:
        """Calls each logger; one that raises is warned of and dropped."""
        for name, logger in list(self.active.items()):
            try:
                method(logger)
            except Exception as error:
                del self.active[name]
                given = f"logger {name.rpartition(' ')[0]}"  # without its id
                self.warn(f"--log {name}" if name in self.names else given, error)

    def warn(self, name: str, error: Exception) -> None:
        """Says that a logger is off, and why."""
        reason = " ".join(str(error).split())[:300] or "no message"
        self.say(
            f"warning: {name} is off from now on ({type(error).__name__}: {reason}); "
            "the run goes on, and metrics.jsonl has every step"
        )


def name_logger(logger: Logger | LogFunction) -> tuple[str, Logger]:
    """A logger, or a function as a logger, with its name for warnings.

    Raises:
      ValueError: it is neither.
    """
    name = getattr(logger, "__qualname__", type(logger).__name__)
    if all(callable(getattr(logger, each, None)) for each in ("log", "text", "close")):
        return f"{name} {id(logger):x}", logger  # type: ignore[return-value]
    if not callable(logger):
        raise ValueError(
            f"loggers: {logger!r:.80} is neither a function of (step, metrics) nor an "
            "object with the methods log, text and close"
        )
    return f"{name} {id(logger):x}", FunctionLogger(logger)
