"""Records from files: JSON lines, plain or gzipped, JSON arrays, and TFDS sources.

The layouts that people have are told apart by their fields:

    prompt + completion         {"prompt": text or messages, "completion": text}
    messages                    {"messages": [{"role": ..., "content": ...}, ...]}
    instructions                {"instruction": ..., "input": ..., "output": ...}
    conversations               {"conversations": [{"from": "human", "value": ...}]}
    preference pair             {"prompt", "chosen", "rejected", "margin" (may lack)}
    dialogues                   {"chosen": "\\n\\nHuman: ...", "rejected": ...}
    ranking of K                {"prompt": ..., "answers": [best, ..., worst]}
    unpaired label              {"prompt": ..., "completion": ..., "label": true}
"""

import collections
import gzip
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from jaxalign.data import hh_rlhf
from jaxalign.data.records import (
    Demonstration,
    Messages,
    Preference,
    Prompt,
    Ranking,
    Record,
    Report,
    Unpaired,
    said,
)

ROLES = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "system": "system",
}
ENDINGS = (".jsonl", ".jsonl.gz", ".json")


class Malformed(ValueError):
    """A row that lacks something; says which field."""


def read(
    path: str | os.PathLike[str], kind: type[Record], *, skip_bad_rows: bool = False
) -> tuple[list[Any], Report]:
    """The records of a file, or of all files of a folder.

    Args:
      kind: the record wanted: Demonstration, Preference, Ranking, Unpaired or Prompt.
      skip_bad_rows: count malformed rows rather than stop at the first.

    Raises:
      FileNotFoundError: no such file.
      ValueError: a malformed row (file, line and field are named), or no rows at all.
    """
    rows = (row for file in files(Path(path)) for row in rows_of(file))
    records, report = parse(rows, kind, skip_bad_rows=skip_bad_rows)
    if not records:
        raise ValueError(f"{path} holds no usable rows: {report}")
    return records, report


def from_tfds(
    source: Iterable[Mapping[str, Any]], kind: type[Record], *, name: str
) -> tuple[list[Any], Report]:
    """The records of a `tensorflow_datasets` source, whose texts are bytes."""
    rows = ((f"{name}:{i}", texts(dict(row))) for i, row in enumerate(source))
    return parse(rows, kind, skip_bad_rows=False)


def texts(value: Any) -> Any:
    """Bytes as text, wherever they are."""
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, Mapping):
        return {k: texts(v) for k, v in value.items()}
    if isinstance(value, list | tuple) or hasattr(value, "tolist"):
        plain = value.tolist() if hasattr(value, "tolist") else value
        return [texts(v) for v in plain] if isinstance(plain, list | tuple) else plain
    return value


def parse(
    rows: Iterable[tuple[str, Any]], kind: type[Record], *, skip_bad_rows: bool
) -> tuple[list[Any], Report]:
    """Rows as records; odd dialogues are counted, malformed rows if told."""
    records, read, reasons = [], 0, collections.Counter[str]()
    for where, row in rows:
        read += 1
        try:
            if isinstance(row, Exception):
                raise Malformed(f"is not JSON ({row})")
            if not isinstance(row, dict):
                raise Malformed("is not a JSON object")
            records.append(PARSERS[kind](row, where))
        except hh_rlhf.Odd as odd:
            reasons[str(odd)] += 1
        except Malformed as error:
            if not skip_bad_rows:
                raise ValueError(
                    f"{where}: {error}; mend the row, or pass --skip-bad-rows to "
                    "leave such rows out and count them"
                ) from error
            reasons["malformed"] += 1
    return records, Report(read, len(records), reasons)


def files(path: Path) -> list[Path]:
    """The file, or the files of the folder."""
    if path.is_dir():
        found = sorted(p for p in path.iterdir() if p.name.endswith(ENDINGS))
        if not found:
            raise FileNotFoundError(f"the folder {path} holds no {', '.join(ENDINGS)}")
        return found
    if not path.exists():
        raise FileNotFoundError(f"no such file: {path}")
    return [path]


def rows_of(path: Path) -> Iterator[tuple[str, Any]]:
    """Rows with where they stand; a line that is not JSON comes as its error."""
    if path.suffix == ".json":
        try:
            whole = json.loads(path.read_text())
        except ValueError as error:
            raise ValueError(f"{path} is not JSON: {error}") from error
        entries = whole if isinstance(whole, list) else [whole]
        yield from ((f"{path}:{i + 1}", row) for i, row in enumerate(entries))
        return
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                yield f"{path}:{number}", json.loads(line)
            except ValueError as error:
                yield f"{path}:{number}", error


def text_of(row: Mapping[str, Any], field: str) -> str:
    """A text field, or the content of a message in it."""
    value = row.get(field)
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, Mapping):
        value = value.get("content", value.get("value"))
    if not isinstance(value, str):
        kind = "is missing" if field not in row else f"is {type(value).__name__}"
        raise Malformed(f"field {field!r} {kind}, and should be text")
    return value


def messages_of(value: Any, field: str) -> Messages:
    """Messages, from a text, role/content or from/value dicts."""
    if isinstance(value, str):
        return [{"role": "user", "content": value}]
    if not isinstance(value, list) or not value:
        raise Malformed(f"field {field!r} should be text or a list of messages")
    messages = []
    for i, message in enumerate(value):
        if not isinstance(message, Mapping):
            raise Malformed(f"field {field!r}, message {i}: is not an object")
        role = message.get("role", message.get("from"))
        content = message.get("content", message.get("value"))
        if isinstance(content, list):
            content = "".join(
                part.get("value", part.get("text", "")) for part in content
            )
        if role not in ROLES or not isinstance(content, str):
            raise Malformed(
                f"field {field!r}, message {i}: wants a role of {sorted(ROLES)} and "
                f"text as content, has role {role!r}"
            )
        messages.append({"role": ROLES[role], "content": content})
    return messages


def prompt_of(row: Mapping[str, Any]) -> Messages:
    """The prompt, in whichever field it is."""
    for field in ("prompt", "messages", "conversations"):
        if field in row:
            return messages_of(row[field], field)
    if "instruction" in row:
        parts = (text_of(row, "instruction"), str(row.get("input") or ""))
        return messages_of("\n".join(filter(None, parts)), "instruction")
    raise Malformed(
        "field 'prompt' (or messages, conversations, instruction) is missing"
    )


def demonstration(row: Mapping[str, Any], where: str) -> Demonstration:
    """A row to imitate; of a pair, the chosen answer."""
    if "chosen" in row and "rejected" in row:
        pair = preference(row, where)
        return Demonstration([*pair.prompt, said(pair.chosen)], where)
    messages = prompt_of(row)
    for field in ("completion", "output", "answer"):
        if field in row:
            messages = [*messages, said(text_of(row, field))]
            break
    if messages[-1]["role"] != "assistant" or len(messages) < 2:
        raise Malformed("has no answer: no completion, output, or assistant's message")
    return Demonstration(messages, where)


def preference(row: Mapping[str, Any], where: str) -> Preference:
    """A pair, in any of its layouts."""
    for field in ("chosen", "rejected"):
        if field not in row:
            raise Malformed(f"field {field!r} is missing")
    if "prompt" not in row and hh_rlhf.is_dialogue(row):
        return hh_rlhf.preference(row, where)
    chosen, rejected = row["chosen"], row["rejected"]
    if isinstance(chosen, list) and isinstance(rejected, list) and len(chosen) > 1:
        chosen, rejected = (
            messages_of(chosen, "chosen"),
            messages_of(rejected, "rejected"),
        )
        if chosen[:-1] != rejected[:-1]:
            raise Malformed(
                "fields 'chosen' and 'rejected' differ before the last message"
            )
        prompt, answers = chosen[:-1], (chosen[-1]["content"], rejected[-1]["content"])
    else:
        prompt, answers = (
            prompt_of(row),
            (text_of(row, "chosen"), text_of(row, "rejected")),
        )
    margin = row.get("margin") or 0.0
    if not isinstance(margin, int | float):
        raise Malformed(
            f"field 'margin' is {type(margin).__name__}, should be a number"
        )
    return Preference(prompt, *answers, margin=float(margin), where=where)


def ranking(row: Mapping[str, Any], where: str) -> Ranking:
    """Answers, best first."""
    answers = row.get("answers")
    if not isinstance(answers, list) or len(answers) < 2:
        raise Malformed("field 'answers' should be a list of two or more, best first")
    return Ranking(prompt_of(row), tuple(map(str, answers)), where)


def unpaired(row: Mapping[str, Any], where: str) -> Unpaired:
    """An answer with a thumb up or down."""
    for field in ("label", "kto_tag", "desirable"):
        if field in row:
            if not isinstance(row[field], bool | int):
                raise Malformed(f"field {field!r} should be true or false")
            whole = demonstration(row, where).messages
            label = bool(row[field])
            return Unpaired(whole[:-1], whole[-1]["content"], label, where)
    raise Malformed("field 'label' is missing")


def prompt(row: Mapping[str, Any], where: str) -> Prompt:
    """A prompt; an assistant's message at its end is the answer, and left out."""
    if "chosen" in row and "prompt" not in row:
        return Prompt(preference(row, where).prompt, where)
    messages = prompt_of(row)
    answered = messages[-1]["role"] == "assistant"
    return Prompt(messages[:-1] if answered else messages, where)


PARSERS: dict[Any, Callable[[Mapping[str, Any], str], Record]] = {
    Demonstration: demonstration,
    Preference: preference,
    Ranking: ranking,
    Unpaired: unpaired,
    Prompt: prompt,
}
