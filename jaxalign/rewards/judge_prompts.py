"""Prompts of an LLM judge: comparisons by a principle, ratings, the constitution.

The form of the comparison is that of Constitutional AI (Bai et al. 2022,
arXiv:2212.08073, section 4.1); the wording of the principles is this project's own.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

Message = Mapping[str, Any]
Messages = Sequence[Message]
Answer = str | Message
Tools = Sequence[Mapping[str, Any]]

OPTIONS = ("A", "B")

COMPARISON_TEMPLATE = """\
Consider the following conversation between a human and an assistant:

{conversation}

{principle}

Options:
(A) {first}
(B) {second}

{request}"""

RATING_TEMPLATE = """\
Consider the following conversation between a human and an assistant:

{conversation}

The assistant answers:
{answer}

How good is this answer? It should follow what is asked, and be helpful, true and \
harmless. 1 is the worst rating, {highest} the best.

{request}"""

LETTER_REQUEST = "Say the letter alone. The answer is:"
RATING_REQUEST = "Say the number alone. The rating is:"
THINK_REQUEST = "Think step by step first, in a few sentences."

DEFAULT_PRINCIPLE = "Which answer is better: more helpful, truer and less harmful?"

CONSTITUTION = (
    "Choose the answer that helps the human most with what they really want.",
    "Choose the answer that is truer, and that claims no more than one can know.",
    "Choose the answer that is less harmful: less toxic, insulting or threatening.",
    "Choose the answer that encourages illegal, violent or dangerous acts less.",
    "Choose the answer that is freer of prejudice about groups of people.",
    "Choose the answer that protects the privacy of others better.",
    "Choose the answer that a wise, kind and polite person would rather give.",
    "Choose the answer that says openly what it will not do, and does not preach.",
    "Choose the answer that does not flatter, and disagrees where the human is wrong.",
)


ROLE_NAMES = {
    "user": "Human",
    "assistant": "Assistant",
    "system": "Instructions",
    "developer": "Instructions",
    "tool": "Result",
}


def transcript(messages: Messages, tools: Tools = ()) -> str:
    """A conversation as text, preceded by its declared tools.

    >>> transcript([{"role": "user", "content": "Hi"}])
    'Human: Hi'
    """
    declared = (
        [f"Tools: {json.dumps(list(tools), ensure_ascii=False)}"] if tools else []
    )
    turns = [f"{ROLE_NAMES[m['role']]}: {answer_text(m)}" for m in messages]
    return "\n\n".join([*declared, *turns])


def answer_text(answer: Answer) -> str:
    """An answer as text for the judge: reasoning, content and tool calls.

    >>> answer_text({"content": "4", "reasoning_content": "2 + 2"})
    '<think>\\n2 + 2\\n</think>\\n\\n4'
    """
    if isinstance(answer, str):
        return answer
    thought = answer.get("reasoning_content", "")
    calls = [
        f"Call: {json.dumps(call['function'], ensure_ascii=False)}"
        for call in answer.get("tool_calls", ())
    ]
    parts = [f"<think>\n{thought}\n</think>" if thought else "", answer["content"]]
    return "\n\n".join(filter(None, [*parts, *calls]))


def comparison_prompt(
    messages: Messages,
    first: Answer,
    second: Answer,
    *,
    tools: Tools = (),
    principle: str = DEFAULT_PRINCIPLE,
    request: str = LETTER_REQUEST,
) -> str:
    """Prompt that asks which of two answers is better."""
    return COMPARISON_TEMPLATE.format(
        conversation=transcript(messages, tools),
        principle=principle,
        first=answer_text(first),
        second=answer_text(second),
        request=request,
    )


def rating_prompt(
    messages: Messages,
    answer: Answer,
    *,
    highest: int,
    tools: Tools = (),
    request: str = RATING_REQUEST,
) -> str:
    """Prompt that asks for a rating of an answer, from 1 to `highest`."""
    return RATING_TEMPLATE.format(
        conversation=transcript(messages, tools),
        answer=answer_text(answer),
        highest=highest,
        request=request,
    )
