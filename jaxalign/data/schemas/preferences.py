"""Preference pairs: two answers to one prompt, as texts, messages or conversations."""

import dataclasses
import math

from jaxalign.data.records import Messages, Preference, conversation_key
from jaxalign.data.row_errors import MalformedRow, UnsupportedField
from jaxalign.data.schemas import hh_dialogue
from jaxalign.data.schemas.checks import (
    Row,
    first_field,
    is_number,
    refuse_fields,
    require_number,
)
from jaxalign.data.schemas.completions import parse_answer
from jaxalign.data.schemas.conversations import (
    join_messages,
    same_messages,
    split_system,
)
from jaxalign.data.schemas.field_names import (
    ALL_PROMPT_FIELDS,
    CONVERSATION_FIELDS,
    present_fields,
)
from jaxalign.data.schemas.message_fields import REASONING_FIELDS
from jaxalign.data.schemas.messages import message_to_answer
from jaxalign.data.schemas.prompts import parse_conversation


def is_pair(row: Row) -> bool:
    """Whether a row has a chosen and a rejected answer."""
    return any(
        name in row and row.peek(name.replace("rejected", "chosen")) is not None
        for name in ("rejected", "rejected_messages")
    )


def parse_preference(row: Row, location: str) -> Preference:
    """Parse a preference pair in any of its schemas, with its soft label.

    Raises:
      MalformedRow: as `parse_pair` and `parse_label_prob`.
      UnusableRow: as `parse_pair`.
    """
    label_prob = parse_label_prob(row)
    return dataclasses.replace(parse_pair(row, location), label_prob=label_prob)


def parse_label_prob(row: Row) -> float:
    """The soft label of a pair; 1 where it has none.

    Earlier files of experiments.judge have it as `p_chosen`, with its log-odds as the
    margin. A `p_chosen` without that margin is the probability with which an annotator
    labeled the pair, and no label.

    Raises:
      MalformedRow: not a number in [0, 1].
    """
    if row.get("label_prob") is not None:
        label_prob = require_number(row["label_prob"], "label_prob")
        if not 0.0 <= label_prob <= 1.0:
            raise MalformedRow(
                f"field 'label_prob' is {label_prob:g}; expected a probability in "
                "[0, 1]"
            )
        return label_prob
    p, margin = row.peek("p_chosen"), row.peek("margin")
    if not (is_number(p) and is_number(margin) and margin and 0.0 < p < 1.0):
        return 1.0
    log_odds = math.log(p) - math.log1p(-p)
    return float(p) if math.isclose(margin, log_odds, rel_tol=1e-3) else 1.0


def parse_pair(row: Row, location: str) -> Preference:
    """Parse the answers and the margin of a preference pair.

    Raises:
      MalformedRow: no prompt, no answers, or answers to different conversations.
      UnusableRow: see `hh_dialogue.parse_dialogue_pair`.
    """
    good = first_field(row, "chosen", "chosen_messages")
    bad = first_field(row, good.replace("chosen", "rejected"))
    margin = row.get("margin")
    margin = 0.0 if margin is None else require_number(margin, "margin")
    refuse_row_reasoning(row, "a pair")
    if hh_dialogue.is_dialogue(row):
        return parse_dialogues_with_prompt(row, location, margin)
    answers = parse_answer(row[good], good), parse_answer(row[bad], bad)
    prompt = parse_pair_prompt(row, answers)
    chosen, rejected = (
        join_messages(prompt, answer, ("prompt", name))
        for answer, name in zip(answers, (good, bad), strict=True)
    )
    if len(chosen) < 2:
        raise MalformedRow("has answers, but no prompt")
    if conversation_key(chosen[:-1]) != conversation_key(rejected[:-1]):
        raise MalformedRow(
            f"fields {good!r} and {bad!r} differ before their last message"
        )
    if {chosen[-1]["role"], rejected[-1]["role"]} != {"assistant"}:
        raise MalformedRow(f"fields {good!r} and {bad!r} do not end with an answer")
    return Preference(
        chosen[:-1],
        message_to_answer(chosen[-1], good),
        message_to_answer(rejected[-1], bad),
        margin,
        location,
    )


def parse_dialogues_with_prompt(row: Row, location: str, margin: float) -> Preference:
    """Parse a pair of dialogues and the prompt beside them, which may be a dialogue."""
    pair = hh_dialogue.parse_dialogue_pair(row, location)
    prompt = pair.prompt
    if present_fields(row, ALL_PROMPT_FIELDS):
        before = parse_conversation(row)
        text = before[0]["content"]
        if len(before) == 1 and hh_dialogue.TURN_MARKER.match(text):
            before = hh_dialogue.parse_dialogue(text)
            before = before[: len(before) - (not before[-1]["content"])]
        prompt = join_messages(before, prompt, ("prompt", "chosen"))
    return Preference(prompt, pair.chosen, pair.rejected, margin, location)


def parse_pair_prompt(row: Row, answers: tuple[Messages, Messages]) -> Messages:
    """Parse the messages before the answers of a pair.

    Of a conversation that ends with one of the answers, the last message is left out.

    Args:
      answers: the messages of `chosen` and of `rejected`.

    Returns:
      Nothing if both answers are conversations that hold the prompt themselves.

    Raises:
      UnsupportedField: the conversation ends with an answer that is neither of the two.
    """
    if not present_fields(row, ALL_PROMPT_FIELDS):
        if min(map(len, answers)) < 2:
            parse_conversation(row)  # raises: it names the missing field
        return []
    prompt = parse_conversation(row)
    if prompt[-1]["role"] != "assistant":
        return prompt
    system, conversation = split_system(prompt)
    for answer in answers:
        _, messages = split_system(answer)
        if (
            same_messages(conversation, messages)
            or len(messages) == 1
            and same_messages(conversation[-1:], messages)
        ):
            return [*system, *conversation[:-1]]
    for field in present_fields(row, CONVERSATION_FIELDS):
        raise UnsupportedField(
            field, f"field {field!r} ends with an answer that is neither of the two"
        )
    return prompt


def refuse_row_reasoning(row: Row, kind: str) -> None:
    """Refuse reasoning in a separate field of a row with several answers.

    Args:
      kind: noun for the error message, such as "a pair".

    Raises:
      UnsupportedField: names the field.
    """
    reason = f"beside {kind} could belong to any answer: put it into a message"
    refuse_fields(row, REASONING_FIELDS, "field ", reason)
