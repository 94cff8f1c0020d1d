"""Messages of rows, mapped from the names that data sets use to those of `records`.

role       human, user, prompter | gpt, assistant, model, bot, chatgpt, ... | system |
           developer | tool, function, observation, ipython; case is ignored
content    text, or a list of parts: text, thinking or reasoning, tool_call
reasoning  reasoning_content, reasoning, thinking, thought of an assistant message
calls      tool_calls, function_call; a message of role function_call or tool_call
loss mask  weight, loss_weight, train, training, mask, loss: 0 is masked, 1 is trained

A turn {"input": ..., "output": ...} is a user and an assistant message.

Refused with the field's name: conflicting reasoning, texts or roles, weights between 0
and 1 and masks that are lists, user messages that are marked as trained, images and
other media, null content (except beside a call), tool results without a call before
them, and unknown fields whose names suggest any of these.
"""

import json
from collections.abc import Mapping
from typing import Any

from jaxalign.data.records import Answer, Message, Messages
from jaxalign.data.row_errors import MalformedRow, UnsupportedField
from jaxalign.data.schemas.checks import (
    is_empty,
    json_type,
    parse_json,
    preview,
    refuse_fields,
    require_objects,
)
from jaxalign.data.schemas.message_content import parse_content
from jaxalign.data.schemas.message_fields import (
    TEXT_FIELDS,
    is_trained,
    refuse_unknown_fields,
)

ROLES = {
    **dict.fromkeys(("human", "user", "prompter"), "user"),
    **dict.fromkeys(
        ("gpt", "assistant", "model", "bot", "chatgpt", "chatbot", "ai", "bing"),
        "assistant",
    ),
    **dict.fromkeys(("bard", "gpt4", "gpt-4", "claude", "llm"), "assistant"),
    "system": "system",
    "developer": "developer",
    **dict.fromkeys(("tool", "function", "observation", "ipython"), "tool"),
    **dict.fromkeys(("tool_response", "function_response"), "tool"),
    **dict.fromkeys(("tool_result", "function_result"), "tool"),
    **dict.fromkeys(("function_call", "tool_call", "tool_calls"), "call"),
}
MEDIA_FIELDS = ("images", "image", "videos", "video", "audios", "audio")


def to_messages(value: Any, field: str) -> Messages:
    """Convert a text, or role/content or from/value objects, to messages.

    Args:
      value: a text is one user message.
      field: name of the row's field, for error messages.

    Raises:
      MalformedRow: names the message and its fault.
    """
    if isinstance(value, str):
        if not value.strip():
            raise MalformedRow(f"field {field!r} is empty")
        return [{"role": "user", "content": value}]
    if isinstance(value, Mapping):
        is_message = isinstance(value.get("role", value.get("from")), str)
        value = [value] if is_message else require_objects(value, field)
    if not isinstance(value, list) or not value:
        raise MalformedRow(f"field {field!r} is not a text or a list of messages")
    messages: Messages = []
    for i, entry in enumerate(expand_turns(value)):
        message = parse_message(entry, f"field {field!r}, message {i}:")
        previous = messages[-1]["role"] if messages else None
        if message["role"] == "tool" and previous not in ("assistant", "tool"):
            raise MalformedRow(
                f"field {field!r}, message {i}: has role 'tool', but no message of the "
                "assistant before it"
            )
        messages.append(message)
    return messages


def parse_messages(value: Any, field: str) -> Messages:
    """Parse the messages of a field that never holds plain text; JSON is accepted."""
    return to_messages(
        parse_json(value, f"field {field!r}") if isinstance(value, str) else value,
        field,
    )


def expand_turns(entries: list[Any]) -> list[Any]:
    """Replace each {"input", "output"} turn by a user and an assistant message.

    Other fields of a turn go to its assistant message.
    """
    if not all(
        isinstance(entry, Mapping) and {"input", "output"} <= entry.keys()
        for entry in entries
    ):
        return entries
    return [
        message
        for turn in entries
        for message in (
            {"role": "user", "content": turn["input"]},
            {
                **{k: v for k, v in turn.items() if k not in ("input", "output")},
                **{"role": "assistant", "content": turn["output"]},
            },
        )
    ]


def parse_message(value: Any, prefix: str, default_role: str | None = None) -> Message:
    """Parse one message.

    Args:
      prefix: name of the message, which begins error messages.
      default_role: role of a message without one.

    Raises:
      MalformedRow: an unknown role, or no text.
      UnsupportedField: see the docstring of this module.
    """
    if not isinstance(value, Mapping):
        raise MalformedRow(f"{prefix} is {json_type(value)}; expected an object")
    written_role = value.get("role", value.get("from", default_role))
    if written_role is None:
        written_role = value.get("from", default_role)
    role = parse_role(written_role)
    if role is None:
        names = ", ".join(dict.fromkeys(ROLES.values())).replace("call", "tool_call")
        raise MalformedRow(
            f"{prefix} has role {preview(written_role)}; expected one of {names}"
        )
    content = value.get("content")
    content = value.get("value") if content is None else content
    if isinstance(content, str) and role != "call" and value.keys() <= TEXT_FIELDS:
        if len(value) > 2:
            refuse_conflicts(value, prefix)
        return {"role": role, "content": content}
    refuse_conflicts(value, prefix)
    refuse_fields(value, MEDIA_FIELDS, f"{prefix} ", "cannot be read; only text can")
    refuse_unknown_fields(value, prefix)
    return parse_structured_message(value, prefix, role, content)


def parse_role(role: Any) -> str | None:
    """One of the values of `ROLES`, or None."""
    return ROLES.get(role.strip().lower()) if isinstance(role, str) else None


def refuse_conflicts(message: Mapping[str, Any], prefix: str) -> None:
    """Refuse a message with two different texts or roles."""
    roles = [
        parse_role(role)
        for role in (message.get("role"), message.get("from"))
        if isinstance(role, str)
    ]
    if len(roles) == 2 and None not in roles and roles[0] != roles[1]:
        raise UnsupportedField("from", f"{prefix} 'role' and 'from' differ; keep one")
    texts = message.get("content"), message.get("value")
    if not any(map(is_empty, texts)) and texts[0] != texts[1]:
        raise UnsupportedField(
            "value", f"{prefix} 'content' and 'value' differ; keep one"
        )


def parse_structured_message(
    value: Mapping[str, Any], prefix: str, role: str, content: Any
) -> Message:
    """Parse a message with more than a role and a text.

    Args:
      role: a value of `ROLES`.
      content: `content` or `value` of the message.
    """
    content, reasoning, calls = parse_content(value, prefix, role, content)
    role = "assistant" if role == "call" else role
    if role == "tool" and isinstance(content, Mapping | list):
        content = json.dumps(content, ensure_ascii=False)
    if content is None and calls:
        content = ""
    if not isinstance(content, str):
        raise MalformedRow(f"{prefix} content is {json_type(content)}; expected text")
    message: Message = {"role": role, "content": content}
    if (reasoning or calls) and role != "assistant":
        name = "tool_calls" if calls else "reasoning_content"
        raise UnsupportedField(
            name, f"{prefix} has {name!r}, but is not a message of the assistant"
        )
    if reasoning:
        message["reasoning_content"] = reasoning
    if calls:
        message["tool_calls"] = calls
    for name in ("tool_call_id", "name"):
        if isinstance(value.get(name), str) and value[name]:
            message[name] = value[name]
    if not is_trained(value, prefix, role):
        message["train"] = False
    return message


def message_to_answer(message: Message, field: str) -> Answer:
    """Convert an assistant message to an answer: its text, if it has nothing else.

    Args:
      field: name of the row's field, for the error message.

    Raises:
      UnsupportedField: the message is masked out of the loss, so that it cannot be
        compared with others.
    """
    if message.get("train") is False:
        raise UnsupportedField(
            "train",
            f"field {field!r} compares an answer that is masked out of the loss "
            "(weight, loss_weight, train, mask or loss is 0)",
        )
    return message["content"] if len(message) == 2 else message
