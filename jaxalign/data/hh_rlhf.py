"""Anthropic's HH-RLHF as published: four folders of gzipped dialogues.

Reference: Bai et al. 2022, arXiv:2204.05862.
"""

import os
from pathlib import Path
from typing import NamedTuple

from jaxalign.data import readers
from jaxalign.data.formats.row_limits import MAX_ROW_CHARS
from jaxalign.data.records import Preference, RowReport, row_number

SUBSETS = (
    "helpful-online",
    "helpful-rejection-sampled",
    "harmless-base",
    "helpful-base",
)
# without training files, this test file is held out, and the last tenth of the other
HELD_OUT_SUBSET = "helpful-base"
DIVIDED_SUBSET = "harmless-base"


class Splits(NamedTuple):
    """Training and held-out pairs, as the data set divides them.

    No full prompt is in both. Conversations of both may begin with the same message.
    """

    train: list[Preference]
    held_out: list[Preference]
    report: RowReport


def load(
    folder: str | os.PathLike[str],
    *,
    skip_bad_rows: bool = False,
    max_row_chars: int = MAX_ROW_CHARS,
) -> Splits:
    """Load the splits of the four subsets in a folder.

    Of each subset, train.jsonl.gz is the training split and test.jsonl.gz is held out,
    as published. Without training files, the test files of helpful-online and
    helpful-rejection-sampled and the first 90 % of the lines of harmless-base are the
    training split; helpful-base and the rest of harmless-base are held out.

    Args:
      skip_bad_rows, max_row_chars: see `readers.read`.

    Raises:
      FileNotFoundError: a subset is missing.
      ValueError: a malformed row.
    """
    root = Path(folder)
    train: list[Preference] = []
    held_out: list[Preference] = []
    report = RowReport(0, 0)
    has_train = any((root / name / "train.jsonl.gz").exists() for name in SUBSETS)
    for name in SUBSETS:
        for split in ("train", "test") if has_train else ("test",):
            pairs, file_report = readers.read(
                root / name / f"{split}.jsonl.gz",
                Preference,
                skip_bad_rows=skip_bad_rows,
                max_row_chars=max_row_chars,
            )
            report += file_report
            if has_train:
                boundary = len(pairs) if split == "train" else 0
            elif name == DIVIDED_SUBSET:
                last_line = file_report.total * 9 // 10
                boundary = sum(row_number(pair) <= last_line for pair in pairs)
            else:
                boundary = 0 if name == HELD_OUT_SUBSET else len(pairs)
            train += pairs[:boundary]
            held_out += pairs[boundary:]
    return Splits(train, held_out, report)
