"""Preferences split by how alike their two answers are."""

import difflib
from collections.abc import Sequence
from pathlib import Path

from jaxalign.data.formats import row_writer
from jaxalign.data.records import Preference, answer_content
from jaxalign.pipeline import datasets
from jaxalign.runtime import distributed
from jaxalign.runtime.config import RunConfig

HELD_OUT = 512  # held-out preferences at most


def similarity(pair: Preference) -> float:
    """The share of words that two answers have in common and in order, in [0, 1].

    >>> pair = Preference([], "it is 4.", "it is 5.")
    >>> round(similarity(pair), 3)
    0.667
    """
    chosen, rejected = (answer_content(x).split() for x in (pair.chosen, pair.rejected))
    return difflib.SequenceMatcher(None, chosen, rejected, autojunk=False).ratio()


def split_pairs(
    pairs: Sequence[Preference],
) -> tuple[list[Preference], list[Preference]]:
    """The half of the pairs whose answers are most alike, and the other half.

    Pairs of the same answer are in neither; a median pair is in the second.
    """
    pairs = [pair for pair in pairs if pair.chosen != pair.rejected]
    order = sorted(pairs, key=similarity, reverse=True)
    return order[: len(order) // 2], order[len(order) // 2 :]


def write_halves(
    folder: Path, config: RunConfig, *, names: tuple[str, str], pairs: int
) -> None:
    """Writes FOLDER/NAME/train.jsonl and test.jsonl of both halves of a data set.

    Args:
      names: of the half of the most alike, and of the other.
      pairs: most training pairs that are split.
    """
    source = datasets.load(config)
    datasets.check_held_out(source.preferences()[1], "a study of held-out pairs")
    for split, records, most in zip(
        ("train", "test"), source.preferences(), (pairs, HELD_OUT), strict=True
    ):
        for name, half in zip(names, split_pairs(records[:most]), strict=True):
            rows = [
                {
                    "prompt": pair.prompt,
                    "chosen": answer_content(pair.chosen),
                    "rejected": answer_content(pair.rejected),
                }
                for pair in half
            ]
            if distributed.is_first():
                (folder / name).mkdir(parents=True, exist_ok=True)
                row_writer.write_json_lines(folder / name / f"{split}.jsonl", rows)
    distributed.barrier("halves of the preferences")
