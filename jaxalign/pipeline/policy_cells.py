"""Arms of a study that are policies: trained from one start, measured alike."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from jaxalign.pipeline import datasets, held_out
from jaxalign.pipeline.evaluation.models import EvaluationConfig, run_config
from jaxalign.pipeline.study_stages import run_stage
from jaxalign.runtime import flags

MEASURES = {
    "reward": "true reward",
    "score": "reward model's score",
    "kl": "KL (nats)",
    "length": "tokens",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class PolicyStudyConfig(EvaluationConfig):
    """Flags of studies that train policies from one SFT policy and reward model."""

    RANGES: ClassVar = flags.ranges_of(
        flags.COUNT, "sft_steps reward_steps steps eval_prompts"
    )
    model: str = "toy"
    """toy, or the folder of an SFT policy."""
    reward: str = ""
    """With --model: the folder of a reward model."""
    data: str = "toy"
    """Prompts."""
    seeds: int = flags.resumable(1)
    """Number of runs, of seeds --seed, --seed + 1, ..."""
    sft_steps: int = 250
    reward_steps: int = 200
    steps: int = 40
    """Iterations of each arm."""
    eval_prompts: int = 512
    """Held-out prompts."""
    max_new_tokens: int | None = None
    """Tokens of the longest answer; by default the data set's."""
    quick: bool = False
    """One shorter run, of some minutes."""
    smoke: bool = False
    """A few steps of a few arms, to see that it runs."""

    def check_start(self) -> None:
        """Raises: ValueError: --model without --reward, or the reverse."""
        if (self.model == "toy") == bool(self.reward):
            raise ValueError("--model FOLDER and --reward FOLDER are given together")


class Program(NamedTuple):
    """An experiment that a study runs as a stage.

    Attributes:
      main: its function of a configuration.
      config: its class of configurations.
    """

    main: Callable[[Any], Any]
    config: Callable[..., Any]


class Start(NamedTuple):
    """The folders that all arms of a seed share: an SFT policy, and a reward model."""

    policy: Path
    reward: Path


def starting_models(
    config: PolicyStudyConfig, root: Path, seed: int, *, sft: Program, reward: Program
) -> Start:
    """The given policy and reward model, or those of the toy world, trained once.

    Args:
      root: of the seed's stages.
      sft, reward: experiments that train them.
    """
    if config.model != "toy":
        return Start(Path(config.model), Path(config.reward))
    stage = sft.config(steps=config.sft_steps)
    policy = run_stage(config, sft.main, stage, root / "sft", seed) / "policy"
    stage = reward.config(model=str(policy), steps=config.reward_steps)
    out = run_stage(config, reward.main, stage, root / "reward_model", seed)
    return Start(policy, out / "reward")


def policy_values(
    config: PolicyStudyConfig, policy: Path, start: Start, seed: int
) -> dict[str, np.ndarray]:
    """Measures of a policy's answers to held-out prompts, at temperature 1.

    Args:
      policy: its folder.
      start: the policy that it was trained from is the reference of the KL; the reward
        model's score is measured beside.
      seed: of the sampling; the same for all arms.

    Returns:
      By name of `MEASURES` a value for each prompt [P], which is answered once. The
      true reward is that of --data, or the score where the data have none.
    """
    run = run_config(config, model=str(start.policy), data=config.data, seed=seed)
    source = datasets.load(run)
    evaluation = held_out.make_held_out_eval(
        run,
        source,
        start.policy,
        config.eval_prompts,
        max_new_tokens=config.max_new_tokens,
        reward=start.reward,
    )
    found = evaluation.evaluate(held_out.load(run, source, policy), temperature=1.0)
    values = {
        "reward": found.reward,
        "score": found.score,
        "kl": found.kl,
        "length": found.length,
    }
    return {name: np.asarray(x, float) for name, x in values.items()}
