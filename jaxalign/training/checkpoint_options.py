"""Which checkpoints of a run are kept: the latest ones, and the best by a metric."""

import math
from collections.abc import Mapping
from typing import Any

import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as preservation


def manager_options(
    *, keep: int, best: str, background: bool
) -> ocp.CheckpointManagerOptions:
    """Orbax's options of a run's checkpoints.

    Args:
      keep: number of latest checkpoints to keep.
      best: name of a metric whose best checkpoint is kept as well, `-` before it for
        the lowest; empty for none. Without the metric a checkpoint is not the best.
      background: write while training continues.
    """
    name, lowest = best.removeprefix("-"), best.startswith("-")
    worst = math.inf if lowest else -math.inf

    def score(metrics: Mapping[str, float]) -> float:
        return metrics.get(name, worst)

    preserved: list[Any] = [preservation.LatestN(n=keep)]
    if best:
        preserved.append(
            preservation.BestN(
                get_metric_fn=score,
                reverse=lowest,
                n=1,
                keep_checkpoints_without_metrics=False,
            )
        )
    return ocp.CheckpointManagerOptions(
        preservation_policy=preservation.AnyPreservationPolicy(preserved),
        best_fn=score if best else None,  # without, orbax stores no metrics
        best_mode="min" if lowest else "max",
        cleanup_tmp_directories=True,
        enable_async_checkpointing=background,
    )
