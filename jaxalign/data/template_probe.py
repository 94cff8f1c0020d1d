"""What of a conversation its chat template shows, and what it would lose.

A conversation of the same shape (roles, and which of content, thought and calls each
message has) with made-up words tells what a template leaves out, once for each shape;
what each row says is then looked for in its own text.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from transformers import PreTrainedTokenizerFast

from jaxalign.data.templates import PROBE, Conversation, Message, render_conversations

THOUGHTS = re.compile(r"</?think>")
OMITTED_THOUGHTS = "with earlier thoughts that the chat template leaves out (kept)"
# what the templates of each tokenizer leave out, by the shape of a conversation
OMITTED_BY_SHAPE: dict[Any, frozenset[tuple[str, int]] | None] = {}


def drop_reason(
    tokenizer: PreTrainedTokenizerFast,
    talk: Conversation,
    trained: Sequence[int],
    text: str,
) -> str:
    """Why a conversation must be refused: its text lacks what it says; or "".

    Args:
      trained: the messages that are trained; thoughts of others may be left out, as a
        template does that shows the thought of the last answer alone.
      text: of the conversation.
    """
    missing = omitted_fields(tokenizer, talk) or frozenset()
    by = (
        "chat template" if tokenizer.chat_template else "tokenizer, without a template,"
    )
    for field, i in sorted(missing):
        if field == "tools":
            return f"field 'tools': the {by} shows no tools"
        if field == "tool_calls":
            return f"field 'tool_calls': the {by} shows no calls"
        if field == "content":
            role = talk.messages[i]["role"]
            return f"field 'content': the {by} leaves out what the {role} says"
        if i in trained or hides_thought(tokenizer, talk, i):
            return f"field 'reasoning_content': the {by} shows no thoughts"
    for i, message in enumerate(talk.messages):
        if not contains_message(text, message, last=i + 1 == len(talk.messages)):
            role = message["role"]
            return f"field 'content': the {by} changes or cuts what the {role} says"
    return ""


def hides_thought(
    tokenizer: PreTrainedTokenizerFast, talk: Conversation, i: int
) -> bool:
    """Whether a template does not even show a thought while nothing follows it."""
    return ("reasoning_content", i) in (
        omitted_fields(tokenizer, talk.until(i + 1)) or ()
    )


def omission_note(tokenizer: PreTrainedTokenizerFast, talk: Conversation) -> str:
    """What is to be counted of a conversation that is kept; or ""."""
    if not any("reasoning_content" in message for message in talk.messages):
        return ""
    missing = omitted_fields(tokenizer, talk) or ()
    return OMITTED_THOUGHTS * any(field == "reasoning_content" for field, _ in missing)


def map_developer_role(
    tokenizer: PreTrainedTokenizerFast, talk: Conversation
) -> Conversation:
    """The conversation, with `developer` as `system` where its template knows none."""
    places = [i for i, m in enumerate(talk.messages) if m["role"] == "developer"]
    if not places:
        return talk
    missing = omitted_fields(tokenizer, talk)
    if missing is not None and missing.isdisjoint(("content", i) for i in places):
        return talk
    messages = [
        {**message, "role": "system"} if i in places else message
        for i, message in enumerate(talk.messages)
    ]
    return Conversation(messages, talk.tools)


def omitted_fields(
    tokenizer: PreTrainedTokenizerFast, talk: Conversation
) -> frozenset[tuple[str, int]] | None:
    """The fields of messages which a template leaves out; None where it fails.

    Tools are ("tools", -1).
    """
    asks = bool(talk.messages) and talk.messages[-1]["role"] != "assistant"
    shape = tuple(map(message_shape, talk.messages))
    key = (str(tokenizer.chat_template), bool(talk.tools), asks, shape)
    if key not in OMITTED_BY_SHAPE:
        if len(OMITTED_BY_SHAPE) > 10_000:
            OMITTED_BY_SHAPE.clear()
        probes = dict(probe_words(talk))
        try:
            (whole,) = render_conversations(
                tokenizer, [probe_conversation(talk)], prompt=asks
            )
        except ValueError:
            return OMITTED_BY_SHAPE.setdefault(key, None)
        gone = frozenset(f for f, probe in probes.items() if probe not in whole.text)
        OMITTED_BY_SHAPE[key] = (
            None if whole.template_error else frozenset((f, i) for f, i, _ in gone)
        )
    return OMITTED_BY_SHAPE[key]


def message_shape(message: Message) -> tuple[Any, ...]:
    """What a message has, whatever it says."""
    if len(message) == 2:
        return (message["role"], bool(message["content"]))
    has = [(name, bool(value)) for name, value in message.items()]
    return (message["role"], *has, len(message.get("tool_calls", ())))


def probe_word(field: str, i: int, j: int = 0) -> str:
    """A word that no template holds, and no other place of the conversation."""
    return f"{PROBE}{field[:2]}{len(field)}{i + 1}n{j}e"


def probe_words(talk: Conversation) -> Iterator[tuple[tuple[str, int, int], str]]:
    """The made-up word of each field of a conversation."""
    for i, message in enumerate(talk.messages):
        for field in ("content", "reasoning_content"):
            if message.get(field):
                yield (field, i, 0), probe_word(field, i)
        for j, _ in enumerate(message.get("tool_calls", ())):
            yield ("tool_calls", i, j), probe_word("tool_calls", i, j)
            yield ("tool_calls", i, -j - 1), probe_word("arguments", i, j)
    if talk.tools:
        yield ("tools", -1, 0), probe_word("tools", -1)


def probe_conversation(talk: Conversation) -> Conversation:
    """A conversation of the same shape, in made-up words."""
    messages = []
    for i, message in enumerate(talk.messages):
        made: dict[str, Any] = dict(message)
        for field in ("content", "reasoning_content"):
            if message.get(field):
                made[field] = probe_word(field, i)
        if "tool_calls" in message:
            made["tool_calls"] = [
                rename_tool(call, probe_word("tool_calls", i, j))
                | {"function": probe_call(i, j)}
                for j, call in enumerate(message["tool_calls"])
            ]
        messages.append(made)
    return Conversation(
        messages, tuple(rename_tool(t, probe_word("tools", -1)) for t in talk.tools[:1])
    )


def probe_call(i: int, j: int) -> dict[str, Any]:
    """A made-up call."""
    arguments = {"made_up": probe_word("arguments", i, j)}
    return {"name": probe_word("tool_calls", i, j), "arguments": arguments}


def rename_tool(tool: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A tool or a call of another name."""
    if isinstance(tool.get("function"), Mapping):
        return {**tool, "function": {**tool["function"], "name": name}}
    return {**tool, "name": name}


def contains_message(text: str, message: Message, *, last: bool) -> bool:
    """Whether a text holds what a message says, as templates may write it.

    They strip, write the results of tools as JSON, set thoughts in a content apart, and
    leave those of earlier answers out.
    """
    content = message["content"]
    if content.strip() in text:
        return True
    parts = [content]
    if message["role"] == "assistant":
        parts = THOUGHTS.split(content)[0 if last else -1 :]
    squeezed = "".join(text.split())
    return all(
        any("".join(form.split()) in squeezed for form in content_variants(part))
        for part in parts
    )


def content_variants(content: str) -> Iterator[str]:
    """A content as it stands, and in JSON."""
    yield content
    yield json.dumps(content, ensure_ascii=False)[1:-1]
    yield json.dumps(content)[1:-1]
