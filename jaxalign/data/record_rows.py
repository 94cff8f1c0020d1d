"""Records as rows of the project's own layout, which every reader here takes back.

pair        {"prompt": messages, "chosen": ..., "rejected": ..., "margin", "label_prob"}
ranking     {"prompt": messages, "answers": [best, ..., worst]}
unpaired    {"prompt": messages, "completion": ..., "label": true}
SFT         {"messages": messages}; {"text": ...} of plain text
prompt      {"prompt": messages, "references": [...]}

An answer is its text, or a message where it has more than a text. Tools and the other
fields of a record's row stand beside these.
"""

import dataclasses
from typing import Any

from jaxalign.data.records import (
    Demonstration,
    Preference,
    Ranking,
    Record,
    Unpaired,
    answer_content,
)
from jaxalign.data.schemas import parser
from jaxalign.data.splits import prompt_messages


def to_row(record: Record) -> dict[str, Any]:
    """A record as a row, with its tools and the other fields of its own row.

    >>> to_row(Unpaired([{"role": "user", "content": "2 + 2?"}], "4", True))
    ... # doctest: +NORMALIZE_WHITESPACE
    {'prompt': [{'role': 'user', 'content': '2 + 2?'}], 'completion': '4',
     'label': True}
    """
    row = own_fields(record)
    if record.tools:
        row["tools"] = list(record.tools)
    return {**row, **{k: v for k, v in record.fields.items() if k not in row}}


def own_fields(record: Record) -> dict[str, Any]:
    """The fields of a row that hold the record's prompt and answers."""
    if isinstance(record, Demonstration):
        if record.plain:
            return {"text": record.messages[0]["content"]}
        return {"messages": list(record.messages)}
    prompt = {"prompt": list(prompt_messages(record))}
    if isinstance(record, Preference):
        optional = {"margin": record.margin} if record.margin else {}
        if record.label_prob != 1.0:
            optional["label_prob"] = record.label_prob
        answers = {"chosen": record.chosen, "rejected": record.rejected}
        return prompt | answers | optional
    if isinstance(record, Ranking):
        return prompt | {"answers": list(record.answers)}
    if isinstance(record, Unpaired):
        return prompt | {"completion": record.answer, "label": record.desirable}
    references = {"references": list(record.references)} if record.references else {}
    return prompt | references


def check_row(row: dict[str, Any], record: Record) -> None:
    """Refuses a row that would not be read back as its record.

    Raises:
      ValueError: names the record's row, and why.
    """
    try:
        (read,) = parser.parse_row(row, type(record), record.location)
        reason = "" if own_fields(read) == own_fields(record) else "it reads otherwise"
    except ValueError as error:
        reason = str(error) or type(error).__name__
    if reason:
        raise ValueError(
            f"{record.location}: its fields cannot stand beside each other in the "
            f"layout of {type(record).__name__} rows ({reason}): rename or remove the "
            "field, or pass --skip-bad-rows to leave such rows out"
        )


def with_field(record: Any, name: str, value: Any) -> Any:
    """A record with another field in its metadata."""
    return dataclasses.replace(record, fields={**record.fields, name: value})


def prompt_text(record: Record) -> str:
    """The messages before the answer as text, one below the other; "" of plain text."""
    if isinstance(record, Demonstration) and record.plain:
        return ""
    return "\n\n".join(message["content"] for message in prompt_messages(record))


def joined_text(record: Record) -> str:
    """The prompt and the answers as text, one below the other."""
    parts = [prompt_text(record), *(text for _, text in answer_texts(record))]
    return "\n\n".join(filter(None, parts))


def answer_texts(record: Record) -> list[tuple[str, str]]:
    """The answers of a record: (kind, text) pairs, such as ("chosen", "4").

    >>> pair = Preference([{"role": "user", "content": "2 + 2?"}], "4", "5")
    >>> answer_texts(pair)
    [('chosen', '4'), ('rejected', '5')]
    """
    if isinstance(record, Demonstration):
        kind = "text" if record.plain else "answer"
        return [(kind, record.messages[-1]["content"])]
    if isinstance(record, Preference):
        answers = {"chosen": record.chosen, "rejected": record.rejected}
        return [(kind, answer_content(answer)) for kind, answer in answers.items()]
    if isinstance(record, Ranking):
        best, *others = map(answer_content, record.answers)
        return [("best answer", best), *(("other answers", text) for text in others)]
    if isinstance(record, Unpaired):
        kind = "desirable" if record.desirable else "undesirable"
        return [(kind, answer_content(record.answer))]
    return [("reference", text) for text in record.references]
