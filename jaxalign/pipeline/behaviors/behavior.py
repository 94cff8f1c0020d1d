"""A behavior by preference pairs: SFT data that show it, pairs that say when.

From each row of preferences a behavior makes SFT conversations, in which the assistant
does it, and pairs of both signs: in some the chosen answer does it where it should, in
others the rejected answer does it where it should not. Without the second sign a policy
learns to do it always.

    data = Behavior.data(rows, seed=0)
    write(folder, data)        # sft.jsonl and pairs.jsonl, for --data
"""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxalign.data.formats import row_writer
from jaxalign.data.records import Demonstration, Preference

SFT_STREAM, PAIR_STREAM = 0, 1  # random streams of a seed and row


class BehaviorData(NamedTuple):
    """What a behavior is trained on."""

    demonstrations: list[Demonstration]
    pairs: list[Preference]


@dataclasses.dataclass(frozen=True)
class Behavior:
    """A recipe of training data for a behavior.

    Attributes:
      name: of the behavior.
      demonstrations: (preference row, random generator) -> SFT conversations, first
        those that show the behavior; none where it does not apply to the row.
      pairs: (preference row, random generator) -> pairs of both signs.
    """

    name: str
    demonstrations: Callable[[Preference, np.random.Generator], list[Demonstration]]
    pairs: Callable[[Preference, np.random.Generator], list[Preference]]

    def data(self, rows: Sequence[Preference], *, seed: int) -> BehaviorData:
        """The training data of preference rows; what a row becomes depends on no other.

        Raises:
          ValueError: no row has the behavior, in SFT data or in pairs.
        """
        generator = lambda i, stream: np.random.default_rng([seed, i, stream])
        made = BehaviorData(
            [
                record
                for i, row in enumerate(rows)
                for record in self.demonstrations(row, generator(i, SFT_STREAM))
            ],
            [
                pair
                for i, row in enumerate(rows)
                for pair in self.pairs(row, generator(i, PAIR_STREAM))
            ],
        )
        if not (made.demonstrations and made.pairs):
            raise ValueError(
                f"none of {len(rows)} preference rows can show the behavior {self.name}"
            )
        return made


def write(folder: Path, data: BehaviorData, *, prefix: str = "") -> tuple[Path, Path]:
    """Write the data as FOLDER/sft.jsonl and FOLDER/pairs.jsonl.

    Args:
      prefix: of the names of the files.

    Returns:
      The two paths.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = folder / f"{prefix}sft.jsonl", folder / f"{prefix}pairs.jsonl"
    write_demonstrations(files[0], data.demonstrations)
    write_pairs(files[1], data.pairs)
    return files


def write_demonstrations(path: Path, records: Iterable[Demonstration]) -> Path:
    """Write SFT conversations as JSON lines."""
    row_writer.write_json_lines(path, [{"messages": r.messages} for r in records])
    return path


def write_pairs(path: Path, pairs: Iterable[Preference]) -> Path:
    """Write pairs as JSON lines."""
    rows = [
        {"prompt": p.prompt, "chosen": p.chosen, "rejected": p.rejected} for p in pairs
    ]
    row_writer.write_json_lines(path, rows)
    return path
