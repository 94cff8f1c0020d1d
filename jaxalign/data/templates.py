"""Conversations as text, by the tokenizer's chat template; one of any kind will do."""

import datetime
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from transformers import PreTrainedTokenizerFast

from jaxalign.data import sandbox
from jaxalign.data import tokenizer as tokenizers
from jaxalign.data.records import Tools

Message = Mapping[str, Any]
Messages = Sequence[Message]

GENERATION_TAG = re.compile(r"\{%-?\s*generation\s*-?%\}")
PROBE = "zyxwvuts"  # an answer that no template holds


class Conversation(NamedTuple):
    """A conversation, and the tools that it declares."""

    messages: Messages
    tools: Tools = ()

    def until(self, stop: int) -> "Conversation":
        """Its first messages."""
        return Conversation(self.messages[:stop], self.tools)

    def texts(self) -> Iterator[str]:
        """All that a conversation says, as text."""
        for message in self.messages:
            yield message["content"]
            if len(message) > 2:
                yield message.get("reasoning_content") or ""
                yield json.dumps(message.get("tool_calls", ""), ensure_ascii=False)
        if self.tools:
            yield json.dumps(self.tools, ensure_ascii=False)


class RenderedConversation(NamedTuple):
    """A conversation as text, special tokens of the template included.

    Attributes:
      assistant_spans: the parts, [start, stop) in characters, that the template marks as the
        assistant's, where it marks any.
      template_error: what the template says of tools or calls which it does not take.
    """

    text: str
    assistant_spans: Sequence[tuple[int, int]]
    template_error: str = ""


def render_prompts(
    tokenizer: PreTrainedTokenizerFast, talks: Iterable[Conversation]
) -> list[RenderedConversation]:
    """Conversations up to where the assistant is to answer.

    Those of the same message objects, as the answers to one prompt share, are written
    once.

    Raises:
      ValueError: a template that fails on these messages.
    """
    asked = [
        ((*map(id, messages), id(tools)), Conversation(messages, tools))
        for messages, tools in talks
    ]
    different = dict(asked)
    found = render_conversations(tokenizer, list(different.values()), prompt=True)
    texts = dict(zip(different, found, strict=True))
    return [texts[which] for which, _ in asked]


def end_of_turn(tokenizer: PreTrainedTokenizerFast) -> str:
    """The text of the token that ends the assistant's turns.

    It is the special token that the template writes after an answer, which need not be
    the tokenizer's `eos_token`; that one, where the template writes none.
    """
    probe = [
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": PROBE},
    ]
    ((text, *_),) = render_conversations(tokenizer, [Conversation(probe)], prompt=False)
    after = text.rpartition(PROBE)[2].lstrip()
    added = [token.content for token in tokenizer.added_tokens_decoder.values()]
    ends = [token for token in added if after.startswith(token)]
    return max(ends, key=len, default=str(tokenizer.eos_token))


def render_conversations(
    tokenizer: PreTrainedTokenizerFast, talks: Sequence[Conversation], *, prompt: bool
) -> list[RenderedConversation]:
    """Each conversation as text; with `prompt`, as the assistant is asked by it.

    Raises:
      ValueError: a template that fails on any of them. Where it fails on one with tools
        or calls, this is in its `failed`.
    """
    if tokenizer.chat_template is None:
        return [
            RenderedConversation(join_contents([m["content"] for m in t.messages]), ())
            for t in talks
        ]
    today = tokenizers.tokenization_options(tokenizer).today or datetime.date.today()
    special: Any = tokenizer.special_tokens_map
    found = []
    for messages, tools in talks:
        template = tokenizer.get_chat_template(tools=list(tools) or None)  # type: ignore[arg-type]
        try:
            one = sandbox.render(
                template,
                [template_message(message) for message in messages],
                today=today,
                marks=bool(not prompt and GENERATION_TAG.search(template)),
                tools=list(tools) or None,
                documents=None,
                add_generation_prompt=prompt,
                **special,
            )
            found.append(RenderedConversation(*one))
        except Exception as error:  # jinja raises whatever the template says
            told = f"the chat template failed: {str(error)[:300]}"
            takes = tools or any("tool_calls" in m for m in messages)
            if not takes or isinstance(error, sandbox.BudgetExceeded):
                raise ValueError(told) from error
            found.append(RenderedConversation("", (), told))
    return found


def template_message(message: Message) -> Message:
    """A message as templates know it, which see no `train`.

    gpt-oss reads a thought under another name, and transformers gives it both.
    """
    if message.keys() <= {"role", "content"}:
        return message
    found = {k: v for k, v in message.items() if k != "train"}
    if "reasoning_content" in found:
        found.setdefault("thinking", found["reasoning_content"])
    return found


def join_contents(contents: Sequence[str]) -> str:
    """Contents one after the other; words at a seam are kept apart by a space.

    Answers that were stripped, as sampled ones are, would run into the prompt.

    >>> join_contents(["Once upon a time", "there was"]), join_contents(["2 + 2 =", " 4"])
    ('Once upon a time there was', '2 + 2 = 4')
    >>> join_contents(["Once upon a time", ", long ago"])
    'Once upon a time, long ago'
    """
    text = ""
    for content in contents:
        before, after = text[-1:], content[:1]
        ends = before.isascii() and (before.isalnum() or before in tuple(".,;:!?)\"'"))
        text += " " * (ends and after.isascii() and after.isalnum()) + content
    return text
