"""Conversations as text, by the tokenizer's chat template, and where answers stand.

A template of any kind will do. Where it marks the assistant's words itself, with
`{% generation %}`, it is believed; elsewhere an answer is what the text has more than
the prompt (prefix difference), and a template that defeats this is refused.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
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


class Whole(NamedTuple):
    """A conversation as text, special tokens of the template included.

    Attributes:
      marked: the parts, [start, stop) in characters, that the template marks as the
        assistant's, where it marks any.
    """

    text: str
    marked: Sequence[tuple[int, int]]


def prompt_texts(
    tokenizer: PreTrainedTokenizerFast, conversations: Iterable[Messages]
) -> list[str]:
    """Conversations up to where the assistant is to answer.

    Those of the same message objects, as the answers to one prompt share, are written
    once.

    Raises:
      ValueError: a template that fails on these messages.
    """
    asked = [(tuple(map(id, messages)), messages) for messages in conversations]
    different = dict(asked)
    found = rendered(tokenizer, list(different.values()), prompt=True)
    texts = {which: one.text for which, one in zip(different, found, strict=True)}
    return [texts[which] for which, _ in asked]


def turns(
    tokenizer: PreTrainedTokenizerFast,
    conversations: Sequence[Messages],
    *,
    end: str,
    all_turns: bool = False,
) -> list[list[Turn]]:
    """The assistant's last answer in each conversation, or all of its answers.

    Args:
      end: the text of the end token, see `end_of_turn`.

    Raises:
      ValueError: the last message is not the assistant's, or the template defeats the
        mask: it fails, or it changes the prompt or an earlier answer afterwards.
    """
    if not all(talk and talk[-1]["role"] == "assistant" for talk in conversations):
        raise ValueError(
            "a demonstration must end with a message of the assistant, or no token of "
            "it would be trained on"
        )
    prompts = prompt_texts(tokenizer, [messages[:-1] for messages in conversations])
    wholes = rendered(tokenizer, conversations, prompt=False)
    found = []
    for messages, asked, whole in zip(conversations, prompts, wholes, strict=True):
        if not whole.text.startswith(asked):
            raise ValueError(changed(asked, whole.text))
        if whole.marked:
            found.append(marked(asked, whole, end, all_turns))
            continue
        before = earlier(tokenizer, messages, whole.text, end) if all_turns else []
        until = upto(whole.text, len(asked), len(whole.text), end)
        found.append([*before, Turn(asked, until)])
    return found


def marked(asked: str, whole: Whole, end: str, all_turns: bool) -> list[Turn]:
    """The answers that the template marks itself."""
    text = whole.text
    found = [(a, b) for a, b in whole.marked if all_turns or b > len(asked)]
    if not any(b > len(asked) for _, b in found):
        raise ValueError(
            "the chat template marks nothing of the last answer with {% generation %}: "
            f"{text[len(asked) :][:60]!r}"
        )
    starts = [max(a, len(asked)) if b > len(asked) else a for a, b in found]
    return [
        Turn(text[:a], upto(text, a, b, end))
        for a, (_, b) in zip(starts, found, strict=True)
    ]


def earlier(
    tokenizer: PreTrainedTokenizerFast, messages: Messages, whole: str, end: str
) -> list[Turn]:
    """The answers before the last, by prefix difference."""
    places = [i for i, m in enumerate(messages[:-1]) if m["role"] == "assistant"]
    prompts = prompt_texts(tokenizer, [messages[:i] for i in places])
    answered = [messages[: i + 1] for i in places]
    found = []
    for asked, (text, _) in zip(
        prompts, rendered(tokenizer, answered, prompt=False), strict=True
    ):
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
    ((text, _),) = rendered(tokenizer, [probe], prompt=False)
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
    tokenizer: PreTrainedTokenizerFast,
    conversations: Sequence[Messages],
    *,
    prompt: bool,
) -> list[Whole]:
    """Each conversation as text; with `prompt`, as the assistant is asked by it.

    Raises:
      ValueError: a template that fails on any of them.
    """
    if tokenizer.chat_template is None:
        return [Whole(joined([m["content"] for m in c]), ()) for c in conversations]
    try:
        template = tokenizer.get_chat_template()
        found: Any = render_jinja_template(
            [[dict(message) for message in messages] for messages in conversations],
            chat_template=template,
            add_generation_prompt=prompt,
            return_assistant_tokens_mask=bool(not prompt and MARKS.search(template)),
            **cast(Any, tokenizer.special_tokens_map),
        )
    except Exception as error:  # jinja raises whatever the template says
        raise ValueError(f"the chat template failed: {error}") from error
    texts, parts = found
    parts = parts or [()] * len(texts)  # told where they were asked for
    return [Whole(*one) for one in zip(texts, parts, strict=True)]


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
