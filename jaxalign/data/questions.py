"""What a row asks, its answer, and the answer's label, in whichever fields they are."""

from collections.abc import Iterable, Mapping
from typing import Any

from jaxalign.data.conversations import contains, join, split_system
from jaxalign.data.message_fields import THOUGHTS
from jaxalign.data.messages import (
    message_of,
    messages_of,
    parse_messages,
    thoughts_of,
)
from jaxalign.data.records import Messages, said
from jaxalign.data.row_checks import (
    Malformed,
    Refused,
    Row,
    fields_with_values,
    first_field,
    is_empty,
    name_of,
    parse_flag,
    preview,
    refuse,
    text_of,
)

CONVERSATIONS = ("messages", "conversations", "conversation")
QUESTIONS = ("prompt", "instruction", "question", "query", "problem", "inputs")
ASKED = ("prompt", *CONVERSATIONS, *QUESTIONS[1:], "input")
ANSWERS = (
    *("completion", "output", "answer", "response"),
    *("solution", "generation", "targets"),
)
CALLS = "answers"  # beside tools
REFERENCES = ("references", "reference", "ground_truth", "reference_answer")
# names that other things have, too: values of other types are the row's other fields
TYPES: dict[str, tuple[type, ...]] = {
    "conversation": (list, Mapping),
    **dict.fromkeys(("query", "problem", "inputs"), (str, list, Mapping)),
    **dict.fromkeys(("solution", "generation", "targets"), (str, list, Mapping)),
    **dict.fromkeys(("ground_truth", "reference_answer"), (str, list)),
}
THUMBS = ("label", "kto_tag", "desirable")
SWITCHES = ("on", "off", "true", "false", "yes", "no")


def stated(row: Row, fields: Iterable[str]) -> list[str]:
    """Those of the fields that ask or answer; none counts as read."""
    return [
        field
        for field in fields_with_values(row, fields)
        if isinstance(row.peek(field), TYPES.get(field, object))
    ]


def conversation(row: Row) -> Messages:
    """The conversation of a row: its messages, or its prompt.

    Raises:
      Malformed: there is none, or there are several that do not fit.
    """
    talks, questions = stated(row, CONVERSATIONS), stated(row, QUESTIONS)
    if not talks:
        return prompt_messages(row, questions)
    messages = parse_messages(row[talks[0]], talks[0])
    for field in talks[1:]:
        if parse_messages(row[field], field) != messages:
            raise Refused(field, f"fields {talks[0]!r} and {field!r} differ: keep one")
    for field in questions:
        told = messages_of(row.peek(field), field)
        system, rest = split_system(told)
        if rest and contains(messages, rest):
            told = system
        if told or field not in TYPES:  # what the messages repeat is kept, too
            row.names.add(field)
        messages = join(told, messages, (field, talks[0]))
    refuse(row, ["history"], "field ", f"beside {talks[0]!r} has no place of its own")
    return messages


def prompt_messages(row: Row, questions: list[str]) -> Messages:
    """The prompt of a row without messages; `input` alone is one."""
    questions = questions or stated(row, ["input"])
    field = questions[0] if questions else first_field(row, *ASKED)
    messages = messages_of(row[field], field)
    for other in questions[1:]:
        if not contains(messages, messages_of(row[other], other)):
            raise Refused(other, f"fields {field!r} and {other!r} both ask: keep one")
    for name in ("input", "context"):
        if name == field:
            continue
        extra = "" if is_empty(row.peek(name)) else text_of(row.peek(name), name)
        told = [{"role": "user", "content": extra}]
        if extra and field == "prompt" and contains(messages, told):
            continue
        row.names.add(name)
        if not extra:
            continue
        if field == "prompt" and name == "context" or len(messages) > 1:
            raise Refused(name, f"field {name!r} beside {field!r}: put it into that")
        messages = [{"role": "user", "content": f"{messages[0]['content']}\n{extra}"}]
    return [*history(row), *messages]


def history(row: Row) -> Messages:
    """The questions and answers before an instruction."""
    found = [] if is_empty(row.get("history")) else row["history"]
    if not isinstance(found, list) or not all(
        isinstance(turn, list)
        and len(turn) == 2
        and all(isinstance(text, str) for text in turn)
        for turn in found
    ):
        raise Malformed("field 'history' should be a list of [question, answer]")
    return [
        message
        for question, answer in found
        for message in ({"role": "user", "content": question}, said(answer))
    ]


def answer_messages(value: Any, field: str) -> Messages:
    """What stands after a prompt: an answer's text, its message, or several messages.

    A message that names no role is the assistant's.
    """
    if field == CALLS:
        told = {"role": "assistant", "tool_calls": value}
        return [message_of(told, f"field {field!r}:")]
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, str):
        return [said(value)]
    columns = isinstance(value, Mapping) and any(
        isinstance(value.get(name), list) for name in ("role", "from")
    )
    if isinstance(value, Mapping) and not columns:
        return [message_of(value, f"field {field!r}:", "assistant")]
    if not columns and not isinstance(value, list):
        raise Malformed(f"field {field!r} should be text, not {name_of(value)}")
    return messages_of(value, field)


def add_thought(row: Row, messages: Messages) -> Messages:
    """The conversation, its answer with the thought that stands beside it.

    A switch ("on", true) or a number under such a name is no thought; one that stands
    in the answer already, as <think>, is not told twice.
    """
    if not fields_with_values(row, THOUGHTS):
        return messages
    names = [
        name
        for name in fields_with_values(row, THOUGHTS)
        if not isinstance(row.peek(name), bool | int | float)
        and not is_switch(row.peek(name))
    ]
    thought = thoughts_of({name: row[name] for name in names}, "field")
    *before, answer = messages
    text = answer["content"].lstrip()
    if not thought or text.startswith("<") and thought.strip() in text:
        return messages
    own = answer.get("reasoning_content", thought)
    if own != thought:
        raise Refused(
            names[0], f"field {names[0]!r} and the answer's own thought differ"
        )
    return [*before, {**answer, "reasoning_content": thought}]


def is_switch(value: Any) -> bool:
    """Whether a value is a setting, not a thought."""
    return isinstance(value, str) and value.strip().lower() in SWITCHES


def answered_conversation(row: Row) -> Messages:
    """The conversation of a row, up to its answer.

    Raises:
      Malformed: there is no answer, or there are two that differ.
    """
    messages = conversation(row)
    has_answer = messages[-1]["role"] == "assistant" and len(messages) > 1
    field = None
    if not has_answer or not stated(row, CONVERSATIONS):
        field = answer_field(row)
    if field is not None:
        messages = join(messages, answer_messages(row[field], field), ("prompt", field))
        if messages[-1]["role"] != "assistant" or len(messages) < 2:
            raise Malformed(f"field {field!r} should end with an answer to a prompt")
    elif not has_answer:
        raise Malformed(
            "field 'completion' (or output, answer, response, or a last message of the "
            "assistant) is missing"
        )
    return add_thought(row, messages)


def ends_with_answer(row: Row) -> bool:
    """Whether `messages` or `conversations` end with the assistant's answer."""
    found = stated(row, CONVERSATIONS)
    return bool(found) and conversation(row)[-1]["role"] == "assistant"


def answer_field(row: Row, *, final: bool = False) -> str | None:
    """The field that answers, where one does.

    Args:
      final: of a `solution` and the `answer` that it comes to, as sets of mathematics
        have them, take the answer, which is a reference; else the solution.

    Raises:
      Malformed: two that differ.
    """
    given = [field for field in ANSWERS if row.peek(field) is not None]
    found = [f for f in given if f not in TYPES or stated(row, [f])]
    if is_calls(row):
        found = [*found, CALLS]
    if found == ["answer", "solution"] and is_no_longer(*map(row.peek, found)):
        return "answer" if final else "solution"
    if any(row.peek(field) != row.peek(found[0]) for field in found[1:]):
        names = " and ".join(map(repr, found))
        raise Refused(found[1], f"fields {names} answer and differ: keep one")
    if not found:  # null, where there is one
        found = [field for field in ANSWERS if field in row]
    return found[0] if found else None


def is_calls(row: Row) -> bool:
    """Whether `answers` of a row with tools are calls of these, not answers."""
    answers = row.peek(CALLS)
    if not fields_with_values(row, ("tools", "functions")):
        return False
    return isinstance(answers, str) or (
        isinstance(answers, list)
        and bool(answers)
        and all(isinstance(a, Mapping) and "arguments" in a for a in answers)
    )


def is_no_longer(text: Any, other: Any) -> bool:
    """Whether the first of two texts has at most as many characters."""
    return all(isinstance(x, str) for x in (text, other)) and len(text) <= len(other)


def label_of(row: Row) -> bool | None:
    """Whether an answer is labelled as wanted; None where there is no label.

    Labels that are null, lists or objects (of topics, say) are none of an answer.

    Raises:
      Malformed: a label that is neither true nor false, or two that differ.
    """
    found = {}
    for field in THUMBS:
        if field in row and isinstance(row.peek(field), str | int | float):
            found[field] = parse_flag(row[field])
            if found[field] is None:
                told = preview(row[field])
                raise Malformed(f"field {field!r} should be true or false, not {told}")
    if len(set(found.values())) > 1:
        raise Malformed(f"fields {' and '.join(map(repr, found))} differ")
    return next(iter(found.values()), None)
