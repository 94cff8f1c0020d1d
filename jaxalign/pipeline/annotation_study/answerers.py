"""Models that answer in an arena, in streams of text."""

from collections.abc import Iterator
from typing import Any

from jaxalign.data import special_tokens
from jaxalign.data.text_stream import Retraction
from jaxalign.feedback.arena import Answerer
from jaxalign.pipeline.evaluation import models as evaluation_models
from jaxalign.pipeline.evaluation.chat_session import (
    ChatSession,
    ChatSettings,
    visible_text,
)
from jaxalign.pipeline.policies import Policy


def make_answerer(policy: Policy, settings: ChatSettings, system: str = "") -> Answerer:
    """A function from a conversation to the pieces of the model's answer.

    One answer is made at a time. Of a model that may take back what it said, the answer
    comes in one piece.

    Args:
      system: a system prompt before all conversations.
    """
    session = ChatSession(policy, settings, system)
    may_retract = special_tokens.reset_id(policy.tokenizer) is not None

    def answer(conversation: list[dict[str, Any]]) -> Iterator[str]:
        session.reset()
        session.messages = [*session.messages, *conversation[:-1]]
        pieces = session.send(conversation[-1]["content"])
        if may_retract:
            yield visible_text(pieces)
            return
        for piece in pieces:
            if not isinstance(piece, Retraction):
                yield piece

    return answer


def load_answerers(
    evaluation: evaluation_models.EvaluationConfig,
    models: str,
    settings: ChatSettings,
    system: str = "",
) -> dict[str, Answerer]:
    """The models of an arena by name.

    Args:
      models: folders or ORG/NAMEs, or NAME=FOLDER, with commas between them.
      system: a system prompt before all conversations.

    Raises:
      ValueError, OSError: a name comes twice, or a folder is no model.
    """
    named = [evaluation_models.split_name(text) for text in models.split(",")]
    if len({name for name, _ in named}) < len(named) or not all(n for n, _ in named):
        raise ValueError(
            f"--models {models}: expected folders of different names, with commas "
            "between them"
        )
    return {
        name: make_answerer(
            evaluation_models.load_policy(evaluation, path, None), settings, system
        )
        for name, path in named
    }
