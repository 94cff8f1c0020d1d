"""Files of answers: those of `experiments.generate`, and others with a prompt.

A row is `{"prompt": text or messages, "answer": text, "model": name, "tokens": number,
"ended": bool, "settings": {...}}` with the other fields of the prompt's row beside
these; `--data` reads such a file too. AlpacaEval's outputs (`instruction`, `output`,
`generator`) and the other layouts of a prompt with its answer are read as well.
"""

import os
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, TypeVar, cast

from jaxalign import messages
from jaxalign.data import records
from jaxalign.data.formats import files
from jaxalign.data.records import Demonstration, Prompt
from jaxalign.data.row_errors import MalformedRow, UnusableRow
from jaxalign.data.schemas import parser
from jaxalign.data.schemas.field_names import ANSWER_FIELDS

Kind = TypeVar("Kind", Prompt, Demonstration)
MODEL_FIELDS = ("model", "generator")


class AnswerRow(NamedTuple):
    """An answer to a prompt, and who gave it.

    Attributes:
      prompt: its `fields` are the row's other fields, such as a category.
      answer: the text, which may be empty.
      model: name of the model; "" where the file does not say.
      tokens: in the answer, its stop token included; None if unknown.
      ended: whether it ended with a stop token; None if unknown.
      settings: of the sampling.
    """

    prompt: Prompt
    answer: str
    model: str = ""
    tokens: int | None = None
    ended: bool | None = None
    settings: Mapping[str, Any] = {}


def write_row(row: AnswerRow) -> dict[str, Any]:
    """An answer as a JSON row, without what is unknown."""
    known = {
        "model": row.model or None,
        "tokens": row.tokens,
        "ended": row.ended,
        "settings": dict(row.settings) or None,
    }
    references = list(row.prompt.references)
    own = records.prompt_fields(row.prompt) | {"answer": row.answer}
    own |= {k: v for k, v in known.items() if v is not None}
    if references:
        own["references"] = references
    return own | {k: v for k, v in row.prompt.fields.items() if k not in own}


def read_answers(path: str | os.PathLike[str]) -> list[AnswerRow]:
    """The answers of a file, or of all files of a folder, in order.

    Raises:
      FileNotFoundError: no such file.
      ValueError: a row without a prompt or an answer (FILE:LINE and the field), or no
        row at all.
    """
    rows = list(parse_rows(path))
    if not rows:
        raise ValueError(f"{os.fspath(path)} holds no answers")
    return rows


def parse_rows(path: str | os.PathLike[str]) -> Iterator[AnswerRow]:
    """The answers of a file, one after the other; see `read_answers`."""
    for file in files.list_all_files(path):
        for location, row in files.read_rows(file):
            try:
                if isinstance(row, MalformedRow | UnusableRow):
                    raise row
                yield parse_answer_row(row, location)
            except (MalformedRow, UnusableRow, RecursionError) as error:
                reason = messages.one_line(error)
                raise ValueError(f"{location}: {reason}") from error


def parse_answer_row(row: Any, location: str) -> AnswerRow:
    """An answer from a row.

    Raises:
      MalformedRow, UnusableRow: it has no prompt, or no answer.
    """
    if not isinstance(row, Mapping):
        raise MalformedRow("is not a JSON object")
    for name in ("chosen", "answers"):
        if isinstance(row.get(name), str | list) and not row.get("tools"):
            raise MalformedRow(f"field {name!r}: expected one answer, not several")
    texts = [row[name] for name in ANSWER_FIELDS if isinstance(row.get(name), str)]
    if len(set(texts)) == 1:
        # an answer may be empty, which a row to train on may not
        without = {k: v for k, v in row.items() if k not in ANSWER_FIELDS}
        prompt = parse_one(without, Prompt, location)
        answer = texts[0]
    else:
        prompt = parse_one(row, Prompt, location)
        example = parse_one(row, Demonstration, location)
        answer = records.answer_content(example.messages[-1])
    fields = dict(prompt.fields)
    models = [str(fields.pop(name)) for name in MODEL_FIELDS if fields.get(name)]
    tokens, ended = fields.pop("tokens", None), fields.pop("ended", None)
    settings = fields.pop("settings", None)
    return AnswerRow(
        Prompt(prompt.messages, location, prompt.references, prompt.tools, fields),
        answer,
        models[0] if models else "",
        tokens if isinstance(tokens, int) else None,
        ended if isinstance(ended, bool) else None,
        settings if isinstance(settings, Mapping) else {},
    )


def parse_one(row: Mapping[str, Any], kind: type[Kind], location: str) -> Kind:
    """The only record of a row.

    Raises:
      MalformedRow: it has several, as a tree of replies has.
    """
    parsed = list(parser.parse_row(row, kind, location))
    if len(parsed) != 1:
        raise MalformedRow(f"holds {len(parsed)} prompts; expected one, with an answer")
    return cast(Kind, parsed[0])
