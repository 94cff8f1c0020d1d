"""How one experiment runs others: each in a folder of its own, and only once."""

import dataclasses
import zlib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from jaxalign.runtime import defaults, distributed, folder_cleanup, run_settings
from jaxalign.runtime.config import RunConfig
from jaxalign.runtime.flags import resumable_fields

SHARED_FLAGS = (
    *("seed", "liked", "data_path", "context", "overlong", "skip_bad_rows"),
    *("held_out", "held_out_seed", "mesh", "dtype", "remat"),
    *("keep_special_tokens", "template_date"),
    "compilation_cache",
)
INPUTS = "inputs.json"  # digests of what a stage was made from


def stage_config(config: Any, name: str, folder: Path, **others: Any) -> Any:
    """The flags of a stage, the field of that name, with the shared ones passed on.

    What depends on the stage's model is set, see `jaxalign.runtime.defaults`.
    """
    shared = {field: getattr(config, field) for field in SHARED_FLAGS}
    if others.get("data", config.data) == config.data:  # not what a stage made
        shared["held_out_data"] = config.held_out_data
    stage = getattr(config, name)
    shared["extend"] = config.extend or stage.extend
    stage = dataclasses.replace(stage, out=folder, **(shared | others))
    own = defaults.TOY_STAGES.get(config.EXPERIMENT, {}).get(name)
    return defaults.resolve(stage, own)


def begin_pipeline(
    config: RunConfig, out: Path, *, extendable: Collection[str] = ()
) -> None:
    """Keeps the flags of a run of many stages in OUT/config.json.

    With `--resume` they must be the same; those of the stages are compared where each
    stage is, so that flags of what has not begun may change.

    Args:
      extendable: flags that may change nevertheless: those of a longer run, and those of
        evaluations, which are made anew.

    Raises:
      ValueError: names the flag that differs, then and now; or, without `--resume`, the
        folder holds a run.
    """
    if distributed.is_first():
        folder_cleanup.create_locked(out)
    settings = {
        name: value
        for name, value in run_settings.to_json(config).items()
        if not isinstance(value, dict)
    }
    if config.resume and (out / "config.json").exists():
        free = resumable_fields(type(config)).union(extendable)
        run_settings.check_settings(out, settings, free=free)
    if not config.resume and any(out.glob("*/checkpoints/*")):
        raise ValueError(
            f"{out} already holds a run: add --resume to go on with it, or choose "
            "another --out"
        )
    if distributed.is_first():
        run_settings.write_json(out / "config.json", settings)


def digest(made: Path) -> int | None:
    """A checksum of what another stage made; None where no stage did.

    It is that of the stage's numbers, or of rows that were gathered of several.
    """
    for file in (made.parent / "numbers.json", made / "train.jsonl"):
        if made.exists() and file.is_file():  # a name, such as toy, is no folder
            return zlib.crc32(file.read_bytes())
    return None


def check_inputs(folder: Path, inputs: dict[str, Any]) -> None:
    """Refuses a stage that was made from what has since been made anew.

    Raises:
      ValueError: names the stage's folder and what changed, or a damaged file.
    """
    path = folder / INPUTS
    before = inputs
    if path.exists():
        before = run_settings.read_object(path, f"from what {folder} was made")
    for name, now in inputs.items():
        if before.get(name) != now:
            raise ValueError(
                f"{folder} was made from another --{name} than what is there now: "
                "delete that folder to make it anew, or choose another --out"
            )


def is_done(folder: Path, config: Any) -> bool:
    """Whether a stage has ended, with these flags.

    Raises:
      ValueError: it has ended with others; names its folder and the flag.
    """
    if not (folder / "numbers.json").exists():
        return False
    settings = run_settings.to_json(config)
    free = resumable_fields(type(config))
    lengths = config.LENGTHS if config.extend else ()
    run_settings.check_settings(folder, settings, free=free.union(lengths))
    return not run_settings.differences(folder, settings, free=free)


def stage_runner(config: RunConfig, out: Path) -> Callable[..., None]:
    """The function that runs a stage: `stage(name, main, model=..., data=...)`.

    Its folder is OUT/NAME, its flags are the field of that name of `config`, or of
    another that `flags` names. With `--resume`, what is finished is left alone, and
    what was begun goes on: both must have been made with the same flags, and from the
    same policies and data.
    """

    def stage(
        name: str, main: Callable[[Any], Any], *, flags: str = "", **others: Any
    ) -> None:
        folder = out / name
        given = stage_config(config, flags or name, folder, **others)
        sources = {key: digest(Path(str(value))) for key, value in others.items()}
        inputs = {key: known for key, known in sources.items() if known is not None}
        begun = config.resume and (folder / "checkpoints").exists()
        if config.resume and (begun or (folder / "numbers.json").exists()):
            check_inputs(folder, inputs)
        if config.resume and is_done(folder, given):
            return
        if distributed.is_first():
            folder_cleanup.create(folder)
            run_settings.write_json(folder / INPUTS, inputs)
        main(dataclasses.replace(given, resume=begun))

    return stage


def configs_by_seed(config: Any, out: Path) -> Iterator[Any]:
    """The configuration for each of its seeds; of several, in a folder for each."""
    for seed in range(config.seed, config.seed + config.seeds):
        folder = out if config.seeds == 1 else out / f"seed-{seed}"
        yield dataclasses.replace(config, seed=seed, out=folder)
