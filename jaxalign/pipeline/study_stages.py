"""Stages of a study: experiments that train in a folder of a study's own."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jaxalign.pipeline.evaluation.models import EvaluationConfig, run_config
from jaxalign.runtime import defaults, stages


def run_stage(
    config: EvaluationConfig,
    main: Callable[[Any], Any],
    stage: Any,
    folder: Path,
    seed: int,
) -> Path:
    """Runs a stage in a folder; continues one that has begun, and skips a finished.

    Args:
      config: of the study: its devices and dtype are the stage's.
      main: of the experiment.
      stage: its flags.

    Returns:
      The folder.
    """
    shared = run_config(config, model=stage.model, data=stage.data)
    same = {
        name: getattr(shared, name) for name in ("mesh", "dtype", "compilation_cache")
    }
    stage = dataclasses.replace(stage, out=folder, seed=seed, log="none", **same)
    stage = defaults.resolve(stage)
    if not stages.is_done(folder, stage):
        begun = (folder / "checkpoints").exists()
        main(dataclasses.replace(stage, resume=begun))
    return folder
