"""The flags of the safety study, and its small sizes."""

import dataclasses
from typing import Any, ClassVar, Literal

from jaxalign.pipeline.evaluation.models import EvaluationConfig
from jaxalign.runtime import flags
from jaxalign.runtime.study_sizes import with_size

SMOKE: dict[str, Any] = {
    **{"web_rows": 300, "helpful_rows": 64, "safety_rows": 16, "pairs": 64},
    **{"base_steps": 4, "sft_steps": 2, "reward_steps": 2, "ppo_steps": 2},
    **{"prompts": 64, "samples": 2, "eval_prompts": 4, "attacks": 16},
    **{"shares": (0.0, 1.0), "share": 1.0},
}
QUICK: dict[str, Any] = {
    **{"web_rows": 8000, "base_steps": 400, "pairs": 1500, "reward_steps": 100},
    **{"sft_steps": 40, "ppo_steps": 15, "prompts": 256, "eval_prompts": 96},
    **{"shares": (0.0, 0.01, 0.1, 1.0), "attacks": 400},
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class SafetyConfig(EvaluationConfig):
    """Llama 2's safety recipe in the toy world."""

    RANGES: ClassVar = {
        **flags.ranges_of(flags.COUNT, "web_rows helpful_rows safety_rows pairs"),
        **flags.ranges_of(flags.COUNT, "base_steps sft_steps reward_steps ppo_steps"),
        **flags.ranges_of(flags.COUNT, "attacks"),
        **flags.ranges_of(flags.SHARE, "shares share"),
    }
    seeds: int = flags.resumable(1)
    """Number of runs, of seeds --seed, --seed + 1, ..."""
    gate: Literal["or", "and"] = "or"
    """Where safety decides: on tagged prompts or unsafe answers (the paper), or only
    where both (a lecture's slide)."""
    whitening: Literal["batch", "branch"] = "batch"
    """Rewards are whitened over the batch (the paper), or each branch by itself."""
    safety_weight: float = 1.0
    """Weight of the safety model's auxiliary loss."""
    shares: tuple[float, ...] = (0.0, 0.01, 0.1, 0.25, 0.5, 1.0)
    """Shares of the safety SFT data."""
    share: float = 0.01
    """The share that safety RLHF starts from."""
    web_rows: int = 16_000
    """Conversations of the base policy's SFT."""
    helpful_rows: int = 1000
    safety_rows: int = 400
    """Conversations of all safety SFT data."""
    pairs: int = 4000
    """Pairs of each reward model."""
    base_steps: int = 800
    sft_steps: int = 60
    """Steps of every finetuning."""
    reward_steps: int = 250
    ppo_steps: int = 40
    """Iterations of PPO."""
    beta: float = 0.05
    """Coefficient of PPO's KL penalty."""
    prompts: int = 512
    """Prompts of rejection sampling, and of context distillation."""
    samples: int = 8
    """Answers to each for rejection sampling."""
    eval_prompts: int = 256
    """Requests of each kind for measures."""
    attacks: int = 1000
    """Queries of the attacker."""
    smoke: bool = False
    """A few steps of every stage, to see that it runs."""
    quick: bool = False
    """One shorter run of ten minutes."""

    def with_size(self) -> "SafetyConfig":
        """The configuration of --smoke or --quick."""
        return with_size(self, smoke=SMOKE, quick=QUICK)

    def study_settings(self) -> dict[str, Any]:
        """The flags that a cell's numbers depend on, but for its seed."""
        free = {*flags.resumable_fields(type(self)), "seed"}
        every = dataclasses.asdict(self)
        return {name: value for name, value in every.items() if name not in free}
