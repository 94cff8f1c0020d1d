"""Conversations put together of parts that a row holds in several fields.

A system prompt is that of the row's conversation, or else that of its `system` column;
a prompt stands before what an answer of several turns does not repeat of it.
"""

from collections.abc import Sequence

from jaxalign.data.records import Message, Messages, conversation_key
from jaxalign.data.schemas.checks import MalformedRow, UnsupportedField

SYSTEM_ROLES = ("system", "developer")


def split_system(messages: Messages) -> tuple[Messages, Messages]:
    """The system's messages that a conversation begins with, and the others."""
    roles = [message["role"] for message in messages]
    first = next((i for i, r in enumerate(roles) if r not in SYSTEM_ROLES), len(roles))
    return messages[:first], messages[first:]


def merge_system(own: Messages, other: Messages, field: str) -> Messages:
    """The system's messages of a conversation, or else those of another field.

    Raises:
      Refused: both are there and differ.
    """
    if not own or not other:
        return own or other
    texts = [" ".join(m["content"].split()) for m in own]
    if any(" ".join(m["content"].split()) not in texts for m in other):
        raise UnsupportedField(
            field,
            f"field {field!r} and the conversation have two system prompts that differ",
        )
    return own


def add_system(messages: Messages, system: str, field: str) -> Messages:
    """A conversation, begun with the system prompt of a field of its own."""
    own, rest = split_system(messages)
    told = [{"role": "system", "content": system}]
    return [*merge_system(own, told, field), *rest]


def join_messages(
    before: Messages, after: Messages, fields: tuple[str, str] = ("prompt", "messages")
) -> Messages:
    """One conversation: `before`, then what `after` does not repeat of it.

    >>> q, a = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
    >>> join_messages([q], [a]) == join_messages([q], [q, a]) == [q, a]
    True

    Raises:
      Malformed: they do not fit, as two questions or two answers in a row.
    """
    if after[: len(before)] == before:
        return after
    if len(after) == 1 and before[-1]["role"] == "user" != after[0]["role"]:
        return [*before, *after]
    (own_before, begun), (own_after, ended) = map(split_system, (before, after))
    system = merge_system(own_after, own_before, fields[0])
    most = min(len(begun), len(ended))
    repeated = next(
        k
        for k in range(most, -1, -1)
        if same_messages(begun[len(begun) - k :], ended[:k])
    )
    if not repeated and begun and ended:
        both = begun[-1]["role"] == ended[0]["role"]
        if both or same_messages(begun[:1], ended[:1]):
            raise MalformedRow(
                f"fields {fields[0]!r} and {fields[1]!r} do not fit: one ends with a "
                f"message of the {begun[-1]['role']}, which the other does not go on "
                "from"
            )
    return [*system, *begun[: len(begun) - repeated], *ended]


def same_messages(some: Sequence[Message], others: Sequence[Message]) -> bool:
    """Whether messages are the same but for white space and what is trained."""
    return len(some) == len(others) and all(
        one is other
        or one["role"] == other["role"]
        and one["content"].split() == other["content"].split()
        and conversation_key([{**one, "content": ""}])
        == conversation_key([{**other, "content": ""}])
        for one, other in zip(some, others, strict=True)
    )


def contains_messages(messages: Messages, part: Messages) -> bool:
    """Whether each message of a part is in the text of one of the same role."""
    texts = [(m["role"], casefold_text(m["content"])) for m in messages]
    return all(
        any(
            role == m["role"] and casefold_text(m["content"]) in text
            for role, text in texts
        )
        for m in part
    )


def casefold_text(text: str) -> str:
    """A text without the differences of case and white space."""
    return " ".join(text.casefold().split())
