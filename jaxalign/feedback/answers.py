"""What a page sends back: checked, and turned into a judgement by answer index."""

import math
from collections.abc import Mapping
from typing import Any

from jaxalign.feedback.judgements import (
    BOTH_BAD,
    RATINGS,
    SKIP,
    TIE,
    Item,
    Judgement,
    signed_strength,
)
from jaxalign.feedback.queue import Assignment
from jaxalign.feedback.settings import Settings

MAX_COMMENT = 4000  # characters
Payload = Mapping[str, Any]


class Refused(ValueError):
    """An answer that the study does not take; says why."""


def parse_answer(
    payload: Payload,
    item: Item,
    assignment: Assignment,
    settings: Settings,
    now: float,
) -> Judgement:
    """The judgement in a page's answer; its annotator and time are left out.

    Args:
      payload: `value` of the shown places, `seconds`, `safe`, `comment`, `reason`.
      now: unix time, s, which bounds the seconds.

    Raises:
      Refused: a field is missing or of the wrong kind; names it.
    """
    value = parse_value(payload.get("value"), item, assignment, settings)
    safe = None
    if settings.safety and value != SKIP:
        safe = parse_safe(payload.get("safe"), assignment)
    return Judgement(
        item=item.id,
        kind=item.kind,
        annotator="",
        time=now,
        seconds=parse_seconds(payload.get("seconds"), now - assignment.granted),
        order=assignment.order,
        value=value,
        levels=settings.levels if item.kind == "pair" else 0,
        safe=safe,
        comment=parse_text(payload, "comment"),
        reason=parse_text(payload, "reason") if value == SKIP else "",
        is_gold=item.gold is not None,
        repeat=assignment.repeat,
        probability=assignment.probability,
    )


def parse_value(
    value: Any, item: Item, assignment: Assignment, settings: Settings
) -> int | str | tuple[int, ...]:
    """The value of a judgement; of rankings and ratings by answer index.

    Raises:
      Refused: it is none of this kind of item.
    """
    if value == SKIP:
        return SKIP
    count = len(item.answers)
    if item.kind == "pair":
        words = [TIE] * settings.ties + [BOTH_BAD] * settings.both_bad
        if isinstance(value, str) and value in words:
            return value
        if is_integer(value) and 1 <= value <= settings.levels:
            return int(value)
        raise Refused(f"field 'value': expected 1 to {settings.levels}, or a word")
    if not isinstance(value, list) or len(value) != count:
        raise Refused(f"field 'value': expected a list of {count} numbers")
    high = count if item.kind == "ranking" else RATINGS[-1]
    if not all(is_integer(x) and 1 <= x <= high for x in value):
        raise Refused(f"field 'value': expected whole numbers from 1 to {high}")
    if item.kind == "ranking":
        ranks = sorted(set(value))
        value = [ranks.index(x) + 1 for x in value]
    by_index = [0] * count
    for place, index in enumerate(assignment.order):
        by_index[index] = value[place]
    return tuple(by_index)


def parse_safe(safe: Any, assignment: Assignment) -> tuple[bool | None, ...]:
    """Whether each answer is safe, by answer index.

    Raises:
      Refused: not true or false for each place.
    """
    count = len(assignment.order)
    if not isinstance(safe, list) or len(safe) != count:
        raise Refused(f"field 'safe': expected a list of {count} answers")
    if not all(isinstance(x, bool) for x in safe):
        raise Refused("field 'safe': expected true or false of each answer")
    by_index: list[bool | None] = [None] * count
    for place, index in enumerate(assignment.order):
        by_index[index] = safe[place]
    return tuple(by_index)


def parse_seconds(seconds: Any, most: float) -> float:
    """The seconds spent on an item, no more than have passed.

    Raises:
      Refused: not a finite number of 0 or more.
    """
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if not is_number or not 0 <= seconds < math.inf:
        raise Refused("field 'seconds': expected a number of 0 or more")
    return round(float(min(seconds, max(most, 0.0))), 2)


def parse_text(payload: Payload, name: str) -> str:
    """An optional text.

    Raises:
      Refused: no text, too long, or not valid Unicode.
    """
    text = payload.get(name, "")
    if not isinstance(text, str) or len(text) > MAX_COMMENT:
        raise Refused(f"field {name!r}: expected a text of {MAX_COMMENT} characters")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Refused(f"field {name!r}: not valid Unicode") from None
    return text.strip()


def is_integer(value: Any) -> bool:
    """Whether a value is an integer, and no bool."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_right(item: Item, judgement: Judgement) -> bool | None:
    """Whether a judgement of a gold item agrees with what is expected.

    Of a pair the side counts; of a ranking the order of every two answers that the
    expected ranks tell apart; of a rating at most one point of difference.

    Returns:
      None for a skip, or an item that is not gold.
    """
    gold, value = item.gold, judgement.value
    if gold is None or value == SKIP:
        return None
    if item.kind == "pair":
        strength = signed_strength(judgement) or 0.0
        return strength > 0 if gold["best"] == 0 else strength < 0
    if not isinstance(value, tuple):
        return False
    if item.kind == "rating":
        wanted = gold["ratings"]
        return all(abs(a - b) <= 1 for a, b in zip(value, wanted, strict=True))
    ranks = gold["ranks"]
    return all(
        value[i] < value[j]
        for i in range(len(ranks))
        for j in range(len(ranks))
        if ranks[i] < ranks[j]
    )
