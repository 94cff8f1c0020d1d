"""Rows that prefer one of two answers, as texts, messages or whole conversations."""

import dataclasses
import math

from jaxalign.data.records import Messages, Preference, conversation_key
from jaxalign.data.schemas import hh_dialogue
from jaxalign.data.schemas.checks import (
    MalformedRow,
    Row,
    UnsupportedField,
    first_field,
    is_number,
    refuse_fields,
    require_number,
)
from jaxalign.data.schemas.conversations import (
    join_messages,
    same_messages,
    split_system,
)
from jaxalign.data.schemas.message_fields import REASONING_FIELDS
from jaxalign.data.schemas.messages import message_to_answer
from jaxalign.data.schemas.prompt_completion import (
    ALL_PROMPT_FIELDS,
    CONVERSATION_FIELDS,
    parse_answer,
    parse_conversation,
    present_fields,
)


def is_pair(row: Row) -> bool:
    """Whether a row holds two answers, of which one is preferred."""
    return any(
        name in row and row.peek(name.replace("rejected", "chosen")) is not None
        for name in ("rejected", "rejected_messages")
    )


def parse_preference(row: Row, where: str) -> Preference:
    """A pair, in any of its layouts, with its soft label.

    Raises:
      MalformedRow: as `parse_pair` and `parse_label_prob`.
    """
    label_prob = parse_label_prob(row)
    return dataclasses.replace(parse_pair(row, where), label_prob=label_prob)


def parse_label_prob(row: Row) -> float:
    """The soft label of a pair, 1 where it has none.

    Files of `experiments.judge` once had it as `p_chosen`, with its log-odds as the
    margin; `p_chosen` without that margin is the annotator's own probability, which
    nobody trains on.

    Raises:
      MalformedRow: it is no number in [0, 1].
    """
    if row.get("label_prob") is not None:
        label_prob = require_number(row["label_prob"], "label_prob")
        if not 0.0 <= label_prob <= 1.0:
            raise MalformedRow(
                "field 'label_prob' should be a probability in [0, 1], not "
                f"{label_prob:g}"
            )
        return label_prob
    p, margin = row.peek("p_chosen"), row.peek("margin")
    if not (is_number(p) and is_number(margin) and margin and 0.0 < p < 1.0):
        return 1.0
    log_odds = math.log(p) - math.log1p(-p)
    return float(p) if math.isclose(margin, log_odds, rel_tol=1e-3) else 1.0


def parse_pair(row: Row, where: str) -> Preference:
    """A pair, in any of its layouts.

    Raises:
      Malformed: answers to different conversations, or none to any.
      dialogues.Odd: a dialogue that cannot be used.
    """
    good = first_field(row, "chosen", "chosen_messages")
    bad = first_field(row, good.replace("chosen", "rejected"))
    margin = row.get("margin")
    margin = 0.0 if margin is None else require_number(margin, "margin")
    refuse_row_reasoning(row, "a pair")
    if hh_dialogue.is_dialogue(row):
        return parse_dialogues_with_prompt(row, where, margin)
    sides = parse_answer(row[good], good), parse_answer(row[bad], bad)
    before = parse_pair_prompt(row, sides)
    chosen, rejected = (
        join_messages(before, one, ("prompt", name))
        for one, name in zip(sides, (good, bad), strict=True)
    )
    if len(chosen) < 2:
        raise MalformedRow("has answers, and no prompt")
    if conversation_key(chosen[:-1]) != conversation_key(rejected[:-1]):
        raise MalformedRow(
            f"fields {good!r} and {bad!r} differ before their last message"
        )
    if {chosen[-1]["role"], rejected[-1]["role"]} != {"assistant"}:
        raise MalformedRow(f"fields {good!r} and {bad!r} should end with an answer")
    answers = message_to_answer(chosen[-1], good), message_to_answer(rejected[-1], bad)
    return Preference(chosen[:-1], *answers, margin, where)


def parse_dialogues_with_prompt(row: Row, where: str, margin: float) -> Preference:
    """A pair of dialogues; a prompt beside them may be a dialogue too."""
    pair = hh_dialogue.parse_dialogue_pair(row, where)
    prompt = pair.prompt
    if present_fields(row, ALL_PROMPT_FIELDS):
        before = parse_conversation(row)
        text = before[0]["content"]
        if len(before) == 1 and hh_dialogue.TURN_MARKER.match(text):
            before = hh_dialogue.parse_dialogue(text)
            before = before[: len(before) - (not before[-1]["content"])]
        prompt = join_messages(before, prompt, ("prompt", "chosen"))
    return Preference(prompt, pair.chosen, pair.rejected, margin, where)


def parse_pair_prompt(row: Row, sides: tuple[Messages, Messages]) -> Messages:
    """What stands before the answers of a pair, where any field has it.

    A conversation that one of the answers ends is that without its last message.
    """
    if not present_fields(row, ALL_PROMPT_FIELDS):
        if min(map(len, sides)) < 2:
            parse_conversation(row)  # says what is missing
        return []
    before = parse_conversation(row)
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
    for field in present_fields(row, CONVERSATION_FIELDS):
        raise UnsupportedField(
            field, f"field {field!r} ends with an answer that is neither one"
        )
    return before


def refuse_row_reasoning(row: Row, what: str) -> None:
    """Refuses a row's thought where it could be that of several answers."""
    why = f"beside {what} could be the thought of any answer: write it into a message"
    refuse_fields(row, REASONING_FIELDS, "field ", why)
