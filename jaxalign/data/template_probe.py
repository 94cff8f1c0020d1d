"""Which parts of a conversation a chat template renders, found by rendering probes.

A probe is a conversation of the same shape (roles, and which of content, thought and
calls each message has) whose texts are unique made-up words: those missing from the
rendered text are what the template omits, once for each shape. Each conversation's own
contents are then looked for in its own text.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jaxalign.data.templates import PROBE, Conversation, Message, render_conversations
from jaxalign.data.tokenizer_type import PreTrainedTokenizerFast

THINK_TAG = re.compile(r"</?think>")
OMITTED_THOUGHTS = "with earlier thoughts that the chat template leaves out (kept)"
MAX_SHAPES = 10_000
# (field, index of the message) that a template omits, by template and conversation
# shape; None where the template fails
OMITTED_BY_SHAPE: dict[Any, frozenset[tuple[str, int]] | None] = {}


def drop_reason(
    tokenizer: PreTrainedTokenizerFast,
    conversation: Conversation,
    trained: Sequence[int],
    text: str,
) -> str:
    """Why a conversation must be refused: its text omits part of it; or "".

    Args:
      trained: indices of the trained messages; thoughts of others may be omitted, as by
        templates that render the thought of the last answer alone.
      text: the rendered conversation.
    """
    omitted = omitted_fields(tokenizer, conversation) or frozenset()
    by = (
        "chat template" if tokenizer.chat_template else "tokenizer, without a template,"
    )
    for field, i in sorted(omitted):
        if field == "tools":
            return f"field 'tools': the {by} shows no tools"
        if field == "tool_calls":
            return f"field 'tool_calls': the {by} shows no calls"
        if field == "content":
            role = conversation.messages[i]["role"]
            return f"field 'content': the {by} leaves out what the {role} says"
        if i in trained or hides_thought(tokenizer, conversation, i):
            return f"field 'reasoning_content': the {by} shows no thoughts"
    for i, message in enumerate(conversation.messages):
        last = i + 1 == len(conversation.messages)
        if not contains_message(text, message, last=last):
            role = message["role"]
            return f"field 'content': the {by} changes or cuts what the {role} says"
    return ""


def hides_thought(
    tokenizer: PreTrainedTokenizerFast, conversation: Conversation, i: int
) -> bool:
    """Whether the template omits message i's thought even while nothing follows it."""
    omitted = omitted_fields(tokenizer, conversation.first(i + 1)) or ()
    return ("reasoning_content", i) in omitted


def omission_note(
    tokenizer: PreTrainedTokenizerFast, conversation: Conversation
) -> str:
    """`OMITTED_THOUGHTS` where the template omits earlier thoughts; or ""."""
    if not any("reasoning_content" in message for message in conversation.messages):
        return ""
    omitted = omitted_fields(tokenizer, conversation) or ()
    return OMITTED_THOUGHTS * any(field == "reasoning_content" for field, _ in omitted)


def map_developer_role(
    tokenizer: PreTrainedTokenizerFast, conversation: Conversation
) -> Conversation:
    """Renames role `developer` to `system` where the template does not support it."""
    messages = conversation.messages
    developers = [i for i, m in enumerate(messages) if m["role"] == "developer"]
    if not developers:
        return conversation
    omitted = omitted_fields(tokenizer, conversation)
    if omitted is not None and omitted.isdisjoint(("content", i) for i in developers):
        return conversation
    renamed = [
        {**message, "role": "system"} if i in developers else message
        for i, message in enumerate(messages)
    ]
    return Conversation(renamed, conversation.tools)


def omitted_fields(
    tokenizer: PreTrainedTokenizerFast, conversation: Conversation
) -> frozenset[tuple[str, int]] | None:
    """The fields of messages that a template omits, as (field, index of the message).

    Returns:
      Tools are ("tools", -1). None where the template fails.
    """
    messages = conversation.messages
    is_prompt = bool(messages) and messages[-1]["role"] != "assistant"
    shape = tuple(map(message_shape, messages))
    key = (str(tokenizer.chat_template), bool(conversation.tools), is_prompt, shape)
    if key not in OMITTED_BY_SHAPE:
        if len(OMITTED_BY_SHAPE) > MAX_SHAPES:
            OMITTED_BY_SHAPE.clear()
        words = dict(probe_words(conversation))
        try:
            (probe,) = render_conversations(
                tokenizer, [probe_conversation(conversation)], prompt=is_prompt
            )
        except ValueError:
            return OMITTED_BY_SHAPE.setdefault(key, None)
        omitted = frozenset(
            (field, i)
            for (field, i, _), word in words.items()
            if word not in probe.text
        )
        OMITTED_BY_SHAPE[key] = None if probe.template_error else omitted
    return OMITTED_BY_SHAPE[key]


def message_shape(message: Message) -> tuple[Any, ...]:
    """A message's role and non-empty fields, whatever their texts."""
    if len(message) == 2:
        return (message["role"], bool(message["content"]))
    fields = [(name, bool(value)) for name, value in message.items()]
    return (message["role"], *fields, len(message.get("tool_calls", ())))


def probe_word(field: str, i: int, j: int = 0) -> str:
    """A word that no template and no other place of the conversation contains."""
    return f"{PROBE}{field[:2]}{len(field)}{i + 1}n{j}e"


def probe_words(
    conversation: Conversation,
) -> Iterator[tuple[tuple[str, int, int], str]]:
    """The made-up word of each field: (field, message, call), word."""
    for i, message in enumerate(conversation.messages):
        for field in ("content", "reasoning_content"):
            if message.get(field):
                yield (field, i, 0), probe_word(field, i)
        for j, _ in enumerate(message.get("tool_calls", ())):
            yield ("tool_calls", i, j), probe_word("tool_calls", i, j)
            yield ("tool_calls", i, -j - 1), probe_word("arguments", i, j)
    if conversation.tools:
        yield ("tools", -1, 0), probe_word("tools", -1)


def probe_conversation(conversation: Conversation) -> Conversation:
    """A conversation of the same shape, in made-up words."""
    messages = []
    for i, message in enumerate(conversation.messages):
        probe: dict[str, Any] = dict(message)
        for field in ("content", "reasoning_content"):
            if message.get(field):
                probe[field] = probe_word(field, i)
        if "tool_calls" in message:
            probe["tool_calls"] = [
                rename_tool(call, probe_word("tool_calls", i, j))
                | {"function": probe_call(i, j)}
                for j, call in enumerate(message["tool_calls"])
            ]
        messages.append(probe)
    tool_word = probe_word("tools", -1)
    tools = tuple(rename_tool(tool, tool_word) for tool in conversation.tools[:1])
    return Conversation(messages, tools)


def probe_call(i: int, j: int) -> dict[str, Any]:
    """The made-up function call j of message i."""
    arguments = {"made_up": probe_word("arguments", i, j)}
    return {"name": probe_word("tool_calls", i, j), "arguments": arguments}


def rename_tool(tool: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A tool or a call under another name."""
    if isinstance(tool.get("function"), Mapping):
        return {**tool, "function": {**tool["function"], "name": name}}
    return {**tool, "name": name}


def contains_message(text: str, message: Message, *, last: bool) -> bool:
    """Whether a text contains a message's content, as templates may write it.

    They strip it, write results of tools as JSON, separate thoughts from the content,
    and leave those of earlier answers out.

    Args:
      last: the message is the conversation's last.
    """
    content = message["content"]
    if content.strip() in text:
        return True
    parts = [content]
    if message["role"] == "assistant":
        parts = THINK_TAG.split(content)[0 if last else -1 :]
    squeezed = "".join(text.split())
    return all(
        any("".join(form.split()) in squeezed for form in content_variants(part))
        for part in parts
    )


def content_variants(content: str) -> Iterator[str]:
    """A content as it stands, and as a JSON string with and without ASCII escapes."""
    yield content
    yield json.dumps(content, ensure_ascii=False)[1:-1]
    yield json.dumps(content)[1:-1]
