"""Answer of a row, the reasoning beside it, and its label."""

from collections.abc import Mapping
from typing import Any

from jaxalign.data.records import Messages, assistant_message
from jaxalign.data.row_errors import MalformedRow, UnsupportedField
from jaxalign.data.schemas.checks import (
    Row,
    fields_with_values,
    json_type,
    parse_bool,
    preview,
)
from jaxalign.data.schemas.conversations import join_messages
from jaxalign.data.schemas.field_names import (
    ANSWER_FIELDS,
    CALLS_FIELD,
    CONVERSATION_FIELDS,
    FIELD_TYPES,
    LABEL_FIELDS,
    present_fields,
)
from jaxalign.data.schemas.message_content import parse_reasoning
from jaxalign.data.schemas.message_fields import REASONING_FIELDS
from jaxalign.data.schemas.messages import parse_message, to_messages
from jaxalign.data.schemas.prompts import parse_conversation

SWITCH_VALUES = ("on", "off", "true", "false", "yes", "no")


def parse_answered_conversation(row: Row) -> Messages:
    """Parse the conversation of a row, the answer included as the last message.

    Raises:
      MalformedRow: there is no answer.
      UnsupportedField: there are two different answers.
    """
    messages = parse_conversation(row)
    has_answer = messages[-1]["role"] == "assistant" and len(messages) > 1
    field = None
    if not has_answer or not present_fields(row, CONVERSATION_FIELDS):
        field = answer_field(row)
    if field is not None:
        answer = parse_answer(row[field], field)
        messages = join_messages(messages, answer, ("prompt", field))
        if messages[-1]["role"] != "assistant" or len(messages) < 2:
            raise MalformedRow(
                f"field {field!r} does not end with an answer to a prompt"
            )
    elif not has_answer:
        raise MalformedRow(
            "field 'completion' (or output, answer, response, or a last message of the "
            "assistant) is missing"
        )
    return add_reasoning(row, messages)


def parse_answer(value: Any, field: str) -> Messages:
    """Parse an answer: a text, a message, or several messages.

    A message without a role is the assistant's.

    Args:
      field: name of the row's field.

    Raises:
      MalformedRow: none of these.
    """
    if field == CALLS_FIELD:
        message = {"role": "assistant", "tool_calls": value}
        return [parse_message(message, f"field {field!r}:")]
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, str):
        return [assistant_message(value)]
    is_transposed = isinstance(value, Mapping) and any(
        isinstance(value.get(name), list) for name in ("role", "from")
    )
    if isinstance(value, Mapping) and not is_transposed:
        return [parse_message(value, f"field {field!r}:", "assistant")]
    if not is_transposed and not isinstance(value, list):
        raise MalformedRow(f"field {field!r} is {json_type(value)}; expected text")
    return to_messages(value, field)


def add_reasoning(row: Row, messages: Messages) -> Messages:
    """Add the reasoning in a separate field of the row to the answer, the last message.

    A switch ("on", true) or a number is not reasoning. Reasoning that the answer
    contains already, as <think>, is not added again.

    Raises:
      UnsupportedField: the answer has other reasoning.
    """
    if not fields_with_values(row, REASONING_FIELDS):
        return messages
    names = [
        name
        for name in fields_with_values(row, REASONING_FIELDS)
        if not isinstance(row.peek(name), bool | int | float)
        and not is_switch(row.peek(name))
    ]
    reasoning = parse_reasoning({name: row[name] for name in names}, "field")
    *before, answer = messages
    text = answer["content"].lstrip()
    if not reasoning or text.startswith("<") and reasoning.strip() in text:
        return messages
    if answer.get("reasoning_content", reasoning) != reasoning:
        raise UnsupportedField(
            names[0], f"field {names[0]!r} and the reasoning of the answer differ"
        )
    return [*before, {**answer, "reasoning_content": reasoning}]


def is_switch(value: Any) -> bool:
    """Whether a value is a setting such as "on", and not reasoning."""
    return isinstance(value, str) and value.strip().lower() in SWITCH_VALUES


def ends_with_answer(row: Row) -> bool:
    """Whether `messages` or `conversations` end with a message of the assistant."""
    if not present_fields(row, CONVERSATION_FIELDS):
        return False
    return parse_conversation(row)[-1]["role"] == "assistant"


def answer_field(row: Row, *, final: bool = False) -> str | None:
    """Name of the field with the answer, or None.

    Args:
      final: of a `solution` and the short `answer` that it derives, as data sets of
        mathematics have them, take the answer (a reference), not the solution.

    Raises:
      UnsupportedField: two different answers.
    """
    filled = [field for field in ANSWER_FIELDS if row.peek(field) is not None]
    fields = [f for f in filled if f not in FIELD_TYPES or present_fields(row, [f])]
    if has_call_answers(row):
        fields = [*fields, CALLS_FIELD]
    if fields == ["answer", "solution"] and is_at_most_as_long(*map(row.peek, fields)):
        return "answer" if final else "solution"
    if any(row.peek(field) != row.peek(fields[0]) for field in fields[1:]):
        names = " and ".join(map(repr, fields))
        raise UnsupportedField(
            fields[1], f"fields {names} are different answers; keep one"
        )
    if not fields:  # a null answer is reported as such, not as a missing one
        fields = [field for field in ANSWER_FIELDS if field in row]
    return fields[0] if fields else None


def has_call_answers(row: Row) -> bool:
    """Whether `answers` are tool calls: the row declares tools, and each is a call."""
    answers = row.peek(CALLS_FIELD)
    if not fields_with_values(row, ("tools", "functions")):
        return False
    return isinstance(answers, str) or (
        isinstance(answers, list)
        and bool(answers)
        and all(isinstance(a, Mapping) and "arguments" in a for a in answers)
    )


def is_at_most_as_long(text: Any, other: Any) -> bool:
    """Whether two values are texts, the first one of at most as many characters."""
    return all(isinstance(x, str) for x in (text, other)) and len(text) <= len(other)


def parse_label(row: Row) -> bool | None:
    """Parse the label of an answer: True is desirable, None is no label.

    Labels that are null, lists or objects (topics, for instance) are metadata.

    Raises:
      MalformedRow: a label that is not a boolean, or two different ones.
    """
    labels = {}
    for field in LABEL_FIELDS:
        if field in row and isinstance(row.peek(field), str | int | float):
            labels[field] = parse_bool(row[field])
            if labels[field] is None:
                raise MalformedRow(
                    f"field {field!r} is {preview(row[field])}; expected true or false"
                )
    if len(set(labels.values())) > 1:
        raise MalformedRow(f"fields {' and '.join(map(repr, labels))} differ")
    return next(iter(labels.values()), None)
