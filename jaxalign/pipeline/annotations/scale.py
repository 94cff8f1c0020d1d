"""Scales of labels: names, orders or numbers, and votes for one of two answers."""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from jaxalign.evaluation.agreement.coefficients import Level
from jaxalign.messages import shorten
from jaxalign.pipeline.annotations.layouts import RawLabel

TIES = frozenset(
    ("tie", "draw", "both", "equal", "same", "neither", "bothbad", "both bad")
    + ("tie (bothbad)",)
)
VOTES = (("left", "right"), ("model_a", "model_b"), ("a", "b"), ("first", "second"))
PANDALM = frozenset(("response1", "response2"))


class Scale(NamedTuple):
    """What labels mean.

    Attributes:
      names: of the labels, from lowest to highest where they are ordered [K].
      values: their numbers [K]; None where they have none.
      level: how far labels differ: by name, by order, or by number.
      ordered: whether the order of the names is one of the labels.
      votes: whether labels are votes: for the first answer, a tie, or the second.
      tie: index of the label for a tie; None without one.
      text: a sentence that says how the level was chosen.
    """

    names: list[str]
    values: np.ndarray | None
    level: Level
    ordered: bool
    votes: bool
    tie: int | None
    text: str


def clean_label(raw: RawLabel) -> str | float:
    """A label as a number where it is one, else as text; ties are all "tie".

    Raises:
      ValueError: it is NaN, infinite, a list or an object.
    """
    label = raw.label
    if isinstance(label, bool):
        return str(label).lower()
    if isinstance(label, int | float | str):
        try:
            number = float(label)
        except (ValueError, OverflowError):
            text = str(label).strip()
            return "tie" if text.casefold() in TIES else text
        if math.isfinite(number):
            return number
    raise ValueError(
        f"{raw.location}: the label of {raw.annotator or 'an annotator'} is "
        f"{shorten(str(label))}; expected a number or a word; leave it empty where it "
        "is missing, or name it in --missing"
    )


def make_scale(
    raw: Sequence[RawLabel],
    values: Sequence[str | float],
    level: Level | Literal["auto"],
    order: Sequence[str],
    pandalm: bool,
) -> Scale:
    """The scale of labels: their order, their level.

    Args:
      pandalm: whether rows are of PandaLM's layout, whose labels are 1, 2, and 0 for a
        tie.

    Raises:
      ValueError: numbers and words are mixed, a label is not in --order, or labels lack
        what --level needs.
    """
    numeric = [isinstance(value, float) for value in values]
    if any(numeric) and not all(numeric):
        few = sum(numeric) * 2 <= len(numeric)
        i = numeric.index(few)
        kinds = ("a number", "words") if few else ("no number", "numbers")
        raise ValueError(
            f"{raw[i].location}: label {shorten(str(raw[i].label))!r} is {kinds[0]}, "
            f"while most are {kinds[1]}; leave it empty where it is missing, or name "
            "it in --missing"
        )
    if pandalm and not order and set(values) <= {0.0, 1.0, 2.0}:
        order = ("1", "0", "2")
    if order:
        return chosen_order(raw, values, level, order, pandalm)
    if all(numeric):
        numbers = np.unique(np.array(values, np.float64))
        chosen: Level = "ordinal" if level == "auto" else level
        text = f"labels are {len(numbers)} numbers, taken as {article(chosen)} scale"
        text += "; --level nominal where they are names" if level == "auto" else ""
        if chosen == "ratio" and numbers[0] < 0:
            raise ValueError(
                f"--level ratio needs labels of 0 or more, not {numbers[0]:g}"
            )
        return Scale(
            [label_name(x) for x in numbers.tolist()],
            numbers,
            chosen,
            True,
            False,
            None,
            text,
        )
    names = {str(value) for value in values}
    lower = {name.casefold() for name in names}
    pair = next((p for p in VOTES if lower <= {*p, "tie"}), None)
    if pair:
        spelt = {name.casefold(): name for name in names}
        ordered = [spelt.get(name, name) for name in (pair[0], "tie", pair[1])]
        ordered = [name for name in ordered if name in names or name != "tie"]
        return word_scale(ordered, level, "votes for one of two answers", votes=True)
    if level not in ("auto", "nominal"):
        raise ValueError(
            f"--level {level} needs an order of the labels, which are words: "
            f"{shorten(', '.join(sorted(names)))}; add --order LOWEST,...,HIGHEST"
        )
    return Scale(sorted(names), None, "nominal", False, False, None, "labels are names")


def chosen_order(
    raw: Sequence[RawLabel],
    values: Sequence[str | float],
    level: Level | Literal["auto"],
    order: Sequence[str],
    pandalm: bool,
) -> Scale:
    """The scale of labels whose order is given, or PandaLM's.

    Raises:
      ValueError: a label is not in the order.
    """
    for one, value in zip(raw, values, strict=True):
        if label_name(value) not in order:
            raise ValueError(
                f"{one.location}: label {label_name(value)!r} is not in --order "
                f"{','.join(order)}"
            )
    if pandalm and tuple(order) == ("1", "0", "2"):
        text = "PandaLM's votes: 1, 2, and 0 for a tie"
        return word_scale(order, level, text, votes=True)._replace(tie=1)
    chosen: Level | Literal["auto"] = "ordinal" if level == "auto" else level
    return word_scale(order, chosen, "labels in the order of --order", votes=False)


def word_scale(
    names: Sequence[str],
    level: Level | Literal["auto"],
    text: str,
    *,
    votes: bool,
) -> Scale:
    """A scale of ordered words; nominal where the level is auto.

    Raises:
      ValueError: the level needs numbers.
    """
    if level in ("interval", "ratio"):
        raise ValueError(
            f"--level {level} needs labels that are numbers; they are "
            f"{shorten(', '.join(names))}"
        )
    chosen: Level = "nominal" if level == "auto" else level
    tie = list(names).index("tie") if "tie" in names else None
    text = f"{text}, taken as {article(chosen)} scale"
    return Scale(list(names), None, chosen, True, votes, tie, text)


def article(level: str) -> str:
    """A level with its article."""
    return f"{'an' if level[0] in 'io' else 'a'} {level}"


def label_name(value: str | float) -> str:
    """A label as text: numbers without needless zeros."""
    if isinstance(value, str):
        return value
    whole = value.is_integer() and abs(value) < 1e15
    return str(int(value)) if whole else repr(value)
