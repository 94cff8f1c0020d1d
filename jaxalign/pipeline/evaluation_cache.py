"""A cache of held-out evaluations in JSON files, which resumed runs read."""

import dataclasses
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from jaxalign.atomic_files import atomic_path
from jaxalign.pipeline.held_out import Evaluation, HeldOutEval
from jaxalign.runtime import distributed
from jaxalign.runtime.stages import digest


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
    as_list = lambda x: x.tolist() if isinstance(x, np.ndarray) else str(x)
    text = json.dumps({"settings": settings, **evaluation}, default=as_list)
    with atomic_path(path) as part:
        part.write_text(text)
    # from the text, so that a resumed run has the same numbers
    return evaluation_from_json(json.loads(text))


def evaluation_settings(
    held_out_eval: HeldOutEval,
    policy: Path,
    *,
    start: Path,
    seed: int,
    samples: int,
    temperature: float,
) -> dict[str, Any]:
    """JSON values that an evaluation depends on: its flags, and digests of its inputs.

    Args:
      policy: the folder of the policy.
      start: the folder with the stages sft and reward_model.
      seed: of the run.
      samples: answers to each prompt.
      temperature: of the sampling.
    """
    prompts = json.dumps([prompt.messages for prompt in held_out_eval.prompts])
    flags = {
        k: v for k, v in vars(held_out_eval).items() if isinstance(v, int | float | str)
    }
    return flags | {
        "seed": seed,
        "samples": samples,
        "prompts": zlib.crc32(prompts.encode()),
        "policy": digest(policy),
        "base": digest(start / "sft" / "policy"),
        "reward": digest(start / "reward_model" / "reward"),
        "temperature": temperature,
    }


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
        fields=values["fields"],
    )
