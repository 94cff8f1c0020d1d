"""Dialogue format of HH-RLHF: two whole conversations as text.

A row has `chosen` and `rejected`, each "\\n\\nHuman: ...\\n\\nAssistant: ...", which
differ in their last turn. Rows that cannot be used are skipped and counted.

Reference: Bai et al. 2022, arXiv:2204.05862.
"""

import re
from collections.abc import Mapping
from typing import Any

from jaxalign.data.records import Messages, Preference
from jaxalign.data.row_errors import UnusableRow

TURN_MARKER = re.compile(r"\n\n(Human|Assistant):")
ROLES = {"Human": "user", "Assistant": "assistant"}
ASSISTANT_MARKER = "\n\nAssistant:"


def parse_dialogue(text: str) -> Messages:
    """Parse the turns of a dialogue; consecutive turns of one speaker are merged.

    Raises:
      UnusableRow: the text does not begin with a turn.

    >>> text = "\\n\\nHuman: Hi\\n\\nAssistant: Hello"
    >>> [message["content"] for message in parse_dialogue(text)]
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
    """Whether a row has this format."""
    chosen, rejected = row.get("chosen"), row.get("rejected")
    return (
        isinstance(chosen, str)
        and isinstance(rejected, str)
        and TURN_MARKER.match(chosen) is not None
    )


def find_irregularity(row: Mapping[str, Any]) -> str:
    """Describe the irregularity of a usable row; "" if there is none.

    In 17 of the published test pairs one answer has several turns, so that the
    dialogues differ before their last turn. Those turns are merged into one answer.
    """
    before = [
        row[name].rpartition(ASSISTANT_MARKER)[0] for name in ("chosen", "rejected")
    ]
    return (
        "" if before[0] == before[1] else "differ before the last turn (joined, kept)"
    )


def parse_dialogue_pair(row: Mapping[str, Any], location: str) -> Preference:
    """Parse a pair of dialogues.

    Raises:
      UnusableRow: identical dialogues, dialogues that differ before the last answer, an
        empty last turn, or one that is not the assistant's.
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
    return Preference(chosen[:-1], *answers, location=location)
