"""Conversations -> text, by the tokenizer's chat template or, without one, joined."""

import datetime
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from jaxalign import lazy
from jaxalign.data import tokenizer as tokenizers
from jaxalign.data.records import Tools
from jaxalign.data.tokenizer_type import PreTrainedTokenizerFast

if TYPE_CHECKING:
    from jaxalign.data import sandbox
else:
    sandbox = lazy.module("jaxalign.data.sandbox")  # and Jinja

Message = Mapping[str, Any]
Messages = Sequence[Message]

GENERATION_TAG = re.compile(r"\{%-?\s*generation\s*-?%\}")
PROBE = "zyxwvuts"  # an answer that no template holds


class Conversation(NamedTuple):
    """Messages, and the tools that the conversation declares."""

    messages: Messages
    tools: Tools = ()

    def first(self, stop: int) -> "Conversation":
        """The conversation of the first messages, `messages[:stop]`."""
        return Conversation(self.messages[:stop], self.tools)

    def texts(self) -> Iterator[str]:
        """All texts of the messages and tools."""
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
      assistant_spans: the parts, [start, stop) in characters, that the template marks
        as the assistant's with `{% generation %}`; empty where it marks none.
      template_error: the template's message where it refuses tools or calls; else "".
    """

    text: str
    assistant_spans: Sequence[tuple[int, int]]
    template_error: str = ""


def render_prompts(
    tokenizer: PreTrainedTokenizerFast, conversations: Iterable[Conversation]
) -> list[RenderedConversation]:
    """Renders conversations up to where the assistant is to answer.

    Conversations of the same message objects, as the answers to one prompt share, are
    rendered once.

    Raises:
      ValueError: a template that fails on these messages.
    """
    keyed = [
        ((*map(id, messages), id(tools)), Conversation(messages, tools))
        for messages, tools in conversations
    ]
    distinct = dict(keyed)
    texts = render_conversations(tokenizer, list(distinct.values()), prompt=True)
    by_key = dict(zip(distinct, texts, strict=True))
    return [by_key[key] for key, _ in keyed]


def end_of_turn(tokenizer: PreTrainedTokenizerFast) -> str:
    """The text of the token that ends the assistant's turns.

    It is the special token that the template writes after an answer, which need not be
    the tokenizer's `eos_token`; that one, where the template writes none.
    """
    probe = [
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": PROBE},
    ]
    (whole,) = render_conversations(tokenizer, [Conversation(probe)], prompt=False)
    after = whole.text.rpartition(PROBE)[2].lstrip()
    added = [token.content for token in tokenizer.added_tokens_decoder.values()]
    ends = [token for token in added if after.startswith(token)]
    return max(ends, key=len, default=str(tokenizer.eos_token))


def render_conversations(
    tokenizer: PreTrainedTokenizerFast,
    conversations: Sequence[Conversation],
    *,
    prompt: bool,
) -> list[RenderedConversation]:
    """Renders each conversation.

    Args:
      prompt: end with the header of the assistant's next turn.

    Raises:
      ValueError: a template that fails on any of them. A failure on a conversation with
        tools or calls is its `template_error` instead.
    """
    if tokenizer.chat_template is None:
        return [
            RenderedConversation(join_contents([m["content"] for m in c.messages]), ())
            for c in conversations
        ]
    today = tokenizers.tokenization_options(tokenizer).today or datetime.date.today()
    special: Any = tokenizer.special_tokens_map
    rendered = []
    for messages, tools in conversations:
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
            rendered.append(RenderedConversation(*one))
        except Exception as error:  # jinja raises whatever the template says
            failure = f"the chat template failed: {str(error)[:300]}"
            has_tools = tools or any("tool_calls" in m for m in messages)
            if not has_tools or isinstance(error, sandbox.BudgetExceeded):
                raise ValueError(failure) from error
            rendered.append(RenderedConversation("", (), failure))
    return rendered


def template_message(message: Message) -> Message:
    """A message as templates receive it, without `train`.

    gpt-oss reads a thought as `thinking`; as in transformers, it has both names.
    """
    if message.keys() <= {"role", "content"}:
        return message
    fields = {k: v for k, v in message.items() if k != "train"}
    if "reasoning_content" in fields:
        fields.setdefault("thinking", fields["reasoning_content"])
    return fields


def join_contents(contents: Sequence[str]) -> str:
    """Concatenates contents, with a space between two words that would touch.

    Answers that were stripped, as sampled ones are, would run into the prompt.

    >>> join_contents(["Once upon a time", "there was"])
    'Once upon a time there was'
    >>> join_contents(["2 + 2 =", " 4"]), join_contents(["Once", ", long ago"])
    ('2 + 2 = 4', 'Once, long ago')
    """
    text = ""
    for content in contents:
        before, after = text[-1:], content[:1]
        ends = before.isascii() and (before.isalnum() or before in tuple(".,;:!?)\"'"))
        text += " " * (ends and after.isascii() and after.isalnum()) + content
    return text
