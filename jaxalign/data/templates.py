"""Conversations as text, by the tokenizer's chat template, and where answers stand.

A template of any kind will do. Where it marks the assistant's words itself, with
`{% generation %}`, it is believed; elsewhere an answer is what the text has more than
the prompt (prefix difference), and a template that defeats this is refused.
"""

import datetime
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from transformers import PreTrainedTokenizerFast

from jaxalign.data import sandbox
from jaxalign.data import tokenizer as tokenizers
from jaxalign.data.records import Tools

Message = Mapping[str, Any]
Messages = Sequence[Message]

MARKS = re.compile(r"\{%-?\s*generation\s*-?%\}")
SILENT = "field 'content': the chat template leaves out what the assistant says"
PROBE = "zyxwvuts"  # an answer that no template holds


class Talk(NamedTuple):
    """A conversation, and the tools that it declares."""

    messages: Messages
    tools: Tools = ()

    def until(self, stop: int) -> "Talk":
        """Its first messages."""
        return Talk(self.messages[:stop], self.tools)


class Turn(NamedTuple):
    """An answer: the text up to where it begins, and the same text up to its end."""

    prompt: str
    until: str


class Whole(NamedTuple):
    """A conversation as text, special tokens of the template included.

    Attributes:
      marked: the parts, [start, stop) in characters, that the template marks as the
        assistant's, where it marks any.
      failed: what the template says of tools or calls which it does not take.
    """

    text: str
    marked: Sequence[tuple[int, int]]
    failed: str = ""


class Told(NamedTuple):
    """A conversation that ends with the assistant's answer, as text.

    Attributes:
      last: the last answer.
      earlier: the answers before it that are trained.
      whole: all of it.
    """

    last: Turn
    earlier: Sequence[Turn]
    whole: Whole


def prompt_texts(
    tokenizer: PreTrainedTokenizerFast, talks: Iterable[Talk]
) -> list[Whole]:
    """Conversations up to where the assistant is to answer.

    Those of the same message objects, as the answers to one prompt share, are written
    once.

    Raises:
      ValueError: a template that fails on these messages.
    """
    asked = [
        ((*map(id, messages), id(tools)), Talk(messages, tools))
        for messages, tools in talks
    ]
    different = dict(asked)
    found = rendered(tokenizer, list(different.values()), prompt=True)
    texts = dict(zip(different, found, strict=True))
    return [texts[which] for which, _ in asked]


def turns(
    tokenizer: PreTrainedTokenizerFast,
    talks: Sequence[Talk],
    trained: Sequence[Sequence[int]],
    *,
    end: str,
) -> list[Told]:
    """The assistant's last answer in each conversation, and others that are trained.

    Args:
      trained: the messages of each conversation that are trained, rising.
      end: the text of the end token, see `end_of_turn`.

    Raises:
      ValueError: the last message is not the assistant's, or the template defeats the
        mask: it fails, or it changes the prompt or an earlier answer afterwards.
    """
    if not all(t.messages and t.messages[-1]["role"] == "assistant" for t in talks):
        raise ValueError(
            "a demonstration must end with a message of the assistant, or no token of "
            "it would be trained on"
        )
    prompts = prompt_texts(tokenizer, [talk.until(-1) for talk in talks])
    wholes = rendered(tokenizer, talks, prompt=False)
    found = []
    for talk, counts, asked, whole in zip(talks, trained, prompts, wholes, strict=True):
        if whole.failed or asked.failed:
            failed = whole._replace(failed=whole.failed or asked.failed)
            found.append(Told(Turn("", ""), (), failed))
            continue
        if not whole.text.startswith(asked.text):
            if talk.messages[-1]["content"].strip() not in whole.text:
                silent = whole._replace(failed=SILENT)
                found.append(Told(Turn("", ""), (), silent))
                continue
            raise ValueError(changed(asked.text, whole.text))
        before = [i for i in counts if i < len(talk.messages) - 1]
        start = len(asked.text)
        if whole.marked:
            *parts, last = marked(asked.text, whole, end)
            others = marked_earlier(talk, before, whole, start, end)
            others += parts if len(talk.messages) - 1 in counts else []
        else:
            until = upto(whole.text, start, len(whole.text), end)
            last = Turn(asked.text, until)
            others = earlier(tokenizer, talk, before, whole.text, end)
        found.append(Told(last, others, whole))
    return found


def marked(asked: str, whole: Whole, end: str) -> list[Turn]:
    """The last answer, as the template marks it itself; in parts, where it does."""
    text = whole.text
    found = [(a, b) for a, b in whole.marked if b > len(asked)]
    if not found:
        raise ValueError(
            "the chat template marks nothing of the last answer with {% generation %}: "
            f"{text[len(asked) :][:60]!r}"
        )
    starts = [max(a, len(asked)) for a, _ in found]
    return [
        Turn(text[:a], upto(text, a, b, end))
        for a, (_, b) in zip(starts, found, strict=True)
    ]


def marked_earlier(
    talk: Talk, places: Sequence[int], whole: Whole, asked: int, end: str
) -> list[Turn]:
    """The answers before the last that are trained, as the template marks them."""
    if not places:
        return []
    said = [i for i, m in enumerate(talk.messages[:-1]) if m["role"] == "assistant"]
    marks = [(a, b) for a, b in whole.marked if b <= asked]
    if len(marks) == len(said):
        marks = [mark for i, mark in zip(said, marks, strict=True) if i in places]
    elif len(places) < len(said):
        raise ValueError(
            f"the chat template marks {len(marks)} parts of {len(said)} earlier "
            "answers, so it is not known which are not to be trained"
        )
    return [Turn(whole.text[:a], upto(whole.text, a, b, end)) for a, b in marks]


def earlier(
    tokenizer: PreTrainedTokenizerFast,
    talk: Talk,
    places: Sequence[int],
    whole: str,
    end: str,
) -> list[Turn]:
    """The answers before the last that are trained, by prefix difference.

    A call after the last user message may be written anew once its result follows, as
    Qwen3 does that then leaves an empty thought out: it is trained as it stands there.
    """
    if not places:
        return []
    prompts = prompt_texts(tokenizer, [talk.until(i) for i in places])
    answered = rendered(tokenizer, [talk.until(i + 1) for i in places], prompt=False)
    asks = [i for i, m in enumerate(talk.messages) if m["role"] == "user"]
    found = []
    for i, (asked, *_), (text, *_) in zip(places, prompts, answered, strict=True):
        until = upto(text, len(asked), len(text), end)
        if not text.startswith(asked) or not whole.startswith(asked):
            raise ValueError(changed(asked, whole))
        if not whole.startswith(until):
            if i < max(asks, default=0):
                raise ValueError(
                    "the chat template writes an earlier answer of the assistant anew "
                    "once others follow (as those do that leave thoughts out), so only "
                    "the last answer can be trained on: "
                    f"{until[len(asked) :][:60]!r} became {whole[len(asked) :][:60]!r}"
                )
            until = upto(whole, len(asked), len(whole), end)
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
    ((text, *_),) = rendered(tokenizer, [Talk(probe)], prompt=False)
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
    tokenizer: PreTrainedTokenizerFast, talks: Sequence[Talk], *, prompt: bool
) -> list[Whole]:
    """Each conversation as text; with `prompt`, as the assistant is asked by it.

    Raises:
      ValueError: a template that fails on any of them. Where it fails on one with tools
        or calls, this is in its `failed`.
    """
    if tokenizer.chat_template is None:
        return [Whole(joined([m["content"] for m in t.messages]), ()) for t in talks]
    today = tokenizers.manner(tokenizer).today or datetime.date.today()
    special: Any = tokenizer.special_tokens_map
    found = []
    for messages, tools in talks:
        template = tokenizer.get_chat_template(tools=list(tools) or None)  # type: ignore[arg-type]
        try:
            one = sandbox.render(
                template,
                [written(message) for message in messages],
                today=today,
                marks=bool(not prompt and MARKS.search(template)),
                tools=list(tools) or None,
                documents=None,
                add_generation_prompt=prompt,
                **special,
            )
            found.append(Whole(*one))
        except Exception as error:  # jinja raises whatever the template says
            told = f"the chat template failed: {str(error)[:300]}"
            takes = tools or any("tool_calls" in m for m in messages)
            if not takes or isinstance(error, sandbox.TooMuch):
                raise ValueError(told) from error
            found.append(Whole("", (), told))
    return found


def written(message: Message) -> Message:
    """A message as templates know it, which see no `train`.

    gpt-oss reads a thought under another name, and transformers gives it both.
    """
    if message.keys() <= {"role", "content"}:
        return message
    found = {k: v for k, v in message.items() if k != "train"}
    if "reasoning_content" in found:
        found.setdefault("thinking", found["reasoning_content"])
    return found


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
