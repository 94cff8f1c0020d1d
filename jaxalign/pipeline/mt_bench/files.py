"""MT-Bench's files: questions, reference answers, the judge's prompts.

The project ships none of them. In FastChat's repository they are, below
fastchat/llm_judge/data: mt_bench/question.jsonl, mt_bench/reference_answer/gpt-4.jsonl
and judge_prompts.jsonl.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxalign.data.formats import files
from jaxalign.messages import shorten

TURNS = 2


class Question(NamedTuple):
    """A question of one or two turns.

    Attributes:
      id: its number.
      category: such as math or writing.
      turns: the user's messages, one or two.
      references: answers to them; empty where there are none, "" for a turn without.
    """

    id: int
    category: str
    turns: tuple[str, ...]
    references: tuple[str, ...] = ()


class JudgePrompt(NamedTuple):
    """A prompt of the judge.

    Attributes:
      system: the system message.
      template: the user's message, with {question} and other fields in braces.
    """

    system: str
    template: str


def read_questions(path: Path, references: Path | None = None) -> list[Question]:
    """The questions of a file, with the references in it or in a file of their own.

    Rows are {"question_id", "category", "turns": [...]}, and "reference": [...] where
    there is one, with "" for a turn that has none.

    Args:
      references: rows of {"question_id", "choices": [{"turns": [...]}]}.

    Raises:
      FileNotFoundError: no such file.
      ValueError: no questions, one that is there twice, or a malformed row (FILE:LINE
        and field).
    """
    by_id = {} if references is None else read_references(references)
    questions: dict[int, Question] = {}
    for location, row in rows_of(path, "--questions"):
        number = require(row, "question_id", int, location)
        if number in questions:
            raise ValueError(f"{location}: question_id {number} is there twice")
        turns = require_texts(row.get("turns"), "turns", location)
        given = row.get("reference")
        own = require_texts(given, "reference", location, empty=True) if given else ()
        questions[number] = Question(
            number,
            require(row, "category", str, location),
            turns,
            by_id.get(number, own)[: len(turns)],
        )
    return list(questions.values())


def read_references(path: Path) -> dict[int, tuple[str, ...]]:
    """Reference answers by the number of their question, in FastChat's layout.

    Raises:
      FileNotFoundError, ValueError: as `read_questions`.
    """
    references = {}
    for location, row in rows_of(path, "--references"):
        choices = require(row, "choices", list, location)
        if not choices or not isinstance(choices[0], Mapping):
            raise ValueError(f"{location}: field 'choices' is not a list of objects")
        turns = require_texts(
            choices[0].get("turns"), "choices.turns", location, empty=True
        )
        references[require(row, "question_id", int, location)] = turns
    return references


def read_judge_prompts(path: Path) -> dict[str, JudgePrompt]:
    """The judge's prompts by name, such as single-v1.

    Raises:
      FileNotFoundError: no such file.
      ValueError: no prompts, or a malformed row (FILE:LINE and field).
    """
    return {
        require(row, "name", str, location): JudgePrompt(
            require(row, "system_prompt", str, location),
            require(row, "prompt_template", str, location),
        )
        for location, row in rows_of(path, "--judge-prompts")
    }


def rows_of(path: Path, flag: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The rows of a file, with their locations.

    Raises:
      FileNotFoundError, ValueError: as `read_questions`.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{flag} {path}: no such file; FastChat has MT-Bench's files below "
            "fastchat/llm_judge/data"
        )
    empty = True
    for location, row in files.read_rows(path):
        empty = False
        if not isinstance(row, Mapping):
            raise ValueError(f"{location}: {row}")
        yield location, row
    if empty:
        raise ValueError(f"{flag} {path} holds no rows")


def require(row: Mapping[str, Any], field: str, kind: type, location: str) -> Any:
    """A field of a row, of this type.

    Raises:
      ValueError: it is missing, or of another type.
    """
    value = row.get(field)
    if not isinstance(value, kind) or isinstance(value, bool):
        shown = shorten(repr(value)) if field in row else "missing"
        raise ValueError(
            f"{location}: field {field!r} is {shown}; expected {KIND_NAMES[kind]}"
        )
    return value


KIND_NAMES = {int: "a whole number", str: "a text", list: "a list"}


def require_texts(
    value: Any, field: str, location: str, *, empty: bool = False
) -> tuple[str, ...]:
    """One or two texts.

    Args:
      empty: whether they may be empty.

    Raises:
      ValueError: they are others.
    """
    texts: Sequence[Any] = value if isinstance(value, list) else ()
    if not 1 <= len(texts) <= TURNS or not all(
        isinstance(text, str) and (empty or text.strip()) for text in texts
    ):
        raise ValueError(
            f"{location}: field {field!r} is {shorten(repr(value))}; expected a list "
            "of one or two texts, for two turns at most"
        )
    return tuple(texts)
