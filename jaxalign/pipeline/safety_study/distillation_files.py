"""Distilled answers of the safety study: a policy's own after a system prompt."""

from collections.abc import Callable
from pathlib import Path

import jax

from jaxalign import streams
from jaxalign.data import toy_safety
from jaxalign.pipeline import context_distillation
from jaxalign.pipeline.evaluation.answer_scorers import Scorer
from jaxalign.pipeline.policies import Policy
from jaxalign.pipeline.safety_study import toy_files
from jaxalign.pipeline.safety_study.measures import PREFIXES
from jaxalign.runtime import jsonl


def write_distilled(
    folder: Path,
    policy: Policy,
    safety: Scorer,
    helpful: Path,
    *,
    name: str,
    seed: int,
    count: int,
    max_new_tokens: int,
    note: Callable[[str], None],
) -> Path:
    """Writes SFT data: helpful rows, and the policy's answers that the gate keeps.

    Args:
      policy: writes the answers.
      safety: (prompts, texts) -> scores of the safety model.
      helpful: folder of the helpful rows.
      name: of the prefix, of `measures.PREFIXES`.
      count: harmful training requests that are answered.
    """
    requests = toy_files.harmful_requests(seed, count)
    prompts = [toy_safety.prompt(request, i) for i, request in enumerate(requests)]
    prefixes = {
        prompt.location: PREFIXES[name](request)
        for prompt, request in zip(prompts, requests, strict=True)
    }
    key = jax.random.key(seed)
    found = context_distillation.distill(
        *(policy, prompts, lambda prompt: prefixes[prompt.location], safety),
        (streams.key(key, "original"), streams.key(key, f"after {name}")),
        max_new_tokens=max_new_tokens,
        note=note,
    )
    note(f"distilled, {name}: {found.acceptance.sum()} of {len(requests)} answers kept")
    rows = [*jsonl.read(helpful / "train.jsonl"), *found.rows()]
    jsonl.write(folder / "train.jsonl", rows)
    jsonl.write(folder / toy_files.WRITTEN, jsonl.read(helpful / toy_files.WRITTEN))
    return folder
