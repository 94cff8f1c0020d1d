"""The flags of a step to plan."""

import dataclasses
from pathlib import Path
from typing import ClassVar, Literal

from jaxalign.models import pretrained
from jaxalign.models.config import ModelConfig
from jaxalign.planning.shapes import SHAPES
from jaxalign.runtime import flags


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlannedStep(flags.ValidatedConfig):
    """A step to plan: model, algorithm, mesh and sizes."""

    RANGES: ClassVar = {"lora_rank": flags.FROM_0}
    model: str = "llama-3-8b"
    """llama-3-8b, llama-3-70b, 1b, 0.5b, or a folder with config.json."""
    algorithm: Literal["sft", "reward", "dpo", "ppo", "grpo"] = "sft"
    mesh: str = "fsdp=64"
    """Devices per mesh axis, such as data=2,fsdp=32,tensor=4."""
    batch: int = 64
    """Rows (sft), pairs (reward, dpo) or answers (ppo, grpo) of a step, over all
    devices."""
    length: int = 2048
    """Tokens of a prompt and its answer."""
    prompt: int | None = None
    """Tokens of the prompt; by default half of the length."""
    samples: int = 8
    """Answers to each prompt (grpo)."""
    micro_batches: int = 1
    """Parts of a batch (sft, reward, dpo)."""
    minibatches: int = 1
    """Updates a pass over the rollouts (ppo, grpo)."""
    epochs: int = 1
    """Passes over the rollouts (ppo, grpo)."""
    reward: Literal["model", "programmed"] = "model"
    """The reward (ppo, grpo): a model of the policy's shape, or rule-based."""
    lora_rank: int = 0
    """Rank of the trained adapters; 0 trains all parameters."""
    remat: Literal["none", "dots", "full"] = "full"
    """Activations to recompute, see `ModelConfig.remat`."""
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    """Compute dtype of the models; parameters are float32."""

    @property
    def updates(self) -> int:
        """Optimizer steps on the rollouts of an iteration (ppo, grpo)."""
        return self.epochs * self.minibatches

    @property
    def prompt_length(self) -> int:
        """Tokens of the prompt."""
        return self.length // 2 if self.prompt is None else self.prompt

    def shape(self) -> ModelConfig:
        """The model's configuration.

        Raises:
          ValueError, FileNotFoundError: there is no such model.
        """
        size = self.model.removeprefix("llama-3-")
        if size in SHAPES:
            shape = dataclasses.replace(SHAPES[size], dtype=self.dtype)
        elif Path(self.model).exists():
            shape = pretrained.read_config(self.model, dtype=self.dtype)
        else:
            raise ValueError(
                f"--model {self.model!r} is no folder, and none of llama-3-8b, "
                f"llama-3-70b, {', '.join(SHAPES)}"
            )
        longest = max(shape.context, self.length)
        return dataclasses.replace(shape, remat=self.remat, context=longest)
