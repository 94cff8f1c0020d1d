"""What people judge, and what they said: items, events, judgements.

Everything that happens in a study is an event, and events are only appended: an undo is
one, too. The judgements are what is left of the events of one log (`replay`).
"""

from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

Kind = Literal["pair", "ranking", "rating", "battle"]
TIE, BOTH_BAD, SKIP = "tie", "both_bad", "skip"
LEVELS = (2, 3, 4, 8)  # of scales of pairs; 3 has a middle, which is a tie
RATINGS = range(1, 8)


class Item(NamedTuple):
    """Answers to one prompt, which people judge.

    Attributes:
      id: its name in the study.
      kind: "pair", "ranking" or "rating"; "battle" is an arena's pair of conversations
        that differ before their last answer, so that it has no common prompt.
      prompt: the messages before the answers.
      answers: their texts.
      fields: what else is known: the source of each answer, category, ...
      gold: the expected judgement, which tests annotators: {"best": index of the better
        answer} of a pair, {"ranks": ...} or {"ratings": ...} by answer; None otherwise.
    """

    id: str
    kind: str
    prompt: list[dict[str, Any]]
    answers: tuple[str, ...]
    fields: dict[str, Any] = {}
    gold: dict[str, Any] | None = None


class Event(NamedTuple):
    """A row of the log.

    Attributes:
      seq: its number, rising with time.
      time: unix time, s.
      annotator: who did it; "" for the server.
      type: "assignment", "judgement", "undo", "turn" (of an arena's battle).
      ticket: of an assignment, and of the one judgement that answers it.
      body: what else belongs to it; see `Judgement`.
    """

    seq: int
    time: float
    annotator: str
    type: str
    ticket: str
    body: dict[str, Any]


class Judgement(NamedTuple):
    """What one annotator says of one item, after undo.

    Attributes:
      item: its id.
      kind: of the item.
      annotator: who judged.
      time: unix time, s.
      seconds: spent on it while it was shown.
      order: index of the answer in each place, left to right.
      value: of a pair the position 1..levels *as shown*, 1 the left answer by far, or
        "tie", "both_bad"; of a ranking the rank of each answer *by index*, 1 the best,
        ties equal; of a rating 1..7 of each answer by index; or "skip".
      levels: of a pair's scale: 2, 3 (the middle is a tie), 4 or 8; 0 without a scale.
      safe: whether each answer is safe, by index; None of an answer or of all where
        that was not asked.
      comment: free text.
      reason: of a skip.
      is_gold: whether the item tests the annotator.
      repeat: 1 where the annotator judged the item a second time, in another order.
      probability: with which the item was chosen as the next one; 1 in a fixed order.
    """

    item: str
    kind: str
    annotator: str
    time: float
    seconds: float
    order: tuple[int, ...]
    value: int | str | tuple[int, ...]
    levels: int = 0
    safe: tuple[bool | None, ...] | None = None
    comment: str = ""
    reason: str = ""
    is_gold: bool = False
    repeat: int = 0
    probability: float = 1.0


def signed_strength(judgement: Judgement) -> float | None:
    """How far the first answer is preferred: > 0 the first by index, 0 a tie.

    t = (levels + 1) / 2 - position, where position counts from the first answer

    On the scale of 8 it is one of +-0.5, 1.5, 2.5, 3.5.

    Returns:
      None where no answer is preferred or equal: "both_bad", "skip", other kinds.

    >>> left = Judgement("i", "pair", "ann", 0.0, 1.0, (0, 1), 1, levels=8)
    >>> signed_strength(left), signed_strength(left._replace(order=(1, 0)))
    (3.5, -3.5)
    """
    if judgement.value == TIE:
        return 0.0
    if not isinstance(judgement.value, int):
        return None
    strength = (judgement.levels + 1) / 2 - judgement.value
    return strength if judgement.order == (0, 1) else -strength


def to_judgement(event: Event) -> Judgement:
    """The judgement in an event of type "judgement"."""
    body = event.body
    value, safe = body["value"], body.get("safe")
    return Judgement(
        item=body["item"],
        kind=body["kind"],
        annotator=event.annotator,
        time=event.time,
        seconds=body["seconds"],
        order=tuple(body["order"]),
        value=tuple(value) if isinstance(value, list) else value,
        levels=body.get("levels", 0),
        safe=None if safe is None else tuple(safe),
        comment=body.get("comment", ""),
        reason=body.get("reason", ""),
        is_gold=body.get("is_gold", False),
        repeat=body.get("repeat", 0),
        probability=body.get("probability", 1.0),
    )


def judgement_body(judgement: Judgement) -> dict[str, Any]:
    """The body of a judgement's event; its annotator and time are the event's."""
    body = judgement._asdict()
    del body["annotator"], body["time"]
    return body


def replay(events: Iterable[Event]) -> list[Judgement]:
    """The judgements that hold after a log, in the order of time.

    A later judgement of the same annotator, item and repeat replaces an earlier one; an
    undo takes the one of its body's item and repeat back.
    """
    held: dict[tuple[str, str, int], Judgement] = {}
    for event in events:
        if event.type == "judgement":
            judgement = to_judgement(event)
            key = (event.annotator, judgement.item, judgement.repeat)
            held.pop(key, None)  # a replacement is the newest
            held[key] = judgement
        elif event.type == "undo":
            held.pop((event.annotator, *undone(event.body)), None)
    return list(held.values())


def undone(body: Mapping[str, Any]) -> tuple[str, int]:
    """The item and the repeat that an undo takes back."""
    return body["item"], body.get("repeat", 0)
