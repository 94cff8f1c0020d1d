"""How one experiment runs others: each in a folder of its own, and only once."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from experiments.config import Shared

PASSED = (
    *("seed", "liked", "data_path", "context", "overlong", "skip_bad_rows"),
    *("held_out", "held_out_seed", "mesh", "dtype", "remat"),
    "compilation_cache",
)


def told(config: Any, name: str, folder: Path, **others: Any) -> Any:
    """The flags of a stage, the field of that name, with the shared ones passed on."""
    shared = {field: getattr(config, field) for field in PASSED}
    if others.get("data", config.data) == config.data:  # not what a stage made
        shared["held_out_data"] = config.held_out_data
    return dataclasses.replace(getattr(config, name), out=folder, **(shared | others))


def stages(config: Shared, out: Path) -> Callable[..., None]:
    """The function that runs a stage: `stage(name, main, model=..., data=...)`.

    Its folder is OUT/NAME, its flags are the field of that name of `config`, or of
    another that `flags` names. With `--resume`, what is finished is left alone, and
    what was begun goes on.
    """

    def stage(
        name: str, main: Callable[[Any], Any], *, flags: str = "", **others: Any
    ) -> None:
        folder = out / name
        if config.resume and (folder / "numbers.json").exists():
            return
        begun = config.resume and (folder / "checkpoints").exists()
        main(told(config, flags or name, folder, resume=begun, **others))

    return stage


def seeded(config: Any, out: Path) -> Iterator[Any]:
    """The configuration for each of its seeds; of several, in a folder for each."""
    for seed in range(config.seed, config.seed + config.seeds):
        folder = out if config.seeds == 1 else out / f"seed-{seed}"
        yield dataclasses.replace(config, seed=seed, out=folder)
