"""Judged comparisons of two models each, from rows in the layouts that people use.

- `judgements.jsonl` of `experiments.compare`, and arenas' battles: `model_a`,
  `model_b`, with `winner`, `probability` (that a is better), or both;
- battles: `left`, `right`, `winner`;
- AlpacaEval's annotations: `generator_1`, `generator_2`, `preference`, with the answers
  in `output_1`, `output_2`;
- the same without texts, a file for each model, which has its name: `index`,
  `len_baseline`, `len_model`, `preference`.

Lengths are in characters.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxalign import messages
from jaxalign.data.row_errors import MalformedRow
from jaxalign.evaluation.win_rates.raw import win_probabilities

BASELINE = "baseline"  # of files that do not name it
OUTCOMES = {
    **dict.fromkeys(("model_a", "left", "a", "first"), 1.0),
    **dict.fromkeys(("model_b", "right", "b", "second"), 0.0),
    **dict.fromkeys(("tie", "draw", "tie (bothbad)", "tie (both bad)"), 0.5),
    **dict.fromkeys(("both_bad", "both bad", "bothbad"), 0.5),
}
"""The outcome for the first model, by the words of `winner`; "both bad" is a tie."""
LAYOUTS = (
    "left, right, winner; model_a, model_b, winner; generator_1, generator_2, "
    "preference; or len_model, len_baseline, preference"
)
Row = Mapping[str, Any]


class Comparison(NamedTuple):
    """A judged comparison of two models on a prompt.

    Attributes:
      location: `path:line`.
      model_a, model_b: names of the models.
      winner: 1 where a wins, 0 where b does, 0.5 for a tie; None if not stated.
      probability: that a is better, in [0, 1]; NaN where the judge failed, None if not
        stated.
      prompt: its id, else its text, else its index; "" if unknown.
      length_a, length_b: characters of the answers; None if unknown.
      answer_a, answer_b: texts; None if unknown.
      fields: the whole row.
    """

    location: str
    model_a: str
    model_b: str
    winner: float | None
    probability: float | None
    prompt: str
    length_a: float | None
    length_b: float | None
    answer_a: str | None
    answer_b: str | None
    fields: Row

    @property
    def outcome(self) -> float:
        """The winner, or else the probability that a is better."""
        stated = self.winner if self.winner is not None else self.probability
        return math.nan if stated is None else stated

    @property
    def win_probability(self) -> float:
        """The probability that a is better, or else the winner."""
        stated = self.probability if self.probability is not None else self.winner
        return math.nan if stated is None else stated

    def swap(self) -> "Comparison":
        """The same comparison with b as the first model."""
        other = lambda x: None if x is None else 1.0 - x
        return self._replace(
            model_a=self.model_b,
            model_b=self.model_a,
            winner=other(self.winner),
            probability=other(self.probability),
            length_a=self.length_b,
            length_b=self.length_a,
            answer_a=self.answer_b,
            answer_b=self.answer_a,
        )


def parse_comparison(row: Any, location: str) -> Comparison:
    """A comparison from a row.

    Raises:
      MalformedRow: it has none of the layouts, a value out of range, an unknown winner,
        or a model that meets itself.
    """
    if not isinstance(row, Mapping):
        raise MalformedRow("is not an object of fields")
    if "model_a" in row or "model_b" in row:
        comparison = parse_named(row, location, "model_a", "model_b")
    elif "left" in row or "right" in row:
        comparison = parse_named(row, location, "left", "right")
    elif "generator_1" in row or "generator_2" in row:
        comparison = parse_annotation(row, location)
    elif "len_model" in row or "len_baseline" in row:
        comparison = parse_lengths_only(row, location)
    else:
        known = messages.shorten(", ".join(map(str, row)), 120)
        raise MalformedRow(f"is no comparison: expected {LAYOUTS}; it has {known}")
    if comparison.model_a == comparison.model_b:
        raise MalformedRow(
            f"{comparison.model_a!r} is compared with itself; give the two models "
            "different names, or leave the row out"
        )
    return comparison


def parse_named(row: Row, location: str, first: str, second: str) -> Comparison:
    """A row with the models in the fields `first` and `second`."""
    a, b = model_name(row, first), model_name(row, second)
    probability = parse_number(row, "probability")
    if probability is not None and not (
        0 <= probability <= 1 or math.isnan(probability)
    ):
        raise MalformedRow(
            f"field 'probability' is {probability:g}; expected 0 to 1: how likely "
            f"{a!r} is the better one"
        )
    if "winner" not in row and "probability" not in row:
        raise MalformedRow("fields 'winner' and 'probability' are missing")
    stated = row.get("winner")
    winner = None if stated is None else parse_winner(stated, a, b)
    if winner is None and probability is None:
        probability = math.nan  # the judge failed
    answer_a, answer_b = parse_text(row, "answer_a"), parse_text(row, "answer_b")
    return Comparison(
        location=location,
        model_a=a,
        model_b=b,
        winner=winner,
        probability=probability,
        prompt=prompt_key(row),
        length_a=answer_length(row, "length_a", answer_a),
        length_b=answer_length(row, "length_b", answer_b),
        answer_a=answer_a,
        answer_b=answer_b,
        fields=row,
    )


def parse_annotation(row: Row, location: str) -> Comparison:
    """A row of AlpacaEval: the preference is for the second output."""
    answer_a, answer_b = parse_text(row, "output_2"), parse_text(row, "output_1")
    return Comparison(
        location=location,
        model_a=model_name(row, "generator_2"),
        model_b=model_name(row, "generator_1"),
        winner=None,
        probability=parse_preference(row),
        prompt=prompt_key(row),
        length_a=None if answer_a is None else float(len(answer_a)),
        length_b=None if answer_b is None else float(len(answer_b)),
        answer_a=answer_a,
        answer_b=answer_b,
        fields=row,
    )


def parse_lengths_only(row: Row, location: str) -> Comparison:
    """A row with the lengths of both answers, in a file with the model's name."""
    name = Path(location.rpartition(":")[0]).name
    return Comparison(
        location=location,
        model_a=name.partition(".csv")[0].partition(".json")[0],
        model_b=BASELINE,
        winner=None,
        probability=parse_preference(row),
        prompt=prompt_key(row),
        length_a=answer_length(row, "len_model", None),
        length_b=answer_length(row, "len_baseline", None),
        answer_a=None,
        answer_b=None,
        fields=row,
    )


def parse_preference(row: Row) -> float:
    """The probability that the second output is better; NaN where the judge failed.

    Raises:
      MalformedRow: it is no number from 1 to 2, nor 0.
    """
    preference = parse_number(row, "preference")
    if preference is None:
        return math.nan
    try:
        return float(win_probabilities(np.array([preference]))[0])
    except ValueError:
        raise MalformedRow(
            f"field 'preference' is {preference:g}; expected 1 to 2, or 0 for a draw"
        ) from None


def parse_winner(value: Any, a: str, b: str) -> float:
    """The outcome for model a of a `winner`: a word of `OUTCOMES`, or a model's name.

    Raises:
      MalformedRow: an unknown word.
    """
    word = str(value).strip()
    if word in (a, b):
        return 1.0 if word == a else 0.0
    outcome = OUTCOMES.get(word.lower())
    if outcome is None:
        known = ("left", "right", "model_a", "model_b", "tie", "both_bad")
        raise MalformedRow(str(messages.unknown_name("winner", word, known)))
    return outcome


def model_name(row: Row, field: str) -> str:
    """The name of a model.

    Raises:
      MalformedRow: it is missing or empty.
    """
    name = row.get(field)
    if not isinstance(name, str | int) or not str(name).strip():
        raise MalformedRow(f"field {field!r}, the name of a model, is missing or empty")
    return str(name)


def prompt_key(row: Row) -> str:
    """What identifies a row's prompt: its id, text or index; "" if there is none."""
    for field in ("prompt_id", "question_id", "instruction", "prompt", "index"):
        value = row.get(field)
        if isinstance(value, str | int):
            return str(value)
    return ""


def parse_text(row: Row, field: str) -> str | None:
    """The text of a field; None if it is missing."""
    text = row.get(field)
    return text if isinstance(text, str) else None


def answer_length(row: Row, field: str, answer: str | None) -> float | None:
    """Characters of an answer, from its field or from the answer; None if unknown.

    Raises:
      MalformedRow: the field holds no number, 0 or more.
    """
    length = parse_number(row, field)
    if length is None:
        return None if answer is None else float(len(answer))
    if not (math.isfinite(length) and length >= 0):
        raise MalformedRow(f"field {field!r} is {length:g}; expected 0 or more")
    return length


def parse_number(row: Row, field: str) -> float | None:
    """The number of a field, as a number or text; None if it is missing.

    Raises:
      MalformedRow: it is no number.
    """
    value = row.get(field)
    if value is None:
        return None
    try:
        if isinstance(value, bool):
            raise TypeError
        return float(value)
    except (TypeError, ValueError, OverflowError):
        shown = messages.shorten(repr(value))
        raise MalformedRow(f"field {field!r} is {shown}; expected a number") from None
