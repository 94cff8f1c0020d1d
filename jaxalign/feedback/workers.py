"""What is known of one annotator: what is held, done and due."""

import dataclasses
import hashlib
from typing import Any, NamedTuple

from jaxalign.feedback.judgements import Judgement


class Assignment(NamedTuple):
    """An item that an annotator is to judge; see `Judgement` for the fields.

    Attributes:
      ticket: a secret name, which the answer brings back.
      granted: unix time, s.
    """

    ticket: str
    item: str
    repeat: int
    order: tuple[int, ...]
    probability: float
    granted: float


@dataclasses.dataclass
class Worker:
    """What is known of one annotator.

    Attributes:
      done: judgements by (item, repeat), the newest last.
      held: what is shown now, and what comes next.
      lapsed: assignments whose lease has ended, by ticket; an answer is still taken.
      answered: what was answered on each ticket.
      due: items to be judged again -> number of judgements when they were judged.
      assigned: number of assignments so far, without those again after an undo.
      seen: time of the last action.
    """

    done: dict[tuple[str, int], Judgement] = dataclasses.field(default_factory=dict)
    held: list[Assignment] = dataclasses.field(default_factory=list)
    lapsed: dict[str, Assignment] = dataclasses.field(default_factory=dict)
    answered: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    due: dict[str, int] = dataclasses.field(default_factory=dict)
    assigned: int = 0
    seen: float = 0.0

    def holds(self, item: str) -> bool:
        """Whether an item is held for a first judgement."""
        return any(a.item == item and not a.repeat for a in self.held)


def fraction(seed: int, *names: str) -> float:
    """A number in [0, 1) that depends on the seed and the names alone.

    >>> 0 <= fraction(0, "ann", "item") < 1
    True
    """
    text = "\0".join([str(seed), *names]).encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:6], "big") / 2**48
