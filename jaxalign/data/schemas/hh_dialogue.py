"""The dialogue format of HH-RLHF: whole conversations in two strings.

A row has `chosen` and `rejected`, each "\\n\\nHuman: ...\\n\\nAssistant: ...", which
differ in their last turn. Some rows are odd: these are told apart and counted.

Reference: Bai et al. 2022, arXiv:2204.05862.
"""

import re
from collections.abc import Mapping
from typing import Any

from jaxalign.data.records import Messages, Preference

TURN_MARKER = re.compile(r"\n\n(Human|Assistant):")
ROLES = {"Human": "user", "Assistant": "assistant"}
ASSISTANT_MARKER = "\n\nAssistant:"


class UnusableRow(ValueError):
    """A row that cannot be used, for a reason that is counted."""


def parse_dialogue(text: str) -> Messages:
    """The turns of a dialogue; neighbouring turns of one speaker become one.

    Raises:
      Odd: the text does not begin with a turn.

    >>> [m["content"] for m in parse_dialogue("\\n\\nHuman: Hi\\n\\nAssistant: Hello")]
    ['Hi', 'Hello']
    """
    before, *parts = TURN_MARKER.split(text)
    if before.strip() or not parts:
        raise UnusableRow("that do not begin with a turn")
    messages: Messages = []
    for speaker, content in zip(parts[::2], parts[1::2], strict=True):
        role, content = ROLES[speaker], content.strip()
        if messages and messages[-1]["role"] == role:
            content = f"{messages.pop()['content']}\n\n{content}".strip()
        messages.append({"role": role, "content": content})
    return messages


def is_dialogue(row: Mapping[str, Any]) -> bool:
    """Whether a row is of this layout."""
    chosen, rejected = row.get("chosen"), row.get("rejected")
    return (
        isinstance(chosen, str)
        and isinstance(rejected, str)
        and TURN_MARKER.match(chosen) is not None
    )


def find_irregularity(row: Mapping[str, Any]) -> str:
    """What is odd about a row that can be used all the same, or nothing.

    In 17 of the published test pairs one answer is given in several turns, so that
    the dialogues differ before their last turn; those turns are one answer here.
    """
    before = [
        row[side].rpartition(ASSISTANT_MARKER)[0] for side in ("chosen", "rejected")
    ]
    return (
        "" if before[0] == before[1] else "differ before the last turn (joined, kept)"
    )


def parse_dialogue_pair(row: Mapping[str, Any], where: str) -> Preference:
    """The pair of a row.

    Raises:
      Odd: identical dialogues, dialogues that differ before the last answer, an empty
        last turn, or one that is not the assistant's.
    """
    chosen, rejected = parse_dialogue(row["chosen"]), parse_dialogue(row["rejected"])
    if row["chosen"] == row["rejected"]:
        raise UnusableRow("with identical texts")
    if {chosen[-1]["role"], rejected[-1]["role"]} != {"assistant"}:
        raise UnusableRow("that do not end with the assistant")
    if chosen[:-1] != rejected[:-1]:
        raise UnusableRow("with two different prompts")
    answers = (chosen[-1]["content"], rejected[-1]["content"])
    if not all(answers):
        raise UnusableRow("with an empty last turn")
    return Preference(chosen[:-1], *answers, location=where)
