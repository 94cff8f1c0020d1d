"""What a row asks, its answer, and the answer's label, in whichever fields they are."""

from collections.abc import Iterable, Mapping
from typing import Any

from jaxalign.data.records import Messages, assistant_message
from jaxalign.data.schemas.checks import (
    MalformedRow,
    Row,
    UnsupportedField,
    fields_with_values,
    first_field,
    is_empty,
    json_type,
    parse_bool,
    preview,
    refuse_fields,
    require_text,
)
from jaxalign.data.schemas.conversations import (
    contains_messages,
    join_messages,
    split_system,
)
from jaxalign.data.schemas.message_fields import REASONING_FIELDS
from jaxalign.data.schemas.messages import (
    parse_message,
    parse_messages,
    parse_reasoning,
    to_messages,
)

CONVERSATION_FIELDS = ("messages", "conversations", "conversation")
PROMPT_FIELDS = ("prompt", "instruction", "question", "query", "problem", "inputs")
ALL_PROMPT_FIELDS = ("prompt", *CONVERSATION_FIELDS, *PROMPT_FIELDS[1:], "input")
ANSWER_FIELDS = (
    *("completion", "output", "answer", "response"),
    *("solution", "generation", "targets"),
)
CALLS_FIELD = "answers"  # beside tools
REFERENCE_FIELDS = ("references", "reference", "ground_truth", "reference_answer")
# names that other things have, too: values of other types are the row's other fields
FIELD_TYPES: dict[str, tuple[type, ...]] = {
    "conversation": (list, Mapping),
    **dict.fromkeys(("query", "problem", "inputs"), (str, list, Mapping)),
    **dict.fromkeys(("solution", "generation", "targets"), (str, list, Mapping)),
    **dict.fromkeys(("ground_truth", "reference_answer"), (str, list)),
}
LABEL_FIELDS = ("label", "kto_tag", "desirable")
SWITCH_VALUES = ("on", "off", "true", "false", "yes", "no")


def present_fields(row: Row, fields: Iterable[str]) -> list[str]:
    """Those of the fields that ask or answer; none counts as read."""
    return [
        field
        for field in fields_with_values(row, fields)
        if isinstance(row.peek(field), FIELD_TYPES.get(field, object))
    ]


def parse_conversation(row: Row) -> Messages:
    """The conversation of a row: its messages, or its prompt.

    Raises:
      Malformed: there is none, or there are several that do not fit.
    """
    talks, questions = (
        present_fields(row, CONVERSATION_FIELDS),
        present_fields(row, PROMPT_FIELDS),
    )
    if not talks:
        return parse_prompt_fields(row, questions)
    messages = parse_messages(row[talks[0]], talks[0])
    for field in talks[1:]:
        if parse_messages(row[field], field) != messages:
            raise UnsupportedField(
                field, f"fields {talks[0]!r} and {field!r} differ: keep one"
            )
    for field in questions:
        told = to_messages(row.peek(field), field)
        system, rest = split_system(told)
        if rest and contains_messages(messages, rest):
            told = system
        if told or field not in FIELD_TYPES:  # what the messages repeat is kept, too
            row.names.add(field)
        messages = join_messages(told, messages, (field, talks[0]))
    refuse_fields(
        row, ["history"], "field ", f"beside {talks[0]!r} has no place of its own"
    )
    return messages


def parse_prompt_fields(row: Row, questions: list[str]) -> Messages:
    """The prompt of a row without messages; `input` alone is one."""
    questions = questions or present_fields(row, ["input"])
    field = questions[0] if questions else first_field(row, *ALL_PROMPT_FIELDS)
    messages = to_messages(row[field], field)
    for other in questions[1:]:
        if not contains_messages(messages, to_messages(row[other], other)):
            raise UnsupportedField(
                other, f"fields {field!r} and {other!r} both ask: keep one"
            )
    for name in ("input", "context"):
        if name == field:
            continue
        extra = "" if is_empty(row.peek(name)) else require_text(row.peek(name), name)
        told = [{"role": "user", "content": extra}]
        if extra and field == "prompt" and contains_messages(messages, told):
            continue
        row.names.add(name)
        if not extra:
            continue
        if field == "prompt" and name == "context" or len(messages) > 1:
            raise UnsupportedField(
                name, f"field {name!r} beside {field!r}: put it into that"
            )
        messages = [{"role": "user", "content": f"{messages[0]['content']}\n{extra}"}]
    return [*parse_history(row), *messages]


def parse_history(row: Row) -> Messages:
    """The questions and answers before an instruction."""
    found = [] if is_empty(row.get("history")) else row["history"]
    if not isinstance(found, list) or not all(
        isinstance(turn, list)
        and len(turn) == 2
        and all(isinstance(text, str) for text in turn)
        for turn in found
    ):
        raise MalformedRow("field 'history' should be a list of [question, answer]")
    return [
        message
        for question, answer in found
        for message in (
            {"role": "user", "content": question},
            assistant_message(answer),
        )
    ]


def parse_answer(value: Any, field: str) -> Messages:
    """What stands after a prompt: an answer's text, its message, or several messages.

    A message that names no role is the assistant's.
    """
    if field == CALLS_FIELD:
        told = {"role": "assistant", "tool_calls": value}
        return [parse_message(told, f"field {field!r}:")]
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, str):
        return [assistant_message(value)]
    columns = isinstance(value, Mapping) and any(
        isinstance(value.get(name), list) for name in ("role", "from")
    )
    if isinstance(value, Mapping) and not columns:
        return [parse_message(value, f"field {field!r}:", "assistant")]
    if not columns and not isinstance(value, list):
        raise MalformedRow(f"field {field!r} should be text, not {json_type(value)}")
    return to_messages(value, field)


def add_reasoning(row: Row, messages: Messages) -> Messages:
    """The conversation, its answer with the thought that stands beside it.

    A switch ("on", true) or a number under such a name is no thought; one that stands
    in the answer already, as <think>, is not told twice.
    """
    if not fields_with_values(row, REASONING_FIELDS):
        return messages
    names = [
        name
        for name in fields_with_values(row, REASONING_FIELDS)
        if not isinstance(row.peek(name), bool | int | float)
        and not is_switch(row.peek(name))
    ]
    thought = parse_reasoning({name: row[name] for name in names}, "field")
    *before, answer = messages
    text = answer["content"].lstrip()
    if not thought or text.startswith("<") and thought.strip() in text:
        return messages
    own = answer.get("reasoning_content", thought)
    if own != thought:
        raise UnsupportedField(
            names[0], f"field {names[0]!r} and the answer's own thought differ"
        )
    return [*before, {**answer, "reasoning_content": thought}]


def is_switch(value: Any) -> bool:
    """Whether a value is a setting, not a thought."""
    return isinstance(value, str) and value.strip().lower() in SWITCH_VALUES


def parse_answered_conversation(row: Row) -> Messages:
    """The conversation of a row, up to its answer.

    Raises:
      Malformed: there is no answer, or there are two that differ.
    """
    messages = parse_conversation(row)
    has_answer = messages[-1]["role"] == "assistant" and len(messages) > 1
    field = None
    if not has_answer or not present_fields(row, CONVERSATION_FIELDS):
        field = answer_field(row)
    if field is not None:
        messages = join_messages(
            messages, parse_answer(row[field], field), ("prompt", field)
        )
        if messages[-1]["role"] != "assistant" or len(messages) < 2:
            raise MalformedRow(f"field {field!r} should end with an answer to a prompt")
    elif not has_answer:
        raise MalformedRow(
            "field 'completion' (or output, answer, response, or a last message of the "
            "assistant) is missing"
        )
    return add_reasoning(row, messages)


def ends_with_answer(row: Row) -> bool:
    """Whether `messages` or `conversations` end with the assistant's answer."""
    found = present_fields(row, CONVERSATION_FIELDS)
    return bool(found) and parse_conversation(row)[-1]["role"] == "assistant"


def answer_field(row: Row, *, final: bool = False) -> str | None:
    """The field that answers, where one does.

    Args:
      final: of a `solution` and the `answer` that it comes to, as sets of mathematics
        have them, take the answer, which is a reference; else the solution.

    Raises:
      Malformed: two that differ.
    """
    given = [field for field in ANSWER_FIELDS if row.peek(field) is not None]
    found = [f for f in given if f not in FIELD_TYPES or present_fields(row, [f])]
    if has_call_answers(row):
        found = [*found, CALLS_FIELD]
    if found == ["answer", "solution"] and is_at_most_as_long(*map(row.peek, found)):
        return "answer" if final else "solution"
    if any(row.peek(field) != row.peek(found[0]) for field in found[1:]):
        names = " and ".join(map(repr, found))
        raise UnsupportedField(found[1], f"fields {names} answer and differ: keep one")
    if not found:  # null, where there is one
        found = [field for field in ANSWER_FIELDS if field in row]
    return found[0] if found else None


def has_call_answers(row: Row) -> bool:
    """Whether `answers` of a row with tools are calls of these, not answers."""
    answers = row.peek(CALLS_FIELD)
    if not fields_with_values(row, ("tools", "functions")):
        return False
    return isinstance(answers, str) or (
        isinstance(answers, list)
        and bool(answers)
        and all(isinstance(a, Mapping) and "arguments" in a for a in answers)
    )


def is_at_most_as_long(text: Any, other: Any) -> bool:
    """Whether the first of two texts has at most as many characters."""
    return all(isinstance(x, str) for x in (text, other)) and len(text) <= len(other)


def parse_label(row: Row) -> bool | None:
    """Whether an answer is labelled as wanted; None where there is no label.

    Labels that are null, lists or objects (of topics, say) are none of an answer.

    Raises:
      Malformed: a label that is neither true nor false, or two that differ.
    """
    found = {}
    for field in LABEL_FIELDS:
        if field in row and isinstance(row.peek(field), str | int | float):
            found[field] = parse_bool(row[field])
            if found[field] is None:
                told = preview(row[field])
                raise MalformedRow(
                    f"field {field!r} should be true or false, not {told}"
                )
    if len(set(found.values())) > 1:
        raise MalformedRow(f"fields {' and '.join(map(repr, found))} differ")
    return next(iter(found.values()), None)
