"""Arms of a study that are policies: measured by the same held-out prompts and keys."""

from pathlib import Path

import numpy as np

from jaxalign.pipeline import datasets, held_out
from jaxalign.pipeline.evaluation.models import EvaluationConfig, run_config

MEASURES = {
    "reward": "true reward",
    "score": "reward model's score",
    "kl": "KL (nats)",
    "length": "tokens",
}


def policy_values(
    config: EvaluationConfig,
    policy: Path,
    start: Path,
    *,
    data: str,
    seed: int,
    prompts: int,
    reward_model: Path | None = None,
    max_new_tokens: int | None = None,
) -> dict[str, np.ndarray]:
    """Measures of a policy's answers to held-out prompts, at temperature 1.

    Args:
      policy: its folder.
      start: the folder of the policy it was trained from, the reference of the KL.
      data: a data set with a reward of its own, or with `reward_model`, any.
      seed: of the sampling; the same for all arms.
      prompts: most held-out prompts; each is answered once.
      reward_model: the folder of one whose score is measured beside.

    Returns:
      By name of `MEASURES` a value for each prompt [P]; no `score` without a model.
    """
    run = run_config(config, model=str(start), data=data, seed=seed)
    source = datasets.load(run)
    evaluation = held_out.make_held_out_eval(
        run,
        source,
        start,
        prompts,
        max_new_tokens=max_new_tokens,
        reward=reward_model,
    )
    found = evaluation.evaluate(held_out.load(run, source, policy), temperature=1.0)
    values = {"reward": found.reward, "kl": found.kl, "length": found.length}
    if found.score is not None:
        values["score"] = found.score
    return {name: np.asarray(x, float) for name, x in values.items()}
