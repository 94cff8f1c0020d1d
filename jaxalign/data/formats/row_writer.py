"""Rows to files: JSON lines or Parquet, whole or not at all."""

import collections
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxalign import lazy, messages
from jaxalign.atomic_files import atomic_path
from jaxalign.data.schemas.checks import json_type

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow import parquet
else:
    pa = lazy.module("pyarrow")
    parquet = lazy.module("pyarrow.parquet")


Rows = Sequence[Mapping[str, Any]]
AS_JSON = ("tools", "tool_calls")  # whose objects have other fields in every row


def write_json_lines(path: Path, rows: Rows) -> None:
    """Writes rows as JSON lines, UTF-8."""
    with atomic_path(path) as part, part.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def write_parquet(path: Path, rows: Rows) -> None:
    """Writes rows as Parquet, one column per field; missing values are null.

    Tools and tool calls are JSON texts, which readers here parse. An answer that is
    more than a text in some rows is a message in all of them.

    Raises:
      ValueError: a field that has no single type in all rows; names it.
    """
    converted = [{k: with_json_texts(k, v) for k, v in row.items()} for row in rows]
    columns: dict[str, list[Any]] = collections.defaultdict(lambda: [None] * len(rows))
    for i, row in enumerate(converted):
        for name, value in row.items():
            columns[name][i] = value
    arrays = {name: column_array(name, values) for name, values in columns.items()}
    with atomic_path(path) as part:
        parquet.write_table(pa.table(arrays), part)


def with_json_texts(name: str, value: Any) -> Any:
    """A value whose tools and tool calls are JSON texts, at all depths."""
    if name in AS_JSON:
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, Mapping):
        return {k: with_json_texts(k, v) for k, v in value.items()}
    return [with_json_texts("", v) for v in value] if isinstance(value, list) else value


def column_array(name: str, values: list[Any]) -> "pa.Array":
    """The values of a field as an array.

    Raises:
      ValueError: they have no single type.
    """
    if name in ("chosen", "rejected", "completion"):
        values = as_messages(values)
    if name == "answers" and any(isinstance(a, Mapping) for v in values for a in v):
        values = [as_messages(answers, always=True) for answers in values]
    try:
        array = pa.array(values)
    except (pa.ArrowException, TypeError, OverflowError) as error:
        kinds = sorted({json_type(v) for v in values if v is not None})
        raise ValueError(
            f"field {name!r} is {' or '.join(kinds)}, which one Parquet column cannot "
            f"hold ({messages.one_line(error, 100)}): write --format jsonl"
        ) from error
    if has_empty_struct(array.type):
        raise ValueError(
            f"field {name!r} has empty objects, which Parquet cannot hold: write "
            "--format jsonl"
        )
    return array


def as_messages(answers: list[Any], *, always: bool = False) -> list[Any]:
    """Answers as messages, where one of them is a message; or always."""
    if not always and not any(isinstance(answer, Mapping) for answer in answers):
        return answers
    return [
        {"role": "assistant", "content": a} if isinstance(a, str) else a
        for a in answers
    ]


def has_empty_struct(kind: "pa.DataType") -> bool:
    """Whether a type, or one nested in it, is an object without fields."""
    inner = [kind.field(i).type for i in range(kind.num_fields)]
    return pa.types.is_struct(kind) and not inner or any(map(has_empty_struct, inner))


WRITERS: dict[str, Callable[[Path, Rows], None]] = {
    "jsonl": write_json_lines,
    "parquet": write_parquet,
}
