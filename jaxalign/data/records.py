"""Dataset records: SFT examples, preference pairs, rankings, unpaired answers, prompts.

A message is a dict of `role` (system, developer, user, assistant, tool) and `content`
(text, empty beside a tool call) and, optionally,
  reasoning_content  the assistant's reasoning before its answer, text
  tool_calls         the assistant's calls, [{"type": "function", "function": ...}]
  tool_call_id, name the call that a tool's result belongs to
  train              False for an assistant message that is masked out of the loss
Chat templates know these names; other names in data sets are mapped to them
(see `schemas.messages`).

Every record has the `location` of its row (FILE:LINE), which error messages name, the
`tools` that its chat template declares, and `fields`, the metadata of its row
(category, source, id, annotator), by which results can be split.
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
"""An answer: its text, or the assistant's message if it has more than a text."""
Tools = tuple[Mapping[str, Any], ...]
Fields = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Prompt:
    """A prompt to sample answers for, with reference answers if there are any."""

    messages: Messages
    location: str = ""
    references: tuple[str, ...] = ()
    tools: Tools = ()
    fields: Fields = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Demonstration:
    """An SFT example: a conversation that ends with the answer to imitate.

    Attributes:
      plain: the only message is text without roles; all of its tokens are trained on,
        as in language modeling, and no chat template is applied.
    """

    messages: Messages
    location: str = ""
    plain: bool = False
    tools: Tools = ()
    fields: Fields = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Preference:
    """A preference pair: two answers to one prompt.

    Attributes:
      margin: rating margin of the chosen answer over the rejected one, in nats; 0
        where the data have none.
      label_prob: probability in [0, 1] that the chosen answer is the better one: a soft
        label, such as a judge's; 1 for a hard label.
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
    """One answer with a binary label, as in KTO: desirable or undesirable."""

    prompt: Messages
    answer: Answer
    desirable: bool
    location: str = ""
    tools: Tools = ()
    fields: Fields = dataclasses.field(default_factory=dict)


Record = Prompt | Demonstration | Preference | Ranking | Unpaired


@dataclasses.dataclass(frozen=True)
class RowReport:
    """Numbers of rows read and used, and the reasons for the difference.

    Attributes:
      total: rows read.
      usable: rows that became records.
      reasons: number of rows by reason; mostly of skipped rows, some of rows that were
        used after a repair.
    """

    total: int
    usable: int
    reasons: collections.Counter[str] = dataclasses.field(
        default_factory=collections.Counter
    )

    def __str__(self) -> str:
        """One line: rows used, rows read, and the reasons."""
        rest = ", ".join(f"{n} {reason}" for reason, n in self.reasons.most_common())
        return f"{self.usable} of {self.total} rows" + (f" ({rest})" if rest else "")

    def __add__(self, other: "RowReport") -> "RowReport":
        """The sums of two reports."""
        return RowReport(
            self.total + other.total,
            self.usable + other.usable,
            self.reasons + other.reasons,
        )


def row_number(record: Record) -> int:
    """Line or row number of a record in its file, from 1; 0 if unknown.

    >>> row_number(Prompt([], location="pairs.jsonl:12")), row_number(Prompt([]))
    (12, 0)
    """
    number = record.location.rpartition(":")[2]
    return int(number) if number.isdecimal() else 0


def assistant_message(answer: Answer) -> Message:
    """Convert an answer to the assistant's message."""
    if isinstance(answer, str):
        return {"role": "assistant", "content": answer}
    return answer


def answer_content(answer: Answer) -> str:
    """Text of an answer, without its reasoning and its tool calls.

    >>> answer = {"role": "assistant", "content": "4", "reasoning_content": "2+2"}
    >>> answer_content(answer)
    '4'
    """
    return answer if isinstance(answer, str) else answer["content"]


def conversation_key(messages: Messages, tools: Tools = ()) -> Hashable:
    """Dictionary key of a conversation and its tools.

    Equal for conversations that differ in their `train` flags alone.
    """
    texts = [(message["role"], message["content"]) for message in messages]
    rich = [
        json.dumps({**message, "train": None}, sort_keys=True)
        for message in messages
        if len(message) > 2 + ("train" in message)
    ]
    if not (tools or rich):
        return (*texts,)
    return (*texts, *rich, json.dumps(tools, sort_keys=True))


def demonstrations(preferences: Iterable[Preference]) -> list[Demonstration]:
    """SFT examples of the chosen answers."""
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
    """Distinct prompts of SFT examples and pairs, with their answers as references.

    The references of a prompt are its demonstrated and chosen answers, in order.
    Prompts with different tools are distinct. Location and fields are those of the
    first record.

    Raises:
      ValueError: a plain text, which has no prompt.
    """
    by_key: dict[Hashable, Prompt] = {}
    for record in records:
        if isinstance(record, Preference):
            messages, answer = record.prompt, answer_content(record.chosen)
        elif record.plain:
            raise ValueError(f"{record.location}: a plain text has no prompt")
        else:
            *messages, last = record.messages
            answer = "" if last.get("train") is False else last["content"]
        key = conversation_key(messages, record.tools)
        prompt = by_key.get(key) or Prompt(
            messages, record.location, tools=record.tools, fields=record.fields
        )
        # an answer that is only a tool call has no text to compare with
        references = (*prompt.references, *filter(None, [answer]))
        by_key[key] = dataclasses.replace(prompt, references=references)
    return list(by_key.values())


def unpaired_answers(preferences: Iterable[Preference]) -> list[Unpaired]:
    """Both answers of each pair: the chosen one desirable, the rejected one not."""
    return [
        Unpaired(p.prompt, answer, desirable, p.location, p.tools, p.fields)
        for p in preferences
        for answer, desirable in ((p.chosen, True), (p.rejected, False))
    ]


def ranking_pairs(rankings: Iterable[Ranking]) -> list[Preference]:
    """All K (K - 1) / 2 pairs of each ranking of K answers, the better one chosen."""
    return [
        Preference(
            r.prompt, better, worse, location=r.location, tools=r.tools, fields=r.fields
        )
        for r in rankings
        for better, worse in itertools.combinations(r.answers, 2)
    ]


def prompt_fields(prompt: "Prompt") -> dict[str, Any]:
    """Fields of a written row that hold a prompt and its tools."""
    tools = {"tools": list(prompt.tools)} if prompt.tools else {}
    return {"prompt": prompt.messages, **tools}
