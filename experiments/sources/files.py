"""Records in files of the user's own."""

import functools
from pathlib import Path
from typing import Any

from experiments.config import Shared
from experiments.sources.source import Source, both
from jaxalign.data import formats
from jaxalign.data.records import Demonstration, Preference, Prompt, Ranking, Report
from jaxalign.data.records import pairs as pairs_of


def from_path(config: Shared, path: Path) -> Source:
    """Records of the user's own: a file, or a folder with train.* and test.* files.

    Of a single file, every tenth record is held out.
    """

    def splits(kind: Any) -> tuple[list[Any], list[Any]]:
        read = functools.partial(
            formats.read, kind=kind, skip_bad_rows=config.skip_bad_rows
        )
        if path.is_dir():
            return shown(read(one(path, "train"))), shown(read(one(path, "test")))
        found = shown(read(path))
        rest = [r for i, r in enumerate(found) if i % 10 != 9]
        return rest, found[9::10] or found[-1:]

    def shown(read: tuple[list[Any], Report]) -> list[Any]:
        print(f"{path}: {read[1]}")
        return read[0]

    first = one(path, "train") if path.is_dir() else path
    ranked = formats.holds_rankings(first)
    rankings = functools.cache(lambda: splits(Ranking))

    @functools.cache
    def preferences() -> tuple[list[Preference], list[Preference]]:
        return both(pairs_of, rankings()) if ranked else splits(Preference)

    return Source(
        name=str(path),
        context=512,
        vocab=4096,
        max_new_tokens=128,
        sft_steps=200,
        demonstrations=functools.cache(lambda: splits(Demonstration)[0]),
        prompts=lambda: splits(Prompt),
        preferences=preferences,
        rankings=rankings if ranked else None,
    )


def one(folder: Path, split: str) -> Path:
    """The file of a split.

    Raises:
      FileNotFoundError: there is none.
    """
    for ending in formats.ENDINGS:
        if (folder / f"{split}{ending}").exists():
            return folder / f"{split}{ending}"
    raise FileNotFoundError(f"{folder} holds no {split}.jsonl (or .jsonl.gz, .json)")
