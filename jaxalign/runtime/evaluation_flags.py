"""The flags of held-out evaluations while a model trains."""

import dataclasses

from jaxalign.runtime import flags
from jaxalign.runtime.split_flags import SplitFlags

PREFIX = "eval/"  # of held-out metrics in logs, numbers.json and --keep-best


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationFlags(SplitFlags):
    """When a run is evaluated on its held-out rows, and what depends on it."""

    eval_every: int = flags.resumable(0)
    """Steps between evaluations on held-out rows; 0: at the start and at the end
    only."""
    eval_rows: int = 512
    """Most held-out rows (of online methods: prompts) of an evaluation, the same ones
    each time."""
    patience: int = flags.resumable(0)
    """End the run after so many evaluations without a better --keep-best eval/METRIC; 0
    for never."""
    export_best: bool = flags.resumable(False)
    """Write the model of the best checkpoint (--keep-best), not of the last step."""


def check(flags_: EvaluationFlags, keep_best: str) -> None:
    """Refuses flags that wait for evaluations which are not made.

    Args:
      keep_best: the metric of --keep-best, or empty.

    Raises:
      ValueError: names the flags.
    """
    if flags_.patience and not is_held_out(keep_best):
        raise ValueError(
            f"--patience {flags_.patience} waits for a better --keep-best eval/METRIC: "
            "name the metric, such as --keep-best eval/accuracy or "
            "--keep-best=-eval/loss"
        )
    if flags_.patience and not flags_.eval_every:
        raise ValueError(
            f"--patience {flags_.patience} needs --eval-every: without it, a run is "
            "evaluated at its start and at its end only"
        )
    if flags_.export_best and not keep_best:
        raise ValueError(
            "--export-best needs --keep-best, the metric by which a checkpoint is the "
            "best, such as --keep-best eval/accuracy"
        )


def is_held_out(metric: str) -> bool:
    """Whether a metric of --keep-best, such as -eval/loss, is a held-out one.

    >>> is_held_out("eval/accuracy"), is_held_out("-eval/loss"), is_held_out("reward")
    (True, True, False)
    """
    return metric.removeprefix("-").startswith(PREFIX)
