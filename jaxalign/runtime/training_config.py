"""The flags of experiments that train a model, on fixed data or on sampled answers."""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import jax
import optax

from jaxalign.runtime import flags
from jaxalign.runtime.config import RunConfig
from jaxalign.training import optimizer


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig(RunConfig):
    """Flags of the experiments that train a model: which of its parameters."""

    train: str = "full"
    """full, lora (an adapter; the rest is frozen, and the reference), or the parameters
    that train by name, such as embed or 'blocks[2:]|norm'. Scalar heads always do."""
    lora_rank: int = 16
    lora_alpha: float = 32.0
    """The adapter counts alpha / rank times."""
    lora_targets: str = "attention.*|feed_forward.*"
    """Which matrices have adapters."""
    frozen: Literal["float32", "int8", "nf4"] = "float32"
    """How lora keeps the layers' matrices, which do not train: nf4 takes 4 bits and a
    half for each number, as QLoRA's."""
    learning_rate: float | None = None
    """By default what suits the model and the method: docs/defaults.md."""
    save_dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """The type of a saved model's tensors: by default bfloat16 where those of --model
    are, and float32 else."""

    @property
    def peak_rate(self) -> float:
        """The learning rate, once `jaxalign.runtime.defaults.resolved` has set it.

        Raises:
          ValueError: it has not.
        """
        if self.learning_rate is None:
            raise ValueError(
                "learning_rate depends on the model: give one, or take "
                "jaxalign.runtime.defaults.resolved(config)"
            )
        return self.learning_rate


@dataclasses.dataclass(frozen=True, kw_only=True)
class OfflineConfig(TrainConfig):
    """Flags of the experiments that train on a fixed data set."""

    LENGTHS: ClassVar[frozenset[str]] = frozenset({"steps", "epochs"})
    steps: int | None = None
    """Optimizer steps; by default those of --epochs."""
    epochs: float | None = None
    """Passes over the data: 1 by default. SFT of the new small model has instead the
    steps that suit the data set."""
    batch: int = 32
    """Rows (demonstrations, pairs) in a step, over all devices."""
    micro_batches: int = 1
    """Parts that a batch is cut into, to save memory; the result is the same."""
    warmup: float = 0.05
    """Share of the steps over which the learning rate rises; then it falls (cosine)."""
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    """Largest global norm of the gradient."""

    def adamw(self, steps: int) -> optax.GradientTransformation:
        """The optimizer that these flags describe."""
        return optimizer.adamw(
            self.peak_rate,
            **self.layout(steps),
            weight_decay=self.weight_decay,
            clip_norm=self.clip_norm,
        )

    def layout(self, steps: int) -> dict[str, Any]:
        """How the learning rate is laid out over so many steps."""
        warmup = int(self.warmup * steps)
        return {"steps": steps, "warmup": warmup, "schedule": "cosine"}

    def rate(self, steps: int) -> Callable[[Any], jax.Array]:
        """The learning rate of a run of so many steps, by steps done."""
        return optimizer.learning_rate_schedule(self.peak_rate, **self.layout(steps))


@dataclasses.dataclass(frozen=True, kw_only=True)
class RewardConfig(TrainConfig):
    """Flags of the experiments that train on rewards of sampled answers."""

    reward: str = "programmed"
    """programmed (the data set's own reward), a reward model's folder, those of an
    ensemble with commas between them, judge:FOLDER (a language model's ratings), or a
    reward of texts by name: length:40, bleu, rouge, exact, gsm8k, regex:PATTERN,
    format."""
    ensemble: str = "mean"
    """What an ensemble's scores make: mean, minimum, variance:0.5 (the mean less half
    the variance), or llama2 (of a helpfulness and a safety model)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class OnlineConfig(RewardConfig):
    """Flags of the experiments that train on answers which they sample."""

    RANGES: ClassVar = {"temperature": flags.POSITIVE, "steps": flags.COUNT}
    steps: int = 40
    """Iterations: one batch of rollouts each."""
    minibatches: int = 1
    """Optimizer steps per pass over the rollouts."""
    epochs: int = 1
    """Passes over the rollouts."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """How the learning rate falls to 0 over the run, if it does."""
    warmup: int = 0
    """Iterations over which the learning rate rises."""
    clip_norm: float = 1.0
    """Largest global norm of the gradient; of PPO's two models each has its own."""
    missing_eos: Literal["subtract", "assign"] = "subtract"
    """An answer that did not end has its score lowered by the penalty, or set to
    minus the penalty."""
    missing_eos_penalty: float = 1.0
    temperature: float = 1.0
    """Of the sampling, and of the log-probs of what was sampled."""
    max_new_tokens: int | None = None
    """Longest answer; by default what the data set suggests."""
    slots: int = 0
    """Answers sampled at a time; where one has ended the next begins. 0 is all at
    once."""
    logp_gap: float = 0.1
    """Warns where the sampler and the trainer differ by more in any log-prob (nats)."""

    @property
    def updates(self) -> int:
        """Optimizer updates in an iteration, where none is left out."""
        return self.epochs * self.minibatches

    def adamw(
        self,
        *,
        learning_rate: float | None = None,
        waits: int = 0,
        **others: Any,
    ) -> optax.GradientTransformation:
        """The optimizer that these flags describe.

        Args:
          waits: first iterations, in which it moves nothing.
        """
        rate = self.peak_rate if learning_rate is None else learning_rate
        given = {"clip_norm": self.clip_norm} | others
        layout = self.layout(self.steps - waits) | {"start": self.updates * waits}
        return optimizer.adamw(rate, **layout, **given)

    def layout(self, iterations: int) -> dict[str, Any]:
        """How the learning rate is laid out over the updates of so many iterations."""
        return {
            "steps": self.updates * iterations,
            "warmup": self.updates * self.warmup,
            "schedule": self.schedule,
        }

    def rate(self, iterations: int) -> Callable[[Any], jax.Array]:
        """The learning rate of a run of so many iterations, by iterations done."""
        by_update = optimizer.learning_rate_schedule(
            self.peak_rate, **self.layout(iterations)
        )
        return lambda done: by_update(done * self.updates)
