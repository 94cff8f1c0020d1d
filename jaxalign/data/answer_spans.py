"""Where the assistant's answers stand in a conversation's text, and which are trained.

Where a template marks the assistant's words itself, with `{% generation %}`, it is
believed; elsewhere an answer is what the text has more than the prompt (prefix
difference), and a template that defeats this is refused.
"""

from collections.abc import Sequence
from typing import NamedTuple

from transformers import PreTrainedTokenizerFast

from jaxalign.data.templates import (
    Conversation,
    RenderedConversation,
    render_conversations,
    render_prompts,
)

OMITTED_ANSWER = "field 'content': the chat template leaves out what the assistant says"


class AnswerSpan(NamedTuple):
    """An answer: the text up to where it begins, and the same text up to its end."""

    prompt: str
    until: str


class TrainedAnswers(NamedTuple):
    """A conversation that ends with the assistant's answer, as text.

    Attributes:
      last: the last answer.
      earlier: the answers before it that are trained.
      whole: all of it.
    """

    last: AnswerSpan
    earlier: Sequence[AnswerSpan]
    whole: RenderedConversation


def find_answer_spans(
    tokenizer: PreTrainedTokenizerFast,
    talks: Sequence[Conversation],
    trained: Sequence[Sequence[int]],
    *,
    end: str,
) -> list[TrainedAnswers]:
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
    prompts = render_prompts(tokenizer, [talk.until(-1) for talk in talks])
    wholes = render_conversations(tokenizer, talks, prompt=False)
    found = []
    for talk, counts, asked, whole in zip(talks, trained, prompts, wholes, strict=True):
        if whole.template_error or asked.template_error:
            failed = whole._replace(
                template_error=whole.template_error or asked.template_error
            )
            found.append(TrainedAnswers(AnswerSpan("", ""), (), failed))
            continue
        if not whole.text.startswith(asked.text):
            if talk.messages[-1]["content"].strip() not in whole.text:
                silent = whole._replace(template_error=OMITTED_ANSWER)
                found.append(TrainedAnswers(AnswerSpan("", ""), (), silent))
                continue
            raise ValueError(prompt_changed_error(asked.text, whole.text))
        before = [i for i in counts if i < len(talk.messages) - 1]
        start = len(asked.text)
        if whole.assistant_spans:
            *parts, last = generation_spans(asked.text, whole, end)
            others = earlier_generation_spans(talk, before, whole, start, end)
            others += parts if len(talk.messages) - 1 in counts else []
        else:
            until = text_through_end(whole.text, start, len(whole.text), end)
            last = AnswerSpan(asked.text, until)
            others = earlier_prefix_spans(tokenizer, talk, before, whole.text, end)
        found.append(TrainedAnswers(last, others, whole))
    return found


def generation_spans(
    asked: str, whole: RenderedConversation, end: str
) -> list[AnswerSpan]:
    """The last answer, as the template marks it itself; in parts, where it does."""
    text = whole.text
    found = [(a, b) for a, b in whole.assistant_spans if b > len(asked)]
    if not found:
        raise ValueError(
            "the chat template marks nothing of the last answer with {% generation %}: "
            f"{text[len(asked) :][:60]!r}"
        )
    starts = [max(a, len(asked)) for a, _ in found]
    return [
        AnswerSpan(text[:a], text_through_end(text, a, b, end))
        for a, (_, b) in zip(starts, found, strict=True)
    ]


def earlier_generation_spans(
    talk: Conversation,
    places: Sequence[int],
    whole: RenderedConversation,
    asked: int,
    end: str,
) -> list[AnswerSpan]:
    """The answers before the last that are trained, as the template marks them."""
    if not places:
        return []
    said = [i for i, m in enumerate(talk.messages[:-1]) if m["role"] == "assistant"]
    marks = [(a, b) for a, b in whole.assistant_spans if b <= asked]
    if len(marks) == len(said):
        marks = [mark for i, mark in zip(said, marks, strict=True) if i in places]
    elif len(places) < len(said):
        raise ValueError(
            f"the chat template marks {len(marks)} parts of {len(said)} earlier "
            "answers, so it is not known which are not to be trained"
        )
    return [
        AnswerSpan(whole.text[:a], text_through_end(whole.text, a, b, end))
        for a, b in marks
    ]


def earlier_prefix_spans(
    tokenizer: PreTrainedTokenizerFast,
    talk: Conversation,
    places: Sequence[int],
    whole: str,
    end: str,
) -> list[AnswerSpan]:
    """The answers before the last that are trained, by prefix difference.

    A call after the last user message may be written anew once its result follows, as
    Qwen3 does that then leaves an empty thought out: it is trained as it stands there.
    """
    if not places:
        return []
    prompts = render_prompts(tokenizer, [talk.until(i) for i in places])
    answered = render_conversations(
        tokenizer, [talk.until(i + 1) for i in places], prompt=False
    )
    asks = [i for i, m in enumerate(talk.messages) if m["role"] == "user"]
    found = []
    for i, (asked, *_), (text, *_) in zip(places, prompts, answered, strict=True):
        until = text_through_end(text, len(asked), len(text), end)
        if not text.startswith(asked) or not whole.startswith(asked):
            raise ValueError(prompt_changed_error(asked, whole))
        if not whole.startswith(until):
            if i < max(asks, default=0):
                raise ValueError(
                    "the chat template writes an earlier answer of the assistant anew "
                    "once others follow (as those do that leave thoughts out), so only "
                    "the last answer can be trained on: "
                    f"{until[len(asked) :][:60]!r} became {whole[len(asked) :][:60]!r}"
                )
            until = text_through_end(whole, len(asked), len(whole), end)
        found.append(AnswerSpan(asked, until))
    return found


def text_through_end(text: str, start: int, stop: int, end: str) -> str:
    """The text up to the end token of the answer in [start, stop), which may follow."""
    at = text.find(end, start, stop)
    if at >= 0:
        return text[: at + len(end)]
    return text[: stop + len(end) * text.startswith(end, stop)]


def prompt_changed_error(prompt: str, whole: str) -> str:
    """What is wrong with a template that rewrites prompts."""
    return (
        "the chat template changes the prompt when an answer follows it, so no mask "
        f"can be right: {prompt[-60:]!r} does not start {whole[-120:]!r}"
    )
