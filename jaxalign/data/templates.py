"""Conversations as text, by the tokenizer's chat template, and where answers stand.

A template of any kind will do. Where it marks the assistant's words itself, with
`{% generation %}`, it is believed; elsewhere an answer is what the text has more than
the prompt (prefix difference), and a template that defeats this is refused.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

from transformers import PreTrainedTokenizerFast
from transformers.utils.chat_template_utils import render_jinja_template

Message = Mapping[str, str]
Messages = Sequence[Message]

MARKS = re.compile(r"\{%-?\s*generation\s*-?%\}")
PROBE = "zyxwvuts"  # an answer that no template holds


class Turn(NamedTuple):
    """An answer: the text up to where it begins, and the same text up to its end."""

    prompt: str
    until: str


def prompt_text(tokenizer: PreTrainedTokenizerFast, messages: Messages) -> str:
    """A conversation up to where the assistant is to answer.

    Raises:
      ValueError: a template that fails on these messages.
    """
    return rendered(tokenizer, messages, prompt=True)[0]


class Prompts:
    """Prompts as text; one with several answers, one after the other, is written once.

    Answers to a prompt share its message objects, by which it is known again.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer = tokenizer
        self.last: tuple[list[Message], str] = ([], "")

    def text(self, messages: Messages) -> str:
        """`prompt_text` of these messages."""
        known, text = self.last
        same = len(known) == len(messages) > 0
        if not same or any(a is not b for a, b in zip(known, messages, strict=True)):
            text = prompt_text(self.tokenizer, messages)
            self.last = (list(messages), text)
        return text


def turns(
    prompts: Prompts,
    messages: Messages,
    *,
    end: str,
    all_turns: bool = False,
) -> list[Turn]:
    """The assistant's last answer, or all of its answers, each with its end token.

    Args:
      end: the text of the end token, see `end_of_turn`.

    Raises:
      ValueError: the last message is not the assistant's, or the template defeats the
        mask: it fails, or it changes the prompt or an earlier answer afterwards.
    """
    if not messages or messages[-1]["role"] != "assistant":
        raise ValueError(
            "a demonstration must end with a message of the assistant, or no token of "
            "it would be trained on"
        )
    tokenizer = prompts.tokenizer
    asked = prompts.text(messages[:-1])
    whole, marked = rendered(tokenizer, messages, prompt=False)
    if not whole.startswith(asked):
        raise ValueError(changed(asked, whole))
    last = Turn(asked, upto(whole, len(asked), len(whole), end))
    if not (all_turns or marked):
        return [last]
    if not marked:
        return [*earlier(tokenizer, messages, whole, end), last]
    found = [(a, b) for a, b in marked if all_turns or b > len(asked)]
    if not any(b > len(asked) for _, b in found):
        raise ValueError(
            "the chat template marks nothing of the last answer with {% generation %}: "
            f"{whole[len(asked) :][:60]!r}"
        )
    starts = [max(a, len(asked)) if b > len(asked) else a for a, b in found]
    return [
        Turn(whole[:a], upto(whole, a, b, end))
        for a, (_, b) in zip(starts, found, strict=True)
    ]


def earlier(
    tokenizer: PreTrainedTokenizerFast, messages: Messages, whole: str, end: str
) -> list[Turn]:
    """The answers before the last, by prefix difference."""
    found = []
    for i, message in enumerate(messages[:-1]):
        if message["role"] != "assistant":
            continue
        asked = prompt_text(tokenizer, messages[:i])
        text, _ = rendered(tokenizer, messages[: i + 1], prompt=False)
        until = upto(text, len(asked), len(text), end)
        if not text.startswith(asked) or not whole.startswith(asked):
            raise ValueError(changed(asked, whole))
        if not whole.startswith(until):
            raise ValueError(
                "the chat template writes an earlier answer of the assistant anew once "
                "others follow (as those do that leave thoughts out), so only the last "
                f"answer can be trained on: {until[len(asked) :][:60]!r} became "
                f"{whole[len(asked) :][:60]!r}"
            )
        found.append(Turn(asked, until))
    return found


def upto(text: str, start: int, stop: int, end: str) -> str:
    """The text up to the end token of the answer in [start, stop), which may follow."""
    at = text.find(end, start, stop)
    if at >= 0:
        return text[: at + len(end)]
    return text[: stop + len(end) * text.startswith(end, stop)]


def end_of_turn(tokenizer: PreTrainedTokenizerFast) -> str:
    """The text of the token that ends the assistant's turns.

    It is the special token that the template writes after an answer, which need not be
    the tokenizer's `eos_token`; that one, where the template writes none.
    """
    probe = [
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": PROBE},
    ]
    text, _ = rendered(tokenizer, probe, prompt=False)
    after = text.rpartition(PROBE)[2].lstrip()
    added = [token.content for token in tokenizer.added_tokens_decoder.values()]
    ends = [token for token in added if after.startswith(token)]
    return max(ends, key=len, default=str(tokenizer.eos_token))


def changed(prompt: str, whole: str) -> str:
    """What is wrong with a template that rewrites prompts."""
    return (
        "the chat template changes the prompt when an answer follows it, so no mask "
        f"can be right: {prompt[-60:]!r} does not start {whole[-120:]!r}"
    )


def rendered(
    tokenizer: PreTrainedTokenizerFast, messages: Messages, *, prompt: bool
) -> tuple[str, list[tuple[int, int]]]:
    """The conversation as text, special tokens of the template included.

    And the parts of it, [start, stop) in characters, that the template marks as the
    assistant's, where it marks any.
    """
    if tokenizer.chat_template is None:
        return joined([message["content"] for message in messages]), []
    try:
        template = tokenizer.get_chat_template()
        found: Any = render_jinja_template(
            [[dict(message) for message in messages]],
            chat_template=template,
            add_generation_prompt=prompt,
            return_assistant_tokens_mask=bool(not prompt and MARKS.search(template)),
            **cast(Any, tokenizer.special_tokens_map),
        )
    except Exception as error:  # jinja raises whatever the template says
        raise ValueError(f"the chat template failed: {error}") from error
    texts, marked = found
    return texts[0], list(marked[0]) if marked else []


def joined(contents: Sequence[str]) -> str:
    """Contents one after the other; words at a seam are kept apart by a space.

    Answers that were stripped, as sampled ones are, would run into the prompt.

    >>> joined(["Once upon a time", "there was"]), joined(["2 + 2 =", " 4"])
    ('Once upon a time there was', '2 + 2 = 4')
    >>> joined(["Once upon a time", ", long ago"])
    'Once upon a time, long ago'
    """
    text = ""
    for content in contents:
        before, after = text[-1:], content[:1]
        ends = before.isascii() and (before.isalnum() or before in tuple(".,;:!?)\"'"))
        text += " " * (ends and after.isascii() and after.isalnum()) + content
    return text
