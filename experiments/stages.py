"""How one experiment runs others: each in a folder of its own, and only once."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from experiments.config import Shared

PASSED = (
    *("seed", "liked", "data_path", "context", "overlong", "skip_bad_rows"),
    *("mesh", "dtype", "remat"),
)


def stages(config: Shared, out: Path) -> Callable[..., None]:
    """The function that runs a stage: `stage(name, main, model=..., data=...)`.

    The stage's own flags are the field of that name of `config`; the shared ones are
    passed on. With `--resume`, what is finished is left alone, and what was begun goes
    on.
    """

    def stage(name: str, main: Callable[[Any], Any], **others: Any) -> None:
        folder = out / name
        if config.resume and (folder / "numbers.json").exists():
            return
        shared = {field: getattr(config, field) for field in PASSED}
        begun = config.resume and (folder / "checkpoints").exists()
        main(
            dataclasses.replace(
                getattr(config, name), out=folder, resume=begun, **(shared | others)
            )
        )

    return stage


def seeded(config: Any, out: Path) -> Iterator[Any]:
    """The configuration for each of its seeds; of several, in a folder for each."""
    for seed in range(config.seed, config.seed + config.seeds):
        folder = out if config.seeds == 1 else out / f"seed-{seed}"
        yield dataclasses.replace(config, seed=seed, out=folder)
