"""Joining of a conversation that a row holds in several fields.

A system prompt inside the conversation has precedence over the row's `system` field. A
prompt field stands before those messages of an answer field that do not repeat it.
"""

from collections.abc import Sequence

from jaxalign.data.records import Message, Messages, conversation_key
from jaxalign.data.row_errors import MalformedRow, UnsupportedField

SYSTEM_ROLES = ("system", "developer")


def split_system(messages: Messages) -> tuple[Messages, Messages]:
    """Split a conversation into its leading system messages and the rest."""
    roles = [message["role"] for message in messages]
    first = next((i for i, r in enumerate(roles) if r not in SYSTEM_ROLES), len(roles))
    return messages[:first], messages[first:]


def merge_system(own: Messages, other: Messages, field: str) -> Messages:
    """System messages of a conversation, or else those of another field.

    Args:
      own: system messages of the conversation.
      other: system messages of the field.
      field: name of the other field.

    Raises:
      UnsupportedField: both are present and differ.
    """
    if not own or not other:
        return own or other
    texts = [" ".join(m["content"].split()) for m in own]
    if any(" ".join(m["content"].split()) not in texts for m in other):
        raise UnsupportedField(
            field,
            f"field {field!r} and the conversation have different system prompts",
        )
    return own


def add_system(messages: Messages, system: str, field: str) -> Messages:
    """Put the system prompt of a separate field before a conversation."""
    own, rest = split_system(messages)
    other = [{"role": "system", "content": system}]
    return [*merge_system(own, other, field), *rest]


def join_messages(
    before: Messages, after: Messages, fields: tuple[str, str] = ("prompt", "messages")
) -> Messages:
    """Concatenate two parts of one conversation, overlapping messages only once.

    Args:
      fields: names of the fields of `before` and `after`, for error messages.

    Raises:
      MalformedRow: the parts do not fit: two user or two assistant messages in a row.

    >>> q, a = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
    >>> join_messages([q], [a]) == join_messages([q], [q, a]) == [q, a]
    True
    """
    if after[: len(before)] == before:
        return after
    if len(after) == 1 and before[-1]["role"] == "user" != after[0]["role"]:
        return [*before, *after]
    (system_before, first), (system_after, last) = map(split_system, (before, after))
    system = merge_system(system_after, system_before, fields[0])
    longest = min(len(first), len(last))
    overlap = next(
        k
        for k in range(longest, -1, -1)
        if same_messages(first[len(first) - k :], last[:k])
    )
    if not overlap and first and last:
        same_role = first[-1]["role"] == last[0]["role"]
        if same_role or same_messages(first[:1], last[:1]):
            raise MalformedRow(
                f"fields {fields[0]!r} and {fields[1]!r} do not fit together: the "
                f"second does not continue the last message ({first[-1]['role']}) of "
                "the first"
            )
    return [*system, *first[: len(first) - overlap], *last]


def same_messages(some: Sequence[Message], others: Sequence[Message]) -> bool:
    """Whether messages are equal up to white space and `train` flags."""
    return len(some) == len(others) and all(
        one is other
        or one["role"] == other["role"]
        and one["content"].split() == other["content"].split()
        and conversation_key([{**one, "content": ""}])
        == conversation_key([{**other, "content": ""}])
        for one, other in zip(some, others, strict=True)
    )


def contains_messages(messages: Messages, part: Messages) -> bool:
    """Whether the text of each message of `part` is in a message of the same role."""
    texts = [(m["role"], casefold_text(m["content"])) for m in messages]
    return all(
        any(
            role == m["role"] and casefold_text(m["content"]) in text
            for role, text in texts
        )
        for m in part
    )


def casefold_text(text: str) -> str:
    """Fold the case and the white space of a text."""
    return " ".join(text.casefold().split())
