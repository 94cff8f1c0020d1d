"""Potato's annotations, one line for each annotator and instance.

{"user_id": "ann", "instance_id": "7", "displayed_text": ...,
 "label_annotations": {"preference": {"selection": "A"}}}

of the pairwise scheme: `selection` in its binary mode, `scale_value` in its scale mode
(below 0: the left one is better). The lines do not repeat the data: the prompt and the
answers are read from `displayed_text`, "prompt<br>A. first<br>B. second" as
`list_as_text` shows them, or from fields that were joined to the lines by
`instance_id` (`prompt` and `responses`).

Reference: https://potatoannotator.readthedocs.io, "Pairwise comparison annotation".
"""

import html
import re
from collections.abc import Iterator, Mapping
from typing import Any

from jaxalign.data.exports import compared
from jaxalign.data.row_errors import MalformedRow, UnusableRow
from jaxalign.data.schemas.checks import preview

LETTERED = re.compile(r"(?:^|<br\s*/?>|\n)\s*([A-H])\.\s+", re.IGNORECASE)
BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)
TOOL_FIELDS = ("user_id", "instance_id", "displayed_text", "label_annotations")
UNUSED = ("span_annotations", "behavioral_data")


def is_export(row: Mapping[str, Any]) -> bool:
    """Whether a row is a line of Potato's annotations."""
    return isinstance(row.get("label_annotations"), Mapping)


def judgements(row: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The row of our layouts for a line.

    Raises:
      UnusableRow: a tie, or no comparison.
      MalformedRow: it cannot be read.
    """
    data = {k: v for k, v in row.items() if k not in (*TOOL_FIELDS, *UNUSED)}
    if not any(isinstance(data.get(name), list) for name in compared.LISTS):
        data |= parse_displayed_text(row.get("displayed_text"))
    answers, field = compared.answers_of(data)
    ranks, strength = scheme_ranks(row["label_annotations"], list(answers))
    user, item = str(row.get("user_id")), str(row.get("instance_id"))
    more: dict[str, Any] = {"annotator": user, "item": item}
    if strength is not None:
        more["strength"] = strength
    yield compared.judged_row(data, answers, ranks, field, more)


def parse_displayed_text(text: Any) -> dict[str, Any]:
    """The prompt and the answers in a displayed text.

    Raises:
      MalformedRow: it does not have two lettered answers, or no prompt.

    >>> parse_displayed_text("2 + 2?<br>A. 4<br>B. 5")
    {'prompt': '2 + 2?', 'responses': ['4', '5']}
    """
    if not isinstance(text, str):
        raise MalformedRow(f"field 'displayed_text' is {preview(text)}; expected text")
    prompt, *rest = LETTERED.split(text)
    letters, texts = rest[::2], rest[1::2]
    if [x.upper() for x in letters] != list("ABCDEFGH")[: len(letters)] or len(
        texts
    ) < 2:
        raise MalformedRow(
            "field 'displayed_text' has no answers 'A. ...' and 'B. ...': join the "
            "lines with the data by instance_id, as fields prompt and responses"
        )
    if not prompt.strip():
        raise MalformedRow(
            "field 'displayed_text' has no prompt before its answers: join the lines "
            "with the data by instance_id, as fields prompt and responses"
        )
    plain = lambda part: html.unescape(BREAK.sub("\n", part)).strip()
    return {"prompt": plain(prompt), "responses": list(map(plain, texts))}


def scheme_ranks(
    schemes: Mapping[str, Any], names: list[str]
) -> tuple[dict[str, float], float | None]:
    """The ranks of the answers by the one scheme that compares, and its strength.

    Raises:
      UnusableRow: a tie, or no scheme that compares.
      MalformedRow: several schemes, or a value that names no answer.
    """
    pairwise = {
        name: value
        for name, value in schemes.items()
        if isinstance(value, Mapping) and {"selection", "scale_value"} & set(value)
    }
    if not pairwise:
        raise UnusableRow("without a comparison")
    if len(pairwise) > 1:
        raise MalformedRow(f"the schemes {', '.join(pairwise)} all compare: keep one")
    (value,) = pairwise.values()
    if value.get("selection") is not None:
        best = compared.choice_index(value["selection"], names)
        return {n: 1.0 if i == best else 2.0 for i, n in enumerate(names)}, None
    try:
        scale = float(value["scale_value"])
    except (TypeError, ValueError) as error:
        raise MalformedRow(
            f"the scale's value is {preview(value['scale_value'])}; expected a number"
        ) from error
    if not scale:
        raise UnusableRow("with a tie")
    return {names[0]: scale, names[1]: 0.0}, abs(scale)
