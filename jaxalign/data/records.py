"""What people write down: demonstrations, preferences, rankings, thumbs, prompts.

Messages are dicts of `role` (system, user, assistant) and `content`. Each record says
where it came from, so that an error can name the line.
"""

import collections
import dataclasses
import itertools
from collections.abc import Iterable

Messages = list[dict[str, str]]


@dataclasses.dataclass(frozen=True)
class Prompt:
    """What an answer is wanted to, and what others answered, where that is known."""

    messages: Messages
    where: str = ""
    references: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Demonstration:
    """A conversation whose last message, the assistant's, is to be imitated."""

    messages: Messages
    where: str = ""


@dataclasses.dataclass(frozen=True)
class Preference:
    """Two answers to one prompt; `margin` says how much better the chosen one is."""

    prompt: Messages
    chosen: str
    rejected: str
    margin: float = 0.0
    where: str = ""


@dataclasses.dataclass(frozen=True)
class Ranking:
    """Answers to one prompt, best first."""

    prompt: Messages
    answers: tuple[str, ...]
    where: str = ""


@dataclasses.dataclass(frozen=True)
class Unpaired:
    """One answer with a thumb up (`desirable`) or down."""

    prompt: Messages
    answer: str
    desirable: bool
    where: str = ""


Record = Prompt | Demonstration | Preference | Ranking | Unpaired


@dataclasses.dataclass(frozen=True)
class Report:
    """What became of the rows that were read: nothing is dropped in silence."""

    read: int
    kept: int
    reasons: collections.Counter[str] = dataclasses.field(
        default_factory=collections.Counter
    )

    def __str__(self) -> str:
        """One line: how many of how many, and why not the others."""
        rest = ", ".join(f"{n} {reason}" for reason, n in self.reasons.most_common())
        return f"{self.kept} of {self.read} rows" + (f" ({rest})" if rest else "")

    def __add__(self, other: "Report") -> "Report":
        """The report of both."""
        return Report(
            self.read + other.read,
            self.kept + other.kept,
            self.reasons + other.reasons,
        )


def row_number(record: Record) -> int:
    """The line or row of its file that a record came from, from 1; 0 if unknown.

    >>> row_number(Prompt([], where="pairs.jsonl:12")), row_number(Prompt([]))
    (12, 0)
    """
    number = record.where.rpartition(":")[2]
    return int(number) if number.isdecimal() else 0


def said(answer: str) -> dict[str, str]:
    """An answer, as the assistant's message."""
    return {"role": "assistant", "content": answer}


def demonstrations(preferences: Iterable[Preference]) -> list[Demonstration]:
    """The chosen answers, to be imitated."""
    return [
        Demonstration([*p.prompt, said(p.chosen)], where=p.where) for p in preferences
    ]


def prompts(records: Iterable[Demonstration | Preference]) -> list[Prompt]:
    """The prompts, each once; its references are the answers shown, or chosen."""
    found: dict[tuple[tuple[str, str], ...], Prompt] = {}
    for record in records:
        if isinstance(record, Preference):
            messages, answer = record.prompt, record.chosen
        else:
            messages, answer = record.messages[:-1], record.messages[-1]["content"]
        key = tuple((m["role"], m["content"]) for m in messages)
        known = found.get(key, Prompt(messages, where=record.where))
        references = (*known.references, answer)
        found[key] = dataclasses.replace(known, references=references)
    return list(found.values())


def unpaired(preferences: Iterable[Preference]) -> list[Unpaired]:
    """Each pair as two single answers, a thumb up and a thumb down."""
    return [
        Unpaired(p.prompt, answer, up, where=p.where)
        for p in preferences
        for answer, up in ((p.chosen, True), (p.rejected, False))
    ]


def pairs(rankings: Iterable[Ranking]) -> list[Preference]:
    """All pairs of each ranking, the better one chosen."""
    return [
        Preference(r.prompt, better, worse, where=r.where)
        for r in rankings
        for better, worse in itertools.combinations(r.answers, 2)
    ]
