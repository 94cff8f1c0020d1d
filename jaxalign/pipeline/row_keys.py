"""Keys of rows, by which duplicates and leaked prompts are found."""

import json
from collections.abc import Hashable, Sequence

from jaxalign.data import record_rows
from jaxalign.data.records import (
    Answer,
    Demonstration,
    Messages,
    Preference,
    Ranking,
    Record,
    Unpaired,
)
from jaxalign.data.splits import normalize, prompt_messages


def row_key(record: Record) -> Hashable:
    """A key that is equal for rows of the same normalized prompt and answers.

    Text is normalized as for the held-out split (`jaxalign.data.splits.normalize`).
    Margins, the probabilities of labels, references and the other fields of the row do
    not count.
    """
    tools = json.dumps(record.tools, sort_keys=True) if record.tools else ""
    label = record.desirable if isinstance(record, Unpaired) else None
    answers = tuple(map(answer_key, answers_of(record)))
    return prompt_key(record), answers, label, tools


def prompt_key(record: Record) -> Hashable:
    """A key of the messages before the answer, with their roles."""
    messages: Messages = []
    if not (isinstance(record, Demonstration) and record.plain):
        messages = prompt_messages(record)
    return tuple((message["role"], answer_key(message)) for message in messages)


def answers_of(record: Record) -> Sequence[Answer]:
    """The answers of a record; of a pair the chosen one first."""
    if isinstance(record, Preference):
        return record.chosen, record.rejected
    if isinstance(record, Ranking):
        return record.answers
    if isinstance(record, Unpaired):
        return (record.answer,)
    return record.messages[-1:] if isinstance(record, Demonstration) else ()


def answer_key(answer: Answer) -> str:
    """A key of an answer: its normalized text, and its other parts as JSON.

    >>> answer_key("Yes  SIR") == answer_key({"content": "yes sir"})
    True
    """
    if isinstance(answer, str):
        return normalize(answer)
    others = {k: v for k, v in answer.items() if k not in ("role", "content", "train")}
    text = normalize(answer["content"])
    return f"{text}\0{json.dumps(others, sort_keys=True)}" if others else text


def first_message(record: Record) -> str:
    """The message by which rows are split; see `jaxalign.data.splits.prompt_hash`."""
    messages = prompt_messages(record)
    texts = (str(m["content"]) for m in messages if m["role"] == "user")
    return next(texts, str(messages[0]["content"]) if messages else "")


def compared_texts(record: Record) -> list[str]:
    """The texts of a row; those of a near duplicate are similar each.

    The first is the whole row, the others are its answers and a label.
    """
    answers = [text for _, text in record_rows.answer_texts(record)]
    label = [str(record.desirable)] if isinstance(record, Unpaired) else []
    return [record_rows.joined_text(record), *answers, *label]
