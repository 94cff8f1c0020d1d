"""Records: SFT examples, preference pairs, rankings, unpaired answers, prompts.

A message is a dict of `role` (system, user, assistant, tool) and `content` (text, empty
beside a tool call), and where a row has them of
  reasoning_content  the thought before an assistant's answer, text
  tool_calls         the assistant's calls, [{"type": "function", "function": ...}]
  tool_call_id, name which call a tool's result answers
  train              False for an assistant's message that is not trained on
These are the names that chat templates know; readers rename what other data sets call
them. Each record says where it came from, so that an error can name the line, has the
`tools` that its chat template declares, and keeps the row's other `fields` (category,
source, id, annotator), by which numbers can be split later.
"""

import collections
import dataclasses
import itertools
import json
from collections.abc import Hashable, Iterable, Mapping
from typing import Any

Message = dict[str, Any]
Messages = list[Message]
Answer = str | Message
"""An answer: its text, or the assistant's message where it has more than a text."""
Tools = tuple[Mapping[str, Any], ...]
Fields = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Prompt:
    """What an answer is wanted to, and what others answered, where that is known."""

    messages: Messages
    location: str = ""
    references: tuple[str, ...] = ()
    tools: Tools = ()
    fields: Fields = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Demonstration:
    """An SFT example: a conversation whose last message, the assistant's, is trained.

    Attributes:
      plain: its one message is a text without roles, which is trained as a whole, as in
        language modelling; no chat template is applied.
    """

    messages: Messages
    location: str = ""
    plain: bool = False
    tools: Tools = ()
    fields: Fields = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Preference:
    """Two answers to one prompt, of which the chosen one is preferred.

    Attributes:
      margin: how much better the chosen answer is, as people rated it; 0 if they did
        not (Llama 2's margin).
      label_prob: the probability that the chosen answer is the better one, in [0, 1]: a
        soft label, such as a judge's.
    """

    prompt: Messages
    chosen: Answer
    rejected: Answer
    margin: float = 0.0
    location: str = ""
    tools: Tools = ()
    fields: Fields = dataclasses.field(default_factory=dict)
    label_prob: float = 1.0


@dataclasses.dataclass(frozen=True)
class Ranking:
    """Answers to one prompt, best first."""

    prompt: Messages
    answers: tuple[Answer, ...]
    location: str = ""
    tools: Tools = ()
    fields: Fields = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Unpaired:
    """One answer with a thumb up (`desirable`) or down."""

    prompt: Messages
    answer: Answer
    desirable: bool
    location: str = ""
    tools: Tools = ()
    fields: Fields = dataclasses.field(default_factory=dict)


Record = Prompt | Demonstration | Preference | Ranking | Unpaired


@dataclasses.dataclass(frozen=True)
class RowReport:
    """What became of the rows that were read: nothing is dropped in silence."""

    total: int
    usable: int
    reasons: collections.Counter[str] = dataclasses.field(
        default_factory=collections.Counter
    )

    def __str__(self) -> str:
        """One line: how many of how many, and why not the others."""
        rest = ", ".join(f"{n} {reason}" for reason, n in self.reasons.most_common())
        return f"{self.usable} of {self.total} rows" + (f" ({rest})" if rest else "")

    def __add__(self, other: "RowReport") -> "RowReport":
        """The report of both."""
        return RowReport(
            self.total + other.total,
            self.usable + other.usable,
            self.reasons + other.reasons,
        )


def row_number(record: Record) -> int:
    """The line or row of its file that a record came from, from 1; 0 if unknown.

    >>> row_number(Prompt([], location="pairs.jsonl:12")), row_number(Prompt([]))
    (12, 0)
    """
    number = record.location.rpartition(":")[2]
    return int(number) if number.isdecimal() else 0


def assistant_message(answer: Answer) -> Message:
    """An answer, as the assistant's message."""
    if isinstance(answer, str):
        return {"role": "assistant", "content": answer}
    return answer


def answer_content(answer: Answer) -> str:
    """The text of an answer, without its thought and its tool calls.

    >>> answer_content({"role": "assistant", "content": "4", "reasoning_content": "2+2"})
    '4'
    """
    return answer if isinstance(answer, str) else answer["content"]


def conversation_key(messages: Messages, tools: Tools = ()) -> Hashable:
    """What tells a conversation, with its tools, from others; not what is trained."""
    told = [(message["role"], message["content"]) for message in messages]
    more = [
        json.dumps({**message, "train": None}, sort_keys=True)
        for message in messages
        if len(message) > 2 + ("train" in message)
    ]
    return (
        (*told, *more, json.dumps(tools, sort_keys=True)) if tools or more else (*told,)
    )


def demonstrations(preferences: Iterable[Preference]) -> list[Demonstration]:
    """The chosen answers, to be imitated."""
    return [
        Demonstration(
            [*p.prompt, assistant_message(p.chosen)],
            p.location,
            tools=p.tools,
            fields=p.fields,
        )
        for p in preferences
    ]


def extract_prompts(records: Iterable[Demonstration | Preference]) -> list[Prompt]:
    """The prompts, each once; its references are the answers shown, or chosen.

    Prompts with other tools are others. Fields are those of the first record.

    Raises:
      ValueError: a plain text, which has no prompt.
    """
    found: dict[Hashable, Prompt] = {}
    for record in records:
        if isinstance(record, Preference):
            messages, answer = record.prompt, answer_content(record.chosen)
        elif record.plain:
            raise ValueError(f"{record.location}: a plain text has no prompt")
        else:
            *messages, last = record.messages
            answer = "" if last.get("train") is False else last["content"]
        key = conversation_key(messages, record.tools)
        known = found.get(key) or Prompt(
            messages, record.location, tools=record.tools, fields=record.fields
        )
        # an answer that is a call alone has no text to compare with
        references = (*known.references, *filter(None, [answer]))
        found[key] = dataclasses.replace(known, references=references)
    return list(found.values())


def unpaired_answers(preferences: Iterable[Preference]) -> list[Unpaired]:
    """Each pair as two single answers, a thumb up and a thumb down."""
    return [
        Unpaired(p.prompt, answer, up, p.location, p.tools, p.fields)
        for p in preferences
        for answer, up in ((p.chosen, True), (p.rejected, False))
    ]


def ranking_pairs(rankings: Iterable[Ranking]) -> list[Preference]:
    """All pairs of each ranking, the better one chosen."""
    return [
        Preference(
            r.prompt, better, worse, location=r.location, tools=r.tools, fields=r.fields
        )
        for r in rankings
        for better, worse in itertools.combinations(r.answers, 2)
    ]


def prompt_fields(prompt: "Prompt") -> dict[str, Any]:
    """The fields of a row that hold a prompt and its tools."""
    tools = {"tools": list(prompt.tools)} if prompt.tools else {}
    return {"prompt": prompt.messages, **tools}
