"""Stages of a pipeline: experiments that run once each, in folders of their own."""

import dataclasses
import zlib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from jaxalign.runtime import (
    config_file,
    defaults,
    distributed,
    folder_cleanup,
    run_settings,
    stage_flags,
)
from jaxalign.runtime.config import RunConfig
from jaxalign.runtime.flags import resumable_fields

INPUTS = "inputs.json"  # digests of a stage's inputs


def stage_config(config: Any, name: str, folder: Path, **others: Any) -> Any:
    """The configuration of a stage: the pipeline's field of that name and shared flags.

    Flags that depend on the stage's model are set; see `jaxalign.runtime.defaults`.
    """
    shared = {field: getattr(config, field) for field in stage_flags.SHARED}
    if others.get("data", config.data) == config.data:  # not the output of a stage
        shared["held_out_data"] = config.held_out_data
    stage = getattr(config, name)
    shared["extend"] = config.extend or stage.extend
    stage = dataclasses.replace(stage, out=folder, **(shared | others))
    own = defaults.TOY_STAGES.get(config.EXPERIMENT, {}).get(name)
    return defaults.resolve(stage, own)


def begin_pipeline(
    config: RunConfig, out: Path, *, extendable: Collection[str] = ()
) -> None:
    """Locks a pipeline's folder until the process ends, and writes its settings.

    config.yaml has the flags of all stages, config.json those of the pipeline alone.

    With `--resume` the flags must be the same. Each stage compares its own flags, so
    that flags of stages that have not begun may change.

    Args:
      extendable: further flags that may change: a longer run continues, and an
        evaluation with other flags is computed again.

    Raises:
      ValueError: a flag differs, then and now; without `--resume`, the folder holds a
        run; or another run has locked the folder.
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
            f"{out} already holds a run: add --resume to continue it, or choose "
            "another --out"
        )
    if distributed.is_first():
        run_settings.write_json(out / "config.json", settings)
        if getattr(config, "seeds", 1) > 1:  # of this folder there is one
            one_seed: dict[str, Any] = {"seeds": 1}
            config = dataclasses.replace(config, **one_seed)
        config_file.write_config(out, config, replaced=stage_flags.REPLACED)


def digest(output: Path) -> int | None:
    """A checksum of another stage's output; None for other paths and names.

    It is the checksum of the stage's numbers, or of rows gathered from several stages.
    """
    for file in (output.parent / "numbers.json", output / "train.jsonl"):
        if output.exists() and file.is_file():  # a name, such as toy, is no folder
            return zlib.crc32(file.read_bytes())
    return None


def check_inputs(folder: Path, inputs: dict[str, Any]) -> None:
    """Refuses to resume a stage whose inputs have changed since.

    Raises:
      ValueError: names the stage's folder and the input, or a damaged file.
    """
    path = folder / INPUTS
    before = inputs
    if path.exists():
        before = run_settings.read_object(path, f"from what {folder} was made")
    for name, now in inputs.items():
        if before.get(name) != now:
            raise ValueError(
                f"{folder} was made from another --{name} than the present one: "
                "delete that folder to make it again, or choose another --out"
            )


def is_done(folder: Path, config: Any) -> bool:
    """Whether a stage has ended with these flags.

    Raises:
      ValueError: it has ended with other flags; names its folder and the flag.
    """
    if not (folder / "numbers.json").exists():
        return False
    settings = run_settings.to_json(config)
    free = resumable_fields(type(config))
    lengths = config.LENGTHS if config.extend else ()
    run_settings.check_settings(folder, settings, free=free.union(lengths))
    return not run_settings.differences(folder, settings, free=free)


def stage_runner(config: RunConfig, out: Path) -> Callable[..., None]:
    """A function that runs a stage: `stage(name, main, model=..., data=...)`.

    The stage's folder is OUT/NAME; its flags are the field `name` of `config`, or the
    field `flags`. With `--resume`, a finished stage is skipped, and a stage that has
    begun is resumed: both must have the same flags, and the same policies and data as
    inputs.
    """

    def stage(
        name: str, main: Callable[[Any], Any], *, flags: str = "", **others: Any
    ) -> None:
        folder = out / name
        own = stage_config(config, flags or name, folder, **others)
        digests = {key: digest(Path(str(value))) for key, value in others.items()}
        inputs = {key: value for key, value in digests.items() if value is not None}
        begun = config.resume and (folder / "checkpoints").exists()
        if config.resume and (begun or (folder / "numbers.json").exists()):
            check_inputs(folder, inputs)
        if config.resume and is_done(folder, own):
            return
        if distributed.is_first():
            folder_cleanup.create(folder)
            run_settings.write_json(folder / INPUTS, inputs)
        main(dataclasses.replace(own, resume=begun))

    return stage


def configs_by_seed(config: Any, out: Path) -> Iterator[Any]:
    """The configuration for each seed; several seeds have a folder each.

    With several seeds OUT/config.yaml has the flags of all.
    """
    used = any(out.glob("seed-*/*/checkpoints/*"))  # refused without --resume
    if config.seeds > 1 and distributed.is_first() and (config.resume or not used):
        folder_cleanup.create(out)
        config = dataclasses.replace(config, out=out)
        config_file.write_config(out, config, replaced=stage_flags.REPLACED)
    for seed in range(config.seed, config.seed + config.seeds):
        folder = out if config.seeds == 1 else out / f"seed-{seed}"
        yield dataclasses.replace(config, seed=seed, out=folder)


def run_once(main: Callable[[Any], Any], config: Any) -> Path:
    """Runs a stage unless it has ended; one that was stopped continues.

    Args:
      main: of an experiment that trains a policy.
      config: its flags; `out` is given.

    Returns:
      The folder of its policy.
    """
    out = Path(config.out)
    if not (out / "numbers.json").exists():
        begun = (out / "checkpoints").exists()
        main(dataclasses.replace(config, resume=begun))
    return out / "policy"
