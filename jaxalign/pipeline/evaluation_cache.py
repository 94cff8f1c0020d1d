"""A cache of held-out evaluations in JSON files, which resumed runs read."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from jaxalign.atomic_files import atomic_path
from jaxalign.pipeline.held_out import Evaluation
from jaxalign.runtime import distributed


def cached_evaluation(
    path: Path,
    settings: dict[str, Any],
    evaluate: Callable[[], Evaluation],
    *,
    resume: bool,
) -> Evaluation:
    """The evaluation in a file, or a new one, which is then written there.

    Args:
      path: the JSON file.
      settings: JSON values that the evaluation depends on. A file with other settings
        is replaced.
      evaluate: makes the evaluation.
      resume: whether a file that exists may be used.
    """
    if resume and path.exists():
        cached = read_evaluation(path, settings)
        if cached is not None:
            return cached
        distributed.print_line(f"{path} has other settings: evaluating again")
    evaluation = dataclasses.asdict(evaluate())
    path.parent.mkdir(parents=True, exist_ok=True)
    as_list = lambda x: x.tolist() if isinstance(x, np.ndarray) else x
    text = json.dumps({"settings": settings, **evaluation}, default=as_list)
    with atomic_path(path) as part:
        part.write_text(text)
    # from the text, so that a resumed run has the same numbers
    return evaluation_from_json(json.loads(text))


def read_evaluation(path: Path, settings: dict[str, Any]) -> Evaluation | None:
    """The evaluation in a file; None if it has other settings or is damaged."""
    try:
        values = json.loads(path.read_bytes())
        if values["settings"] != settings:
            return None
        return evaluation_from_json(values)
    except (ValueError, KeyError, TypeError):
        return None


def evaluation_from_json(values: dict[str, Any]) -> Evaluation:
    """An evaluation from the JSON values of its fields."""
    return Evaluation(
        texts=values["texts"],
        reward=np.array(values["reward"]),
        score=None if values["score"] is None else np.array(values["score"]),
        kl=np.array(values["kl"]),
        length=np.array(values["length"]),
        reward_metrics={k: np.array(x) for k, x in values["reward_metrics"].items()},
        prompt=np.array(values["prompt"], np.uint64),
        temperature=values["temperature"],
    )
