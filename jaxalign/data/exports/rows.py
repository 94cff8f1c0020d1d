"""Rows of files, those of annotation tools' exports as rows of our layouts."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from jaxalign.data.exports import argilla, label_studio, potato
from jaxalign.data.row_errors import MalformedRow, UnusableRow

READERS = (label_studio, argilla, potato)


def expand_rows(rows: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """Replaces a row of an export by a row for each of its annotations.

    All other rows are passed on unchanged.

    Args:
      rows: (location, row) pairs.

    Yields:
      (location, row) pairs; a `MalformedRow` or an `UnusableRow` stands for what cannot
      be read or used.
    """
    for location, row in rows:
        reader = next((r for r in READERS if matches(r, row)), None)
        if reader is None:
            yield location, row
            continue
        found = False
        try:
            for judged in reader.judgements(row):
                found = True
                yield location, judged
        except (MalformedRow, UnusableRow) as error:
            found = True
            yield location, error
        if not found:
            yield location, UnusableRow("without an annotation")


def matches(reader: Any, row: Any) -> bool:
    """Whether a row is of the export that a module reads."""
    return isinstance(row, Mapping) and bool(reader.is_export(row))
