"""Tokenized examples in a folder that `token_cache.write` made, read row by row."""

import collections
import itertools
import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxalign.data.examples import Example, TokenRow
from jaxalign.data.records import RowReport


class CachedExamples(Sequence[Example]):
    """Examples on disk; each is read when it is indexed.

    Attributes:
      rows: number of each example in the data set [R].
      values: `Example.value` of each, float32 [R].
      label_probs: `Example.label_prob` of each, float32 [R].
      prompt_hashes: `Example.prompt_hash` of each, uint64 [R].
      longest: tokens of the longest sequence.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sequence_ends = np.load(folder / "sequence_ends.npy")
        self.example_ends = np.load(folder / "example_ends.npy")
        self.rows = np.load(folder / "rows.npy")
        self.values = np.load(folder / "values.npy")
        self.label_probs = np.load(folder / "label_probs.npy")
        self.prompt_hashes = np.load(folder / "prompts.npy")
        self.longest = int(np.diff(self.sequence_ends, prepend=0).max())
        self.file = os.open(folder / "tokens", os.O_RDONLY)

    def __del__(self) -> None:
        if hasattr(self, "file"):
            os.close(self.file)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i):  # type: ignore[no-untyped-def]
        if isinstance(i, slice):
            return [self[k] for k in range(*i.indices(len(self)))]
        i = range(len(self))[i]
        first, last = self.example_ends[i - 1] if i else 0, self.example_ends[i]
        start = int(self.sequence_ends[first - 1]) if first else 0
        cuts = [start, *self.sequence_ends[first:last]]
        begin, end = int(cuts[0]), int(cuts[-1])
        data = os.pread(self.file, 4 * (end - begin), 4 * begin)
        stored = np.frombuffer(data, np.int32)
        sequences = tuple(
            decode_row(stored[a - begin : b - begin])
            for a, b in itertools.pairwise(cuts)
        )
        return Example(
            sequences,
            int(self.rows[i]),
            float(self.values[i]),
            int(self.prompt_hashes[i]),
            label_prob=float(self.label_probs[i]),
        )

    @property
    def sizes(self) -> np.ndarray:
        """Tokens of each example, over its sequences [R]."""
        return np.diff(self.sequence_ends[self.example_ends - 1], prepend=0)

    def row_numbers(self, indices: np.ndarray) -> dict[str, list[int]]:
        """Numbers of examples' rows in their files, by file; from 1, 0 if unknown."""
        places = np.load(self.folder / "places.npy")[indices]
        shards = np.load(self.folder / "shards.npy")[indices]
        names = json.loads((self.folder / "files.json").read_text())
        by_file = {names[i]: places[shards == i] for i in np.unique(shards)}
        return {name: np.unique(numbers).tolist() for name, numbers in by_file.items()}

    @property
    def rows_report(self) -> str:
        """The numbers of rows read and skipped, as text; "" if unknown."""
        return str(json.loads((self.folder / "report.json").read_text())["rows"])

    @property
    def report(self) -> RowReport:
        """The numbers of records tokenized, cut and dropped."""
        counts = json.loads((self.folder / "report.json").read_text())
        reasons = collections.Counter(counts["reasons"])
        return RowReport(counts["read"], counts["kept"], reasons)


def decode_row(stored: np.ndarray) -> TokenRow:
    """A sequence from its stored form, in which a trained token t is ~t.

    Args:
      stored: int32 [T].
    """
    mask = stored < 0
    return TokenRow(np.where(mask, ~stored, stored), mask)
