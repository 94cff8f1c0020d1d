"""Prompt of a row: its conversation, or a prompt field with its input and history."""

from jaxalign.data.records import Messages, assistant_message
from jaxalign.data.row_errors import MalformedRow, UnsupportedField
from jaxalign.data.schemas.checks import (
    Row,
    first_field,
    is_empty,
    refuse_fields,
    require_text,
)
from jaxalign.data.schemas.conversations import (
    contains_messages,
    join_messages,
    split_system,
)
from jaxalign.data.schemas.field_names import (
    ALL_PROMPT_FIELDS,
    CONVERSATION_FIELDS,
    FIELD_TYPES,
    PROMPT_FIELDS,
    present_fields,
)
from jaxalign.data.schemas.messages import parse_messages, to_messages


def parse_conversation(row: Row) -> Messages:
    """Parse the conversation of a row, which may be a prompt alone.

    A prompt field beside `messages` has to be a part of them, or to fit before them.

    Raises:
      MalformedRow: there is none, or there are several that do not fit together.
    """
    conversations = present_fields(row, CONVERSATION_FIELDS)
    prompts = present_fields(row, PROMPT_FIELDS)
    if not conversations:
        return parse_prompt_fields(row, prompts)
    first, *others = conversations
    messages = parse_messages(row[first], first)
    for field in others:
        if parse_messages(row[field], field) != messages:
            raise UnsupportedField(
                field, f"fields {first!r} and {field!r} differ; keep one"
            )
    for field in prompts:
        prompt = to_messages(row.peek(field), field)
        system, rest = split_system(prompt)
        if rest and contains_messages(messages, rest):
            prompt = system
        # an ambiguous field that repeats a part of the messages stays in the metadata
        if prompt or field not in FIELD_TYPES:
            row.read_names.add(field)
        messages = join_messages(prompt, messages, (field, first))
    refuse_fields(
        row,
        ["history"],
        "field ",
        f"is not supported beside {first!r}: put it into that",
    )
    return messages


def parse_prompt_fields(row: Row, prompts: list[str]) -> Messages:
    """Parse the prompt of a row without a conversation.

    `input` and `context` are appended to an instruction; `input` alone is a prompt.

    Args:
      prompts: prompt fields of the row that have a value.

    Raises:
      MalformedRow: no prompt.
      UnsupportedField: two different prompts, or a `context` of a conversation.
    """
    prompts = prompts or present_fields(row, ["input"])
    field = prompts[0] if prompts else first_field(row, *ALL_PROMPT_FIELDS)
    messages = to_messages(row[field], field)
    for other in prompts[1:]:
        if not contains_messages(messages, to_messages(row[other], other)):
            raise UnsupportedField(
                other, f"fields {field!r} and {other!r} are different prompts; keep one"
            )
    for name in ("input", "context"):
        if name == field:
            continue
        text = "" if is_empty(row.peek(name)) else require_text(row.peek(name), name)
        message = {"role": "user", "content": text}
        if text and field == "prompt" and contains_messages(messages, [message]):
            continue
        row.read_names.add(name)
        if not text:
            continue
        if field == "prompt" and name == "context" or len(messages) > 1:
            raise UnsupportedField(
                name,
                f"field {name!r} is not supported beside {field!r}: put it into that",
            )
        joined = f"{messages[0]['content']}\n{text}"
        messages = [{"role": "user", "content": joined}]
    return [*parse_history(row), *messages]


def parse_history(row: Row) -> Messages:
    """Parse `history`, the [question, answer] turns before an instruction.

    Raises:
      MalformedRow: it is not a list of such turns.
    """
    history = [] if is_empty(row.get("history")) else row["history"]
    if not isinstance(history, list) or not all(
        isinstance(turn, list)
        and len(turn) == 2
        and all(isinstance(text, str) for text in turn)
        for turn in history
    ):
        raise MalformedRow("field 'history' is not a list of [question, answer]")
    return [
        message
        for question, answer in history
        for message in (
            {"role": "user", "content": question},
            assistant_message(answer),
        )
    ]
