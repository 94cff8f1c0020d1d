"""Messages of rows, under whichever names data sets give them, as `records` has them.

role       human, user, prompter | gpt, assistant, model, bot, chatgpt, ... | system |
           developer | tool, function, observation, ipython; of any case
content    text, or parts of it: text, thinking or reasoning, tool_call
thoughts   reasoning_content, reasoning, thinking, thought of an assistant's message
calls      tool_calls, function_call; a message of role function_call or tool_call
trained    weight, loss_weight, train, training, mask, loss: 0 is not trained, 1 is

Read too are objects of a question and its answer, {"input": ..., "output": ...}.

Refused by name are two thoughts, texts or roles that differ, weights between 0 and 1
and masks that are lists, a user's message that is to be trained, images and other
media, null content (right beside a call alone), a tool's result that follows no call,
and fields of other names that speak of any of these.
"""

import json
from collections.abc import Mapping
from typing import Any

from jaxalign.data.records import Answer, Message, Messages
from jaxalign.data.schemas import tools
from jaxalign.data.schemas.checks import (
    MalformedRow,
    UnsupportedField,
    is_empty,
    json_type,
    parse_json,
    preview,
    refuse_fields,
    require_objects,
)
from jaxalign.data.schemas.message_fields import (
    REASONING_FIELDS,
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
TEXT_PART_TYPES = ("text", "input_text", "output_text")


def to_messages(value: Any, field: str) -> Messages:
    """Messages, from a text, role/content or from/value objects.

    Raises:
      Malformed: names the message and what is wrong with it.
    """
    if isinstance(value, str):
        if not value.strip():
            raise MalformedRow(f"field {field!r} is empty")
        return [{"role": "user", "content": value}]
    if isinstance(value, Mapping):
        one = isinstance(value.get("role", value.get("from")), str)
        value = [value] if one else require_objects(value, field)
    if not isinstance(value, list) or not value:
        raise MalformedRow(f"field {field!r} should be text or a list of messages")
    messages = []
    for i, message in enumerate(expand_turns(value)):
        messages.append(parse_message(message, f"field {field!r}, message {i}:"))
        before = messages[i - 1]["role"] if i else None
        if messages[i]["role"] == "tool" and before not in ("assistant", "tool"):
            raise MalformedRow(
                f"field {field!r}, message {i}: is of role 'tool', a result that "
                "follows no message of the assistant"
            )
    return messages


def parse_messages(value: Any, field: str) -> Messages:
    """The messages of a field that has no texts; they may be written as JSON."""
    return to_messages(
        parse_json(value, f"field {field!r}") if isinstance(value, str) else value,
        field,
    )


def expand_turns(value: list[Any]) -> list[Any]:
    """A list of messages; objects of `input` and `output` are two messages each.

    What else such an object says is said of its answer.
    """
    if not all(
        isinstance(m, Mapping) and {"input", "output"} <= m.keys() for m in value
    ):
        return value
    return [
        message
        for turn in value
        for message in (
            {"role": "user", "content": turn["input"]},
            {
                **{k: v for k, v in turn.items() if k not in ("input", "output")},
                **{"role": "assistant", "content": turn["output"]},
            },
        )
    ]


def parse_message(value: Any, at: str, role: str | None = None) -> Message:
    """One message.

    Args:
      at: where it is, for what is said of it.
      role: of a message that names none.
    """
    if not isinstance(value, Mapping):
        raise MalformedRow(f"{at} is {json_type(value)}, should be an object")
    told = value.get("role", value.get("from", role))
    told = value.get("from", role) if told is None else told
    role = ROLES.get(told.strip().lower()) if isinstance(told, str) else None
    if role is None:
        names = ", ".join(dict.fromkeys(ROLES.values())).replace("call", "tool_call")
        raise MalformedRow(f"{at} has role {preview(told)}, should be one of {names}")
    content = value.get("content")
    content = value.get("value") if content is None else content
    if isinstance(content, str) and role != "call" and value.keys() <= TEXT_FIELDS:
        if len(value) > 2:
            refuse_conflicts(value, at)
        return {"role": role, "content": content}
    refuse_conflicts(value, at)
    refuse_fields(value, MEDIA_FIELDS, f"{at} ", "cannot be read, only texts")
    refuse_unknown_fields(value, at)
    return parse_structured_message(value, at, role, content)


def refuse_conflicts(value: Mapping[str, Any], at: str) -> None:
    """Refuses a message with two texts, or of two roles, that differ."""
    roles = [
        ROLES.get(told.strip().lower())
        for told in (value.get("role"), value.get("from"))
        if isinstance(told, str)
    ]
    if len(roles) == 2 and None not in roles and roles[0] != roles[1]:
        raise UnsupportedField("from", f"{at} 'role' and 'from' differ: keep one")
    texts = value.get("content"), value.get("value")
    if not any(map(is_empty, texts)) and texts[0] != texts[1]:
        raise UnsupportedField("value", f"{at} 'content' and 'value' differ: keep one")


def parse_structured_message(
    value: Mapping[str, Any], at: str, role: str, content: Any
) -> Message:
    """A message with more than a text."""
    calls = message_tool_calls(value, at)
    thoughts = parse_reasoning(value, at)
    if role == "call":
        told = f"{at} content of role 'function_call'"
        role, content, calls = "assistant", "", tools.parse_tool_calls(content, told)
        if not calls:
            raise MalformedRow(f"{at} is of role 'tool_call', and calls nothing")
    if isinstance(content, list):
        content, inner, called = parse_content_parts(content, at)
        if thoughts and inner and thoughts != inner:
            raise UnsupportedField(
                "content", f"{at} has two thoughts that differ: keep one"
            )
        thoughts, calls = thoughts or inner, calls + called
    if role == "tool" and isinstance(content, Mapping | list):
        content = json.dumps(content, ensure_ascii=False)
    if content is None and calls:
        content = ""
    if not isinstance(content, str):
        raise MalformedRow(f"{at} content should be text, not {json_type(content)}")
    message: Message = {"role": role, "content": content}
    if (thoughts or calls) and role != "assistant":
        name = "tool_calls" if calls else "reasoning_content"
        raise UnsupportedField(
            name, f"{at} {name!r} of a message that is not the assistant's"
        )
    if thoughts:
        message["reasoning_content"] = thoughts
    if calls:
        message["tool_calls"] = calls
    for name in ("tool_call_id", "name"):
        if isinstance(value.get(name), str) and value[name]:
            message[name] = value[name]
    if not is_trained(value, at, role):
        message["train"] = False
    return message


def message_tool_calls(value: Mapping[str, Any], at: str) -> list[dict[str, Any]]:
    """The calls in the fields of a message; the same told twice are told once."""
    found = [
        tools.parse_tool_calls(value[name], f"{at} {name!r}")
        for name in ("tool_calls", "function_call")
        if not is_empty(value.get(name))
    ]
    if len(found) > 1 and strip_call_ids(found[0]) != strip_call_ids(found[1]):
        raise UnsupportedField(
            "function_call", f"{at} 'tool_calls' and 'function_call' differ"
        )
    return found[0] if found else []


def strip_call_ids(calls: list[dict[str, Any]]) -> list[Any]:
    """Calls without their ids."""
    return [call["function"] for call in calls]


def parse_reasoning(value: Mapping[str, Any], at: str) -> str:
    """The thought of an answer, under any of its names; '' where there is none.

    Raises:
      Refused: two that differ, or one that is no text.
    """
    found = {
        name: value[name] for name in REASONING_FIELDS if not is_empty(value.get(name))
    }
    for name, thought in found.items():
        if not isinstance(thought, str):
            raise UnsupportedField(
                name, f"{at} {name!r} should be text, not {json_type(thought)}"
            )
    if len(set(found.values())) > 1:
        names = " and ".join(map(repr, found))
        raise UnsupportedField(
            next(iter(found)), f"{at} {names} differ: keep one thought"
        )
    return next(iter(found.values()), "")


def parse_content_parts(
    content: list[Any], at: str
) -> tuple[Any, str, list[dict[str, Any]]]:
    """The text, the thought and the calls in a content of parts.

    Raises:
      Refused: a part that is none of these, as an image.
    """
    texts, thoughts, calls = [], [], []
    for part in content:
        if not isinstance(part, Mapping):
            return content, "", []
        kind = part.get("type") or "text"
        inner = part.get("text")
        inner = part.get("value") if inner is None else inner
        if kind in REASONING_FIELDS:
            thoughts.append(part.get(kind, inner))
        elif kind in ("tool_call", "function_call"):
            calls += tools.parse_tool_calls(part.get(kind, inner), f"{at} content")
        elif kind in TEXT_PART_TYPES:
            texts.append(inner)
        else:
            name = kind if isinstance(kind, str) else "type"
            raise UnsupportedField(
                name, f"{at} has content of type {preview(kind)}, which cannot be read"
            )
    said = [text for text in texts if isinstance(text, str)]
    thought = [text for text in thoughts if isinstance(text, str)]
    if len(said) < len(texts) or len(thought) < len(thoughts):
        return content, "", []
    return "".join(said), "".join(thought), calls


def message_to_answer(message: Message, field: str) -> Answer:
    """An assistant's message as an answer to compare: its text, if it has no more.

    Raises:
      Refused: one that is not to be trained on, which nothing could be compared with.
    """
    if message.get("train") is False:
        raise UnsupportedField(
            "train",
            f"field {field!r} compares an answer that is not to be trained on (weight, "
            "loss_weight, train, mask or loss is 0)",
        )
    return message["content"] if len(message) == 2 else message
