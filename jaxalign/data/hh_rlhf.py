"""Anthropic's HH-RLHF as it is published: four folders of gzipped dialogues.

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
HELD_OUT_SUBSET = "helpful-base"  # where there are no training files
DIVIDED_SUBSET = "harmless-base"  # of which the last tenth is then held out too


class Splits(NamedTuple):
    """Pairs to train on and pairs to test on, as the data set states them.

    No whole prompt is in both; conversations of both may begin with the same message.
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
    """The splits of the four subsets below a folder.

    As published, train.jsonl.gz of each subset is for training and test.jsonl.gz is
    held out. With the test files alone: helpful-online, helpful-rejection-sampled and
    the first 90 % of harmless-base (by lines) are for training, helpful-base and the
    rest of harmless-base are held out.

    Raises:
      FileNotFoundError: a subset is missing.
      ValueError: a malformed row.
    """
    root = Path(folder)
    train: list[Preference] = []
    held_out: list[Preference] = []
    report = RowReport(0, 0)
    published = any((root / name / "train.jsonl.gz").exists() for name in SUBSETS)
    for name in SUBSETS:
        for split in ("train", "test") if published else ("test",):
            path = root / name / f"{split}.jsonl.gz"
            found, part = readers.read(
                path,
                Preference,
                skip_bad_rows=skip_bad_rows,
                max_row_chars=max_row_chars,
            )
            report += part
            if published:
                cut = len(found) if split == "train" else 0
            elif name == DIVIDED_SUBSET:
                cut = sum(row_number(p) <= part.total * 9 // 10 for p in found)
            else:
                cut = 0 if name == HELD_OUT_SUBSET else len(found)
            train += found[:cut]
            held_out += found[cut:]
    return Splits(train, held_out, report)
