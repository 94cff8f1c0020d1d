"""Judged pairs of answers as columns: read from rows, selected, turned around."""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

FIELDS = ("prompt_id", "model_a", "model_b", "probability")


@dataclasses.dataclass(frozen=True)
class Judgements:
    """Judged pairs as columns.

    Attributes:
      prompts: the id of each pair's prompt, the unit of intervals, str [R].
      model_a, model_b: the models' names, str [R].
      probability: that a's answer is better, 1/2 for a tie, float [R] in [0, 1].
      first: the same from the question that shows a's answer first, float [R]; NaN
        where no judge was asked (a reward's judgement, or answers that are the same).
      swapped: the same from the question that shows b's answer first.
      length_a, length_b: characters of the answers, float [R]; NaN where unknown.
      category: of the prompt, str [R]; "" where it has none.
    """

    prompts: np.ndarray
    model_a: np.ndarray
    model_b: np.ndarray
    probability: np.ndarray
    first: np.ndarray
    swapped: np.ndarray
    length_a: np.ndarray
    length_b: np.ndarray
    category: np.ndarray

    def __len__(self) -> int:
        """The number of judged pairs."""
        return len(self.probability)

    def columns(self) -> list[np.ndarray]:
        """The columns in the order of the attributes."""
        return [getattr(self, field.name) for field in dataclasses.fields(self)]

    def select(self, rows: np.ndarray) -> "Judgements":
        """The rows of a mask or of indices [R]."""
        return Judgements(*(column[rows] for column in self.columns()))


def judgement_columns(rows: Sequence[Mapping[str, Any]]) -> Judgements:
    """Columns of judgement rows, as `judgements.jsonl` holds them.

    Args:
      rows: with the fields `prompt_id`, `model_a`, `model_b`, `probability`, and where
        known `first`, `swapped`, `length_a`, `length_b`, `category`.

    Raises:
      ValueError: no rows, a missing field, a probability outside [0, 1], or a model
        that is judged against itself; names the row, from 1.
    """
    if not rows:
        raise ValueError("there are no judgements")
    for place, row in enumerate(rows, 1):
        check_row(row, f"judgement {place}")

    def text(name: str) -> np.ndarray:
        values = (row.get(name) for row in rows)
        return np.array(["" if value is None else str(value) for value in values])

    def number(name: str) -> np.ndarray:
        values = (row.get(name) for row in rows)
        return np.array([math.nan if v is None else float(v) for v in values])

    return Judgements(
        prompts=text("prompt_id"),
        model_a=text("model_a"),
        model_b=text("model_b"),
        probability=number("probability"),
        first=number("first"),
        swapped=number("swapped"),
        length_a=number("length_a"),
        length_b=number("length_b"),
        category=text("category"),
    )


def check_row(row: Mapping[str, Any], location: str) -> None:
    """Refuses a judgement that no statistic can use.

    Raises:
      ValueError: as `judgement_columns`; begins with the location.
    """
    for name in FIELDS:
        if row.get(name) is None:
            raise ValueError(f"{location}: field {name!r} is missing")
    for name in ("probability", "first", "swapped"):
        value = row.get(name)
        if value is None:
            continue
        if not isinstance(value, int | float) or not 0.0 <= value <= 1.0:
            raise ValueError(
                f"{location}: field {name!r} is {value!r}; expected a probability in "
                "[0, 1]"
            )
    if row["model_a"] == row["model_b"]:
        raise ValueError(
            f"{location}: {row['model_a']!r} is judged against itself; give the two "
            "models different names"
        )


def model_names(judgements: Judgements) -> list[str]:
    """The models, in the order of their first judgement."""
    pairs = zip(judgements.model_a, judgements.model_b, strict=True)
    return list(dict.fromkeys(str(name) for pair in pairs for name in pair))


def swap_sides(judgements: Judgements) -> Judgements:
    """The same judgements with the names a and b exchanged.

    P(b better) = 1 - P(a better), and what was shown first stays shown first:
    the new `first` (b shown first) comes from the old `swapped`.
    """
    return dataclasses.replace(
        judgements,
        model_a=judgements.model_b,
        model_b=judgements.model_a,
        probability=1.0 - judgements.probability,
        first=1.0 - judgements.swapped,
        swapped=1.0 - judgements.first,
        length_a=judgements.length_b,
        length_b=judgements.length_a,
    )


def pair_judgements(judgements: Judgements, model: str, other: str) -> Judgements:
    """The judgements of two models, turned so that `model` is a everywhere.

    Raises:
      ValueError: the two were not compared.
    """
    is_a = (judgements.model_a == model) & (judgements.model_b == other)
    is_b = (judgements.model_a == other) & (judgements.model_b == model)
    if not (is_a | is_b).any():
        raise ValueError(f"no judgement compares {model!r} with {other!r}")
    straight, turned = judgements.select(is_a), swap_sides(judgements.select(is_b))
    both = zip(straight.columns(), turned.columns(), strict=True)
    order = np.argsort(np.concatenate([*map(np.flatnonzero, (is_a, is_b))]))
    return Judgements(*map(np.concatenate, both)).select(order)


def compared_pairs(judgements: Judgements) -> list[tuple[str, str]]:
    """Pairs of models that were compared, each once, in the models' order."""
    names = model_names(judgements)
    met = {
        frozenset(p) for p in zip(judgements.model_a, judgements.model_b, strict=True)
    }
    return [p for p in itertools.combinations(names, 2) if frozenset(p) in met]
