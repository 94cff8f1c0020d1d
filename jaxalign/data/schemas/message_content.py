"""Content of a message: its text, its reasoning and its tool calls."""

from collections.abc import Mapping
from typing import Any

from jaxalign.data.row_errors import MalformedRow, UnsupportedField
from jaxalign.data.schemas import tools
from jaxalign.data.schemas.checks import is_empty, json_type, preview
from jaxalign.data.schemas.message_fields import REASONING_FIELDS

TEXT_PART_TYPES = ("text", "input_text", "output_text")


def parse_content(
    value: Mapping[str, Any], prefix: str, role: str, content: Any
) -> tuple[Any, str, list[dict[str, Any]]]:
    """Content, reasoning and tool calls of a message.

    Returns:
      The content, which is text in a well-formed message; the reasoning, "" if there is
      none; the tool calls.
    """
    calls = message_tool_calls(value, prefix)
    reasoning = parse_reasoning(value, prefix)
    if role == "call":
        name = f"{prefix} content of role 'function_call'"
        content, calls = "", tools.parse_tool_calls(content, name)
        if not calls:
            raise MalformedRow(f"{prefix} has role 'tool_call', but no call")
    if isinstance(content, list):
        content, part_reasoning, part_calls = parse_content_parts(content, prefix)
        if reasoning and part_reasoning and reasoning != part_reasoning:
            raise UnsupportedField(
                "content", f"{prefix} has two different reasoning texts; keep one"
            )
        reasoning, calls = reasoning or part_reasoning, calls + part_calls
    return content, reasoning, calls


def message_tool_calls(message: Mapping[str, Any], prefix: str) -> list[dict[str, Any]]:
    """Tool calls in the fields of a message.

    Raises:
      UnsupportedField: `tool_calls` and `function_call` have different calls.
    """
    calls = [
        tools.parse_tool_calls(message[name], f"{prefix} {name!r}")
        for name in ("tool_calls", "function_call")
        if not is_empty(message.get(name))
    ]
    if len(calls) > 1 and strip_call_ids(calls[0]) != strip_call_ids(calls[1]):
        raise UnsupportedField(
            "function_call", f"{prefix} 'tool_calls' and 'function_call' differ"
        )
    return calls[0] if calls else []


def strip_call_ids(calls: list[dict[str, Any]]) -> list[Any]:
    """The functions of tool calls, without the ids of the calls."""
    return [call["function"] for call in calls]


def parse_reasoning(message: Mapping[str, Any], prefix: str) -> str:
    """Reasoning of an answer, under any of its names; "" if there is none.

    Raises:
      UnsupportedField: two different ones, or one that is not text.
    """
    texts = {
        name: message[name]
        for name in REASONING_FIELDS
        if not is_empty(message.get(name))
    }
    for name, text in texts.items():
        if not isinstance(text, str):
            raise UnsupportedField(
                name, f"{prefix} {name!r} is {json_type(text)}; expected text"
            )
    if len(set(texts.values())) > 1:
        names = " and ".join(map(repr, texts))
        raise UnsupportedField(next(iter(texts)), f"{prefix} {names} differ; keep one")
    return next(iter(texts.values()), "")


def parse_content_parts(
    content: list[Any], prefix: str
) -> tuple[Any, str, list[dict[str, Any]]]:
    """Parse a content that is a list of parts.

    Returns:
      Text, reasoning and tool calls; the list itself in place of the text if a part is
      not an object or has no text.

    Raises:
      UnsupportedField: a part of another type, such as an image.
    """
    texts: list[Any] = []
    reasoning: list[Any] = []
    calls: list[dict[str, Any]] = []
    for part in content:
        if not isinstance(part, Mapping):
            return content, "", []
        kind = part.get("type") or "text"
        inner = part.get("text")
        inner = part.get("value") if inner is None else inner
        if kind in REASONING_FIELDS:
            reasoning.append(part.get(kind, inner))
        elif kind in ("tool_call", "function_call"):
            calls += tools.parse_tool_calls(part.get(kind, inner), f"{prefix} content")
        elif kind in TEXT_PART_TYPES:
            texts.append(inner)
        else:
            raise UnsupportedField(
                kind if isinstance(kind, str) else "type",
                f"{prefix} has content of type {preview(kind)}, which cannot be read",
            )
    if not all(isinstance(text, str) for text in texts + reasoning):
        return content, "", []
    return "".join(texts), "".join(reasoning), calls
