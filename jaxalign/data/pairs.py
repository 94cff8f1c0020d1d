"""Rows that prefer one of two answers, as texts, messages or whole conversations."""

from jaxalign.data import hh_dialogue
from jaxalign.data.conversations import join, same_messages, split_system
from jaxalign.data.message_fields import THOUGHTS
from jaxalign.data.messages import answer_of
from jaxalign.data.questions import (
    ASKED,
    CONVERSATIONS,
    answer_messages,
    conversation,
    stated,
)
from jaxalign.data.records import Messages, Preference, identity
from jaxalign.data.row_checks import (
    Malformed,
    Refused,
    Row,
    first_field,
    number,
    refuse,
)


def is_pair(row: Row) -> bool:
    """Whether a row holds two answers, of which one is preferred."""
    return any(
        name in row and row.peek(name.replace("rejected", "chosen")) is not None
        for name in ("rejected", "rejected_messages")
    )


def preference(row: Row, where: str) -> Preference:
    """A pair, in any of its layouts.

    Raises:
      Malformed: answers to different conversations, or none to any.
      dialogues.Odd: a dialogue that cannot be used.
    """
    good = first_field(row, "chosen", "chosen_messages")
    bad = first_field(row, good.replace("chosen", "rejected"))
    margin = row.get("margin")
    margin = 0.0 if margin is None else number(margin, "margin")
    refuse_thoughts(row, "a pair")
    if hh_dialogue.is_dialogue(row):
        return dialogue_pair(row, where, margin)
    sides = answer_messages(row[good], good), answer_messages(row[bad], bad)
    before = pair_prompt(row, sides)
    chosen, rejected = (
        join(before, one, ("prompt", name))
        for one, name in zip(sides, (good, bad), strict=True)
    )
    if len(chosen) < 2:
        raise Malformed("has answers, and no prompt")
    if identity(chosen[:-1]) != identity(rejected[:-1]):
        raise Malformed(f"fields {good!r} and {bad!r} differ before their last message")
    if {chosen[-1]["role"], rejected[-1]["role"]} != {"assistant"}:
        raise Malformed(f"fields {good!r} and {bad!r} should end with an answer")
    answers = answer_of(chosen[-1], good), answer_of(rejected[-1], bad)
    return Preference(chosen[:-1], *answers, margin, where)


def dialogue_pair(row: Row, where: str, margin: float) -> Preference:
    """A pair of dialogues; a prompt beside them may be a dialogue too."""
    pair = hh_dialogue.preference(row, where)
    prompt = pair.prompt
    if stated(row, ASKED):
        before = conversation(row)
        text = before[0]["content"]
        if len(before) == 1 and hh_dialogue.TURN.match(text):
            before = hh_dialogue.dialogue(text)
            before = before[: len(before) - (not before[-1]["content"])]
        prompt = join(before, prompt, ("prompt", "chosen"))
    return Preference(prompt, pair.chosen, pair.rejected, margin, where)


def pair_prompt(row: Row, sides: tuple[Messages, Messages]) -> Messages:
    """What stands before the answers of a pair, where any field has it.

    A conversation that one of the answers ends is that without its last message.
    """
    if not stated(row, ASKED):
        if min(map(len, sides)) < 2:
            conversation(row)  # says what is missing
        return []
    before = conversation(row)
    if before[-1]["role"] != "assistant":
        return before
    system, talk = split_system(before)
    for answers in sides:
        _, other = split_system(answers)
        if (
            same_messages(talk, other)
            or len(other) == 1
            and same_messages(talk[-1:], other)
        ):
            return [*system, *talk[:-1]]
    for field in stated(row, CONVERSATIONS):
        raise Refused(field, f"field {field!r} ends with an answer that is neither one")
    return before


def refuse_thoughts(row: Row, what: str) -> None:
    """Refuses a row's thought where it could be that of several answers."""
    why = f"beside {what} could be the thought of any answer: write it into a message"
    refuse(row, THOUGHTS, "field ", why)
