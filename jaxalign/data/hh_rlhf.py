"""Dialogues of Anthropic's HH-RLHF (Bai et al. 2022, arXiv:2204.05862).

A row has `chosen` and `rejected`, each a whole dialogue "\\n\\nHuman: ...\\n\\nAssistant:
..." whose last turns differ. Some rows are odd: these are told apart and counted.
"""

import re
from collections.abc import Mapping
from typing import Any

from jaxalign.data.records import Messages, Preference

TURN = re.compile(r"\n\n(Human|Assistant):")
ROLES = {"Human": "user", "Assistant": "assistant"}


class Odd(ValueError):
    """A row that cannot be used, for a reason that is counted."""


def dialogue(text: str) -> Messages:
    """The turns of a dialogue; neighbouring turns of one speaker become one.

    Raises:
      Odd: the text does not begin with a turn.
    """
    before, *parts = TURN.split(text)
    if before.strip() or not parts:
        raise Odd("does not begin with a turn")
    messages: Messages = []
    for speaker, content in zip(parts[::2], parts[1::2], strict=True):
        role, content = ROLES[speaker], content.strip()
        if messages and messages[-1]["role"] == role:
            content = f"{messages.pop()['content']}\n{content}".strip()
        messages.append({"role": role, "content": content})
    return messages


def is_dialogue(row: Mapping[str, Any]) -> bool:
    """Whether a row is of this layout."""
    chosen = row.get("chosen")
    return isinstance(chosen, str) and TURN.match(chosen) is not None


def preference(row: Mapping[str, Any], where: str) -> Preference:
    """The pair of a row.

    Raises:
      Odd: identical dialogues, dialogues that differ before the last turn, an empty
        last turn, or one that is not the assistant's.
    """
    chosen, rejected = dialogue(row["chosen"]), dialogue(row["rejected"])
    if row["chosen"] == row["rejected"]:
        raise Odd("identical texts")
    if {chosen[-1]["role"], rejected[-1]["role"]} != {"assistant"}:
        raise Odd("do not end with the assistant")
    if chosen[:-1] != rejected[:-1]:
        raise Odd("differ before the last turn")
    answers = (chosen[-1]["content"], rejected[-1]["content"])
    if not all(answers):
        raise Odd("with an empty last turn")
    return Preference(chosen[:-1], *answers, where=where)
