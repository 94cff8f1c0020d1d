"""Answers to conversations of any length: of a judge, or of several turns.

Prompts of data sets that are too long are left out before anything is sampled; here the
conversation holds answers that were sampled, so that each keeps its place.
"""

import collections
from collections.abc import Callable, Sequence

from jaxalign.data import chat
from jaxalign.data.records import Messages, Prompt
from jaxalign.pipeline import policies, rollouts
from jaxalign.pipeline.evaluation.models import EvaluationConfig, run_config
from jaxalign.pipeline.policies import Policy
from jaxalign.pipeline.prompts import TokenizedPrompts
from jaxalign.types import Key


def answer_conversations(
    policy: Policy,
    conversations: Sequence[Messages],
    key: Key,
    *,
    max_new_tokens: int,
    temperature: float = 0.0,
    rows: int = 64,
    note: Callable[[str], None] | None = None,
    name: str = "conversations",
) -> list[str | None]:
    """One sampled answer to each conversation; None where there is no room for one.

    Where the chat template has no system role, the system message is put before the
    first user message, as FastChat does for such models.

    Args:
      conversations: messages, of which the last is the user's [C].
      key: of the sampling; an answer depends on it and on its conversation alone.
      max_new_tokens: the longest answer, in tokens.
      temperature: at least 0; 0 is greedy.
      rows: answers that are sampled at one time.
      note: shows a line about conversations that get no answer.
      name: of the conversations, in that line.

    Raises:
      ValueError: a template fails.
    """
    if not conversations:
        return []
    room = policy.context - max_new_tokens
    prompts, encoded = encode_conversations(policy, conversations)
    reasons = [
        one.drop_reason or (f"longer than {room} tokens" * (len(one.tokens) > room))
        for one in encoded
    ]
    counts = collections.Counter(filter(None, reasons))
    if counts and note is not None:
        rest = ", ".join(f"{count} {reason}" for reason, count in counts.most_common())
        note(f"{name}: no answer to {counts.total()} of {len(encoded)} ({rest})")
    chosen = [i for i, reason in enumerate(reasons) if not reason]
    answers: list[str | None] = [None] * len(encoded)
    if chosen:
        sampled = rollouts.sample_answers(
            policy,
            TokenizedPrompts(
                [prompts[i] for i in chosen], [encoded[i].tokens for i in chosen]
            ),
            key,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            rows=rows,
        )
        for i, text in zip(chosen, sampled.texts, strict=True):
            answers[i] = text
    return answers


def check_model_folder(config: EvaluationConfig, folder: str, flag: str) -> None:
    """Opens a model's folder, and reads no weights, before anything is computed.

    Args:
      flag: that names the folder, for the message.

    Raises:
      ValueError, OSError: the folder does not hold a language model.
    """
    try:
        policies.open_model_folder(run_config(config, model=folder))
    except FileNotFoundError as error:
        message = str(error).replace("--model", flag, 1)
        raise FileNotFoundError(message) from error


def check_room(policy: Policy, max_new_tokens: int, flag: str) -> None:
    """Refuses answers as long as the whole context, before anything is sampled.

    Raises:
      ValueError: names the flag.
    """
    if max_new_tokens >= policy.context:
        raise ValueError(
            f"{flag} {max_new_tokens} leaves no room for a prompt in a context of "
            f"{policy.context} tokens: lower it"
        )


def encode_conversations(
    policy: Policy, conversations: Sequence[Messages]
) -> tuple[list[Prompt], list[chat.EncodedConversation]]:
    """Conversations as prompts and as tokens, with the system message where it fits."""
    tries = (list(map(list, conversations)), list(map(merge_system, conversations)))
    encode = lambda some: chat.try_encode_prompts(
        policy.tokenizer, [chat.Conversation(messages) for messages in some]
    )
    prompts, encoded = list(map(Prompt, tries[0])), encode(tries[0])
    dropped = [i for i, one in enumerate(encoded) if one.drop_reason]
    merged = [i for i in dropped if tries[0][i] != tries[1][i]]
    for i, one in zip(merged, encode([tries[1][i] for i in merged]), strict=True):
        prompts[i], encoded[i] = Prompt(tries[1][i]), one
    return prompts, encoded


def merge_system(messages: Messages) -> Messages:
    """A conversation whose system message stands before the first user message.

    >>> system = {"role": "system", "content": "Be brief."}
    >>> merge_system([system, {"role": "user", "content": "Hi"}])
    [{'role': 'user', 'content': 'Be brief.\\n\\nHi'}]
    """
    if len(messages) < 2 or messages[0]["role"] != "system":
        return list(messages)
    system, first, *rest = messages
    joined = f"{system['content'].strip()}\n\n{first['content']}"
    return [{**first, "content": joined}, *rest]
