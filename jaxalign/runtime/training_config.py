"""The flags of experiments that train a model, on fixed data or on sampled answers."""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import jax

from jaxalign.runtime import flags
from jaxalign.runtime.config import RunConfig
from jaxalign.runtime.evaluation_flags import EvaluationFlags
from jaxalign.training import optimizer

if TYPE_CHECKING:
    import optax


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig(RunConfig):
    """Flags of experiments that train a model: which of its parameters, and how."""

    train: str = "full"
    """full, lora (an adapter; the frozen rest is the reference), or the names of the
    trainable parameters, such as embed or 'blocks[2:]|norm'. Scalar heads always train.
    """
    lora_rank: int = 16
    lora_alpha: float = 32.0
    """The adapter is scaled by alpha / rank."""
    lora_targets: str = "attention.*|feed_forward.*"
    """The matrices that have adapters."""
    frozen: Literal["float32", "int8", "nf4"] = "float32"
    """Storage of the layers' frozen matrices with lora: nf4 needs 4.5 bits for each
    number, as in QLoRA."""
    learning_rate: float | None = None
    """By default it depends on the model and the method: docs/defaults.md."""
    save_dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """The type of a saved model's tensors: by default bfloat16 where --model has
    bfloat16 tensors, and float32 otherwise."""

    @property
    def peak_rate(self) -> float:
        """The learning rate, once `jaxalign.runtime.defaults.resolve` has set it.

        Raises:
          ValueError: it has not been set.
        """
        if self.learning_rate is None:
            raise ValueError(
                "learning_rate depends on the model: set it, or use "
                "jaxalign.runtime.defaults.resolve(config)"
            )
        return self.learning_rate


@dataclasses.dataclass(frozen=True, kw_only=True)
class OfflineConfig(EvaluationFlags, TrainConfig):
    """Flags of offline methods: experiments that train on a fixed data set."""

    LENGTHS: ClassVar[frozenset[str]] = frozenset({"steps", "epochs"})
    steps: int | None = None
    """Optimizer steps; by default the steps of --epochs."""
    epochs: float | None = None
    """Passes over the data: 1 by default. SFT of the new small model has a number of
    steps that depends on the data set instead."""
    batch: int = 32
    """Rows (SFT conversations, pairs) in a step, over all devices."""
    micro_batches: int = 1
    """Parts of a batch that are computed one by one, to save memory; the result is the
    same."""
    warmup: float = 0.05
    """Share of the steps with rising learning rate; then it falls (cosine)."""
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    """Limit of the gradient's global norm."""

    def adamw(self, steps: int) -> "optax.GradientTransformation":
        """The optimizer of these flags, for a run of so many steps."""
        return optimizer.adamw(
            self.peak_rate,
            **self.layout(steps),
            weight_decay=self.weight_decay,
            clip_norm=self.clip_norm,
        )

    def layout(self, steps: int) -> dict[str, Any]:
        """Arguments of the learning rate's schedule over so many steps."""
        warmup = int(self.warmup * steps)
        return {"steps": steps, "warmup": warmup, "schedule": "cosine"}

    def rate(self, steps: int) -> Callable[[Any], jax.Array]:
        """The learning rate of a run of so many steps, by steps done."""
        return optimizer.learning_rate_schedule(self.peak_rate, **self.layout(steps))


@dataclasses.dataclass(frozen=True, kw_only=True)
class RewardConfig(TrainConfig):
    """Flags of experiments that train on rewards of sampled answers."""

    reward: str = "programmed"
    """programmed (the data set's own reward), a reward model's folder, those of an
    ensemble with commas between them, judge:FOLDER (a language model's ratings), a
    reward of texts by name (length:40, bleu, rouge, exact, gsm8k, regex:PATTERN,
    format), a function of your own (FILE.py:FUNCTION or PACKAGE.MODULE:FUNCTION), or a
    weighted sum: gsm8k=0.8,my.py:brief=0.2. See docs/rewards.md."""
    reward_normalization: Literal["none", "group", "batch"] = "none"
    """Each reward of a sum, before its weight, is (reward - mean) / (std + 1e-4), over
    the answers to a prompt or over the iteration's. Logged rewards stay as they are."""
    ensemble: str = "mean"
    """Combination of an ensemble's scores: mean, minimum, variance:0.5 (the mean less
    half the variance), or llama2 (of a helpfulness and a safety model), also llama2:and
    and llama2:or:branch; see jaxalign/pipeline/safety_rewards.py."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SamplingConfig(EvaluationFlags, TrainConfig):
    """Flags of experiments that sample answers while a model trains."""

    RANGES: ClassVar = {
        "temperature": flags.POSITIVE,
        "sample_rows": flags.FROM_0,
        "show_samples_every": flags.FROM_0,
    }
    temperature: float = 1.0
    """Temperature of the sampling, and of the log-probs of the sampled tokens."""
    max_new_tokens: int | None = None
    """Length limit of an answer in tokens; by default it depends on the data set."""
    slots: int = 0
    """Answers that are sampled at a time (continuous batching): where one has ended,
    the next begins. 0 for all at once."""
    eval_rows: int = 64
    """Most held-out prompts of an evaluation, the same ones each time, each answered
    once, with the same random key."""
    sample_rows: int = flags.resumable(8)
    """The first answers of each iteration, those to one prompt side by side, that
    samples.jsonl has; 0 for no file."""
    show_samples_every: int | None = flags.resumable(None)
    """Iterations between those whose samples are shown at the console and by the
    loggers of --log; by default 10, at the console only if it is a terminal; 0 for
    never."""
    logp_gap: float = 0.1
    """Warning threshold for the largest difference between the sampler's and the
    trainer's log-probs, in nats."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class OnlineConfig(SamplingConfig, RewardConfig):
    """Flags of online methods: experiments that sample the answers they train on."""

    RANGES: ClassVar = {"steps": flags.COUNT}
    steps: int = 40
    """Iterations: one batch of rollouts each."""
    minibatches: int = 1
    """Optimizer steps per pass over the rollouts."""
    epochs: int = 1
    """Passes over the rollouts."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """Decay of the learning rate to 0 over the run."""
    warmup: int = 0
    """Iterations of rising learning rate."""
    clip_norm: float = 1.0
    """Limit of the gradient's global norm; each of PPO's two models has its own."""
    missing_eos: Literal["subtract", "assign"] = "subtract"
    """The penalty for an answer without an end is subtracted from its score, or its
    score is set to minus the penalty."""
    missing_eos_penalty: float = 1.0

    @property
    def updates(self) -> int:
        """Optimizer updates in a complete iteration."""
        return self.epochs * self.minibatches

    def adamw(
        self,
        *,
        learning_rate: float | None = None,
        frozen_iterations: int = 0,
        **others: Any,
    ) -> "optax.GradientTransformation":
        """The optimizer of these flags.

        Args:
          learning_rate: by default --learning-rate.
          frozen_iterations: first iterations without updates.
          **others: further arguments of `optimizer.adamw`.
        """
        rate = self.peak_rate if learning_rate is None else learning_rate
        others = {"clip_norm": self.clip_norm} | others
        layout = self.layout(self.steps - frozen_iterations)
        layout["start"] = self.updates * frozen_iterations
        return optimizer.adamw(rate, **layout, **others)

    def layout(self, iterations: int) -> dict[str, Any]:
        """Arguments of the learning rate's schedule over so many iterations."""
        return {
            "steps": self.updates * iterations,
            "warmup": self.updates * self.warmup,
            "schedule": self.schedule,
        }

    def rate(self, iterations: int) -> Callable[[Any], jax.Array]:
        """The learning rate of a run of so many iterations, by iterations done."""
        frozen = getattr(self, "value_warmup", 0)  # PPO's iterations without updates
        by_update = optimizer.learning_rate_schedule(
            self.peak_rate,
            **self.layout(max(iterations - frozen, 0)),
            start=self.updates * frozen,
        )
        return lambda done: by_update(done * self.updates)
