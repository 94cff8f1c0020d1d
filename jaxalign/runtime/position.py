"""The position of a run in a checkpoint, and resuming with another number of steps."""

import dataclasses
from collections.abc import Callable, Collection
from typing import Any

import jax

Rate = Callable[[int], Callable[[Any], jax.Array]]  # steps -> steps done -> rate


@dataclasses.dataclass(frozen=True)
class Position:
    """The progress of a run: what its checkpoints hold beside the training state.

    Attributes:
      done: steps done.
      total: steps of the whole run, over which the schedule is laid out.
      iterators: positions of the data iterators, by name.
      extras: other values of the loop, by name; see `loop.LoopState`.
      skipped: steps whose loss or gradient was not finite.
      last: the metrics of the last step.
      evaluations: the evaluations made, see `evaluations.Evaluations.history`.
      health: the state of `run_health.RunHealth`.
    """

    done: int
    total: int
    iterators: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    extras: dict[str, Any] = dataclasses.field(default_factory=dict)
    skipped: int = 0
    last: dict[str, float] = dataclasses.field(default_factory=dict)
    evaluations: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    health: dict[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def from_json(cls, item: Any, iterators: Collection[str]) -> "Position":
        """The position in a checkpoint's data item.

        Args:
          iterators: the names of the loop's iterators.

        Raises:
          ValueError: the item has other fields, or a position outside the run.
        """
        names = {field.name for field in dataclasses.fields(cls)}
        added = {"evaluations", "health"}  # checkpoints of 0.1 lack them
        if not isinstance(item, dict) or set(item) | added != names:
            raise ValueError(f"its data item should hold {sorted(names)}")
        position = cls(**item)
        if not isinstance(position.extras, dict):
            raise ValueError("its extras should be an object")
        if not isinstance(position.iterators, dict) or (
            set(position.iterators) != set(iterators)
        ):
            raise ValueError(f"its iterators should be {sorted(iterators)}")
        counts = (position.done, position.total, position.skipped)
        if any(type(count) is not int or count < 0 for count in counts):
            raise ValueError(f"done, total and skipped are {counts}")
        if position.done > position.total:
            raise ValueError(f"{position.done} of {position.total} steps are done")
        return position


def describe_extension(
    saved: Position, total: int, rate: Rate, *, allowed: bool
) -> str:
    """The jump of the learning rate when a run resumes with another number of steps.

    Args:
      rate: the schedule of a run of so many steps.
      allowed: whether --extend was given.

    Raises:
      ValueError: it was not, or more steps are done than `total`.
    """
    if not allowed:
        raise ValueError(
            f"the run to resume has {saved.total} steps, and now should have {total}: "
            "its learning rate's schedule is laid out over them; resume with as many "
            "(--steps), or add --extend to use the schedule of the new number"
        )
    if total < saved.done:
        raise ValueError(
            f"{saved.done} steps are done, more than the {total} that the run should "
            f"have: expected at least {saved.done}"
        )
    before, after = (float(rate(steps)(saved.done)) for steps in (saved.total, total))
    return (
        f"--extend: {total} steps rather than {saved.total}; at step {saved.done} the "
        f"learning rate jumps from {before:.4g} to {after:.4g}"
    )
