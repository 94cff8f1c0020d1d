"""Files of judged comparisons: JSON lines, JSON, CSV or Parquet, or folders of them.

The layouts of their rows are in `comparison_rows`. A study's folder is read, too: its
pairs whose answers are of two models.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from jaxalign import messages
from jaxalign.data.formats import files
from jaxalign.data.row_errors import MalformedRow
from jaxalign.feedback import store
from jaxalign.feedback.export import export_rows
from jaxalign.pipeline.comparisons.comparison_rows import Comparison, parse_comparison

JUDGEMENTS = "judgements.jsonl"  # of a folder with this file, the others are reports


def read_comparisons(
    paths: os.PathLike[str] | str | Sequence[os.PathLike[str] | str],
) -> list[Comparison]:
    """Reads the comparisons of files or folders, in order.

    Of a folder it reads `judgements.jsonl` if that is there, else all data files.

    Raises:
      FileNotFoundError: no such file, or no data file in a folder.
      ValueError: a row that is no comparison, in one sentence with FILE:LINE, or no row
        at all.
    """
    several = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    names = [judgement_file(os.fspath(path)) for path in several]
    comparisons = list(parse_rows(names))
    if not comparisons:
        raise ValueError(f"{files.describe_paths(names)} holds no comparisons")
    return comparisons


def judgement_file(path: str) -> str:
    """The path; of a folder that `experiments.compare` wrote, its judgements."""
    inner = Path(path) / JUDGEMENTS
    return str(inner) if inner.is_file() else path


def parse_rows(paths: Sequence[str]) -> Iterator[Comparison]:
    """The comparisons of files, one after the other; see `read_comparisons`."""
    for rows in map(rows_of, list_sources(paths)):
        for location, row in rows:
            try:
                if isinstance(row, MalformedRow):
                    raise row
                yield parse_comparison(row, location)
            except (MalformedRow, RecursionError) as error:
                raise ValueError(f"{location}: {messages.one_line(error)}") from error


def list_sources(paths: Sequence[str]) -> list[str]:
    """The files of paths, and the folders of studies."""
    studies = list(filter(store.is_study, paths))
    files_of = [path for path in paths if path not in studies]
    return studies + (files.list_all_files(files_of) if files_of else [])


def rows_of(path: str) -> Iterable[tuple[str, Any]]:
    """The (location, row) pairs of a file, or of the battles of a study."""
    if not store.is_study(path):
        yield from files.read_rows(path)
        return
    battles = export_rows(store.items(path), store.judgements(path)).rows["battles"]
    if not battles:
        raise ValueError(
            f"{path} is a study without battles: they are judged pairs whose answers "
            "are of two models"
        )
    for i, row in enumerate(battles):
        yield f"{path}/{store.STUDY_FILE}:{i + 1}", row
