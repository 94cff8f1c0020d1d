"""Prompts, answers and verdicts in the free fields of annotation tools."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from jaxalign.data.row_errors import MalformedRow, UnusableRow
from jaxalign.data.schemas.checks import preview
from jaxalign.data.schemas.field_names import ALL_PROMPT_FIELDS

PROMPTS = (*ALL_PROMPT_FIELDS, "context", "history", "text")
LISTS = ("answers", "responses", "completions", "items", "options")
# answer1, response_b, output-2, left, ...: answers that differ in their last part
NUMBERED = re.compile(r"(.*?)[ _.-]?(\d|[a-h]|left|right|first|second)", re.IGNORECASE)
TIES = frozenset(
    ("tie", "tied", "equal", "same", "both", "neither", "none", "draw", "similar")
    + ("no preference", "no_preference", "both bad", "both_bad", "both good")
)


def answers_of(
    data: Mapping[str, Any], names: Sequence[str] = ()
) -> tuple[dict[str, str], str | None]:
    """The answers of a task by name, and the field that holds them as a list.

    Args:
      data: the task's fields.
      names: fields that the annotation names; used where all of them are texts.

    Raises:
      MalformedRow: it cannot be told which fields are the answers.
    """
    if len(names) > 1 and all(isinstance(data.get(name), str) for name in names):
        return {name: data[name] for name in names}, None
    for field in (*LISTS, "text"):
        values = data.get(field)
        if isinstance(values, list) and len(values) > 1:
            return dict(item_text(value, i) for i, value in enumerate(values)), field
    groups: dict[str, list[str]] = {}
    for name, value in data.items():
        match = NUMBERED.fullmatch(name)
        if match and isinstance(value, str):
            groups.setdefault(match[1].lower(), []).append(name)
    largest = max(groups.values(), key=len, default=[])
    if len(largest) < 2:
        raise MalformedRow(
            "cannot tell which fields are the answers: expected a list "
            f"({', '.join(LISTS[:3])}) or fields such as answer1 and answer2; there "
            f"are {', '.join(map(str, data))}"
        )
    return {name: data[name] for name in largest}, None


def item_text(value: Any, index: int) -> tuple[str, str]:
    """The name and the text of an answer in a list: a text, or an object with an id.

    Raises:
      MalformedRow: it holds no text.
    """
    if isinstance(value, str):
        return str(index), value
    if isinstance(value, Mapping):
        for field in ("body", "text", "content", "html", "title"):
            if isinstance(value.get(field), str) and value[field]:
                return str(value.get("id", index)), value[field]
    raise MalformedRow(f"answer {index} is {preview(value)}; expected a text")


def prompt_of(data: Mapping[str, Any], used: Sequence[str | None]) -> tuple[str, Any]:
    """The field of the prompt and its value: a text or messages.

    Raises:
      MalformedRow: there is none.
    """
    for field in PROMPTS:
        value = data.get(field)
        if field not in used and isinstance(value, str | list) and value:
            return field, value
    raise MalformedRow(
        "has no prompt beside its answers: expected a field such as prompt or "
        f"messages; there are {', '.join(map(str, data))}"
    )


def choice_index(choice: Any, names: Sequence[str], labels: Sequence[str] = ()) -> int:
    """The index of the answer that a choice names: a field, left, B, "Response 2", ...

    Args:
      names: of the answers.
      labels: their titles in the tool, where known.

    Raises:
      UnusableRow: a tie.
      MalformedRow: it names none of them.

    >>> [choice_index(choice, ["x1", "x2"]) for choice in ("right", "x2", "Response A")]
    [1, 1, 0]
    """
    word = str(choice).strip().casefold()
    for known in (names, labels):
        folded = [str(name).casefold() for name in known]
        if word in folded:
            return folded.index(word)
    if word in TIES:
        raise UnusableRow("with a tie")
    last = NUMBERED.fullmatch(word)
    places = (("left", "right"), ("first", "second"), "abcdefgh", "12345678")
    for place in places:
        if last and last[2].lower() in place[: len(names)]:
            return place.index(last[2].lower())
    raise MalformedRow(
        f"the choice {preview(choice)} names none of {', '.join(map(str, names))}"
    )


def judged_row(
    data: Mapping[str, Any],
    answers: Mapping[str, str],
    ranks: Mapping[str, float],
    field: str | None,
    more: Mapping[str, Any],
) -> dict[str, Any]:
    """A pair or a ranking as a row of our layouts, with the task's other fields.

    Args:
      data: the task's fields.
      answers: by name.
      ranks: of each answer by name, lower is better; others were not ranked.
      field: that holds the answers as a list.
      more: fields of the annotation, such as the annotator.

    Raises:
      UnusableRow: a tie, or fewer than two ranked answers.
    """
    used = [*answers, field]
    prompt_field, prompt = prompt_of(data, used)
    kept = {k: v for k, v in data.items() if k not in (*used, prompt_field)}
    row = {**kept, **more, "prompt": prompt}
    ranked = [name for name in answers if name in ranks]
    if len(ranked) < 2:
        raise UnusableRow("with fewer than two ranked answers")
    if len(ranked) > 2:
        texts = [answers[name] for name in ranked]
        return row | {"answers": texts, "ranks": [float(ranks[n]) for n in ranked]}
    first, second = ranked
    if ranks[first] == ranks[second]:
        raise UnusableRow("with a tie")
    chosen, rejected = sorted(ranked, key=ranks.__getitem__)
    return row | {"chosen": answers[chosen], "rejected": answers[rejected]}
