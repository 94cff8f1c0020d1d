"""Spans of the assistant's answers in a conversation's text, and which are trained.

Where a template marks the assistant's words with `{% generation %}`, its marks are
used; elsewhere an answer is the text that follows its prompt (prefix difference), and
templates that rewrite the prompt are refused.
"""

from collections.abc import Sequence
from typing import NamedTuple

from jaxalign.data.templates import (
    Conversation,
    RenderedConversation,
    render_conversations,
    render_prompts,
)
from jaxalign.data.tokenizer_type import PreTrainedTokenizerFast

OMITTED_ANSWER = "field 'content': the chat template leaves out what the assistant says"


class AnswerSpan(NamedTuple):
    """An answer in a text: the text before it, and the text up to its end."""

    prompt: str
    through_answer: str


class TrainedAnswers(NamedTuple):
    """The answers of a conversation that ends with the assistant's, as text.

    Attributes:
      last: the last answer.
      earlier: the answers before it that are trained.
      rendered: the whole conversation.
    """

    last: AnswerSpan
    earlier: Sequence[AnswerSpan]
    rendered: RenderedConversation


def find_answer_spans(
    tokenizer: PreTrainedTokenizerFast,
    conversations: Sequence[Conversation],
    trained: Sequence[Sequence[int]],
    *,
    end: str,
) -> list[TrainedAnswers]:
    """Finds each conversation's last answer, and earlier answers that are trained.

    Args:
      trained: indices of each conversation's trained messages, rising.
      end: the text of the end token, see `templates.end_of_turn`.

    Raises:
      ValueError: the last message is not the assistant's, or no mask can be right: the
        template fails, or it changes the prompt or an earlier answer afterwards.
    """
    if not all(
        c.messages and c.messages[-1]["role"] == "assistant" for c in conversations
    ):
        raise ValueError(
            "SFT data must end with a message of the assistant, or no token of "
            "it would be trained on"
        )
    prompts = render_prompts(tokenizer, [c.first(-1) for c in conversations])
    wholes = render_conversations(tokenizer, conversations, prompt=False)
    return [
        trained_answers(tokenizer, conversation, indices, prompt, whole, end)
        for conversation, indices, prompt, whole in zip(
            conversations, trained, prompts, wholes, strict=True
        )
    ]


def trained_answers(
    tokenizer: PreTrainedTokenizerFast,
    conversation: Conversation,
    trained: Sequence[int],
    prompt: RenderedConversation,
    whole: RenderedConversation,
    end: str,
) -> TrainedAnswers:
    """The answers of one conversation, from its rendered prompt and whole text."""
    error = whole.template_error or prompt.template_error
    last_message = len(conversation.messages) - 1
    if not error and not whole.text.startswith(prompt.text):
        if conversation.messages[-1]["content"].strip() in whole.text:
            raise ValueError(prompt_changed_error(prompt.text, whole.text))
        error = OMITTED_ANSWER
    if error:
        failed = whole._replace(template_error=error)
        return TrainedAnswers(AnswerSpan("", ""), (), failed)
    before = [i for i in trained if i < last_message]
    start = len(prompt.text)
    if whole.assistant_spans:
        *parts, last = generation_spans(prompt.text, whole, end)
        earlier = earlier_generation_spans(conversation, before, whole, start, end)
        earlier += parts if last_message in trained else []
    else:
        through = text_through_end(whole.text, start, len(whole.text), end)
        last = AnswerSpan(prompt.text, through)
        earlier = earlier_prefix_spans(tokenizer, conversation, before, whole.text, end)
    return TrainedAnswers(last, earlier, whole)


def generation_spans(
    prompt: str, whole: RenderedConversation, end: str
) -> list[AnswerSpan]:
    """The parts of the last answer, as the template marks them.

    Raises:
      ValueError: the template marks nothing of it.
    """
    text = whole.text
    marks = [(a, b) for a, b in whole.assistant_spans if b > len(prompt)]
    if not marks:
        raise ValueError(
            "the chat template marks nothing of the last answer with {% generation %}: "
            f"{text[len(prompt) :][:60]!r}"
        )
    starts = [max(a, len(prompt)) for a, _ in marks]
    return [
        AnswerSpan(text[:a], text_through_end(text, a, b, end))
        for a, (_, b) in zip(starts, marks, strict=True)
    ]


def earlier_generation_spans(
    conversation: Conversation,
    trained: Sequence[int],
    whole: RenderedConversation,
    last_start: int,
    end: str,
) -> list[AnswerSpan]:
    """The trained answers before the last, as the template marks them.

    Args:
      trained: indices of their messages.
      last_start: where the last answer begins, in characters.

    Raises:
      ValueError: it is not known which marks belong to answers that are not trained.
    """
    if not trained:
        return []
    answers = [
        i for i, m in enumerate(conversation.messages[:-1]) if m["role"] == "assistant"
    ]
    marks = [(a, b) for a, b in whole.assistant_spans if b <= last_start]
    if len(marks) == len(answers):
        marks = [mark for i, mark in zip(answers, marks, strict=True) if i in trained]
    elif len(trained) < len(answers):
        raise ValueError(
            f"the chat template marks {len(marks)} parts of {len(answers)} earlier "
            "answers, so it is not known which are not to be trained"
        )
    text = whole.text
    return [AnswerSpan(text[:a], text_through_end(text, a, b, end)) for a, b in marks]


def earlier_prefix_spans(
    tokenizer: PreTrainedTokenizerFast,
    conversation: Conversation,
    trained: Sequence[int],
    whole: str,
    end: str,
) -> list[AnswerSpan]:
    """The trained answers before the last, by prefix difference.

    A call after the last user message may be rewritten once its result follows (Qwen3
    leaves an empty thought out): it is trained as it stands in the whole text.

    Raises:
      ValueError: the template rewrites a prompt or an answer once others follow.
    """
    if not trained:
        return []
    prompts = render_prompts(tokenizer, [conversation.first(i) for i in trained])
    answered = render_conversations(
        tokenizer, [conversation.first(i + 1) for i in trained], prompt=False
    )
    users = [i for i, m in enumerate(conversation.messages) if m["role"] == "user"]
    spans = []
    for i, (prompt, *_), (text, *_) in zip(trained, prompts, answered, strict=True):
        through = text_through_end(text, len(prompt), len(text), end)
        if not text.startswith(prompt) or not whole.startswith(prompt):
            raise ValueError(prompt_changed_error(prompt, whole))
        if not whole.startswith(through):
            if i < max(users, default=0):
                answer, rewritten = through[len(prompt) :], whole[len(prompt) :]
                raise ValueError(
                    "the chat template rewrites an earlier answer of the assistant "
                    "once others follow (as those do that leave thoughts out), so only "
                    "the last answer can be trained on: "
                    f"{answer[:60]!r} became {rewritten[:60]!r}"
                )
            through = text_through_end(whole, len(prompt), len(whole), end)
        spans.append(AnswerSpan(prompt, through))
    return spans


def text_through_end(text: str, start: int, stop: int, end: str) -> str:
    """The text through the end token of the answer in [start, stop), or after it.

    >>> text_through_end("hi<e> yes<e> no", 5, 9, "<e>")
    'hi<e> yes<e>'
    """
    at = text.find(end, start, stop)
    if at >= 0:
        return text[: at + len(end)]
    return text[: stop + len(end) * text.startswith(end, stop)]


def prompt_changed_error(prompt: str, whole: str) -> str:
    """The error message for a template that rewrites prompts."""
    return (
        "the chat template changes the prompt when an answer follows it, so no mask "
        f"can be right: {prompt[-60:]!r} does not start {whole[-120:]!r}"
    )
