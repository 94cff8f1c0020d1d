"""The answers of a row to its prompt, whichever layout it has, as texts to show."""

import contextlib
import itertools
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

from jaxalign.data.formats import files
from jaxalign.data.records import (
    Answer,
    Messages,
    Preference,
    Ranking,
    answer_content,
)
from jaxalign.data.row_errors import MalformedRow, UnusableRow
from jaxalign.data.schemas import parser
from jaxalign.messages import one_line

ORDER_FIELDS = ("scores", "ratings", "ranks", "rank")  # of the answers of a row


class Answers(NamedTuple):
    """Answers to one prompt.

    Attributes:
      location: file and line of the first.
      prompt: the messages.
      answers: their texts.
      fields: of the row; `source` has the source of each answer where it is known.
    """

    location: str
    prompt: Messages
    answers: list[str]
    fields: dict[str, Any]


def data_files(path: Path | str, kind: str) -> list[str]:
    """The files of a path; of a folder of `experiments.collect`, those of the kind."""
    folder = Path(path)
    for name in ("preferences", "rankings") if kind == "pairwise" else ("rankings",):
        if (folder / name / "train.jsonl").is_file():
            return [os.fspath(folder / name / "train.jsonl")]
    if (folder / "answers.jsonl").is_file():
        return [os.fspath(folder / "answers.jsonl")]
    return files.list_files(path)


def rows_of(names: Iterable[str]) -> Iterator[tuple[str, Any]]:
    """The (location, row) of files.

    Raises:
      ValueError: a row that cannot be read; names its place.
    """
    for location, row in itertools.chain.from_iterable(map(files.read_rows, names)):
        if isinstance(row, MalformedRow | UnusableRow):
            raise ValueError(f"{location}: {one_line(row)}") from row
        if not isinstance(row, Mapping):
            raise ValueError(f"{location}: is not a JSON object")
        yield location, row


@contextlib.contextmanager
def locate_errors(location: str) -> Iterator[None]:
    """A context whose errors of rows begin with their place.

    Raises:
      ValueError: the error of the context, with the place.
    """
    try:
        yield
    except (MalformedRow, UnusableRow, RecursionError) as error:
        raise ValueError(f"{location}: {one_line(error)}") from error


def parse_row_answers(
    row: Mapping[str, Any], location: str, *, keep_order: bool = False
) -> Answers | None:
    """The answers of a row that has several; None of a row with one.

    Args:
      keep_order: scores and ranks of the answers order them; without, they are kept as
        fields alone.

    Raises:
      MalformedRow, UnusableRow: says what is wrong with the row.
    """
    if isinstance(row.get("answers"), list):
        ordered = {k: v for k, v in row.items() if k in ORDER_FIELDS}
        rest = {k: v for k, v in row.items() if keep_order or k not in ORDER_FIELDS}
        if len(row["answers"]) == 1 and not keep_order:
            rest = {**rest, "answers": [*row["answers"], *row["answers"]]}
        ranking = cast(Ranking, next(parser.parse_row(rest, Ranking, location)))
        texts = [text_of(a, "answers") for a in ranking.answers][: len(row["answers"])]
        return Answers(location, ranking.prompt, texts, {**ranking.fields, **ordered})
    if "chosen" in row or "chosen_messages" in row:
        pair = cast(Preference, next(parser.parse_row(row, Preference, location)))
        texts = [text_of(pair.chosen, "chosen"), text_of(pair.rejected, "rejected")]
        return Answers(location, pair.prompt, texts, dict(pair.fields))
    return None


def text_of(answer: Answer, field: str) -> str:
    """The text of an answer.

    Raises:
      MalformedRow: it is a call of tools, which the page does not show.
    """
    if not isinstance(answer, str) and answer.get("tool_calls"):
        raise MalformedRow(f"field {field!r} calls tools; people judge texts")
    return answer_content(answer)
