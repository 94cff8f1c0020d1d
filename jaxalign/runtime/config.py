"""The flags that every experiment shares, and how a command line becomes a run."""

import dataclasses
import datetime
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

import jax
import optax

from jaxalign import sharding
from jaxalign.runtime import allocator, cli, compilation_cache, distributed, flags
from jaxalign.runtime.flags import parse_mesh
from jaxalign.training import optimizer

Dtype = Literal["float32", "bfloat16"]


class DefaultDate(str):
    """The day of a run's start, where no flag gives one."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunConfig(flags.ValidatedConfig):
    """Flags that every experiment shares."""

    EXPERIMENT: ClassVar[str] = ""
    """Whose defaults `jaxalign.runtime.defaults` gives."""
    LENGTHS: ClassVar[frozenset[str]] = frozenset({"steps"})
    """Flags that give the number of steps, which --extend may change."""

    out: Path | None = flags.resumable(None)
    """The run's folder; runs/EXPERIMENT/DATE-TIME unless told."""
    seed: int = 0
    """Seed of everything random in the run."""
    model: str = "toy"
    """A Hugging Face folder (every run writes one), ORG/NAME of a hub, or toy: a small
    new model."""
    data: str = "toy"
    """toy, stories, a published set (hh-rlhf, gsm8k, ...), tfds:NAME, the path of a
    file of records, or ORG/NAME of a hub; `jaxalign/pipeline/datasets` lists them."""
    data_path: str | None = None
    """Where the named data set lies: here, or in a bucket (gs://, hf://datasets/...)."""
    token_cache: Path | None = flags.resumable(None)
    """A folder where pairs and unpaired answers of files are kept tokenised, for data
    that do not fit in memory; made once for each file, tokenizer and context."""
    liked: Literal["happy", "length"] = "happy"
    """What the programmed reward of stories likes: happy endings, or 60 words: in 96
    tokens, short ones."""
    context: int | None = None
    """Longest sequence in tokens; by default a pretrained model's own up to 4,096, and
    of the new small model what the data set suggests."""
    held_out: float = 0.1
    """The share of the prompts that is held out, by a hash of a conversation's first
    user message; data sets with a split of their own keep it."""
    held_out_seed: int = 0
    """Another seed holds out other prompts; --seed does not."""
    held_out_data: str | None = None
    """A file whose rows are held out instead; what shares a first user message with
    them is not trained on."""
    keep_special_tokens: bool = False
    """Keep rows whose texts hold special tokens that neither begin nor end turns (such
    as a special <think>), and show these to rewards of texts."""
    template_date: str = ""
    """The day, YYYY-MM-DD, that a chat template shows which asks for it; by default
    that of the run's start, to which --resume keeps."""
    overlong: Literal["drop", "truncate"] = "drop"
    """What becomes of rows longer than the context; they are counted and shown."""
    skip_bad_rows: bool = flags.resumable(False)
    """Skip and count malformed rows, rather than stop at the first."""
    max_row_chars: int = 1_000_000
    """Characters of the longest row; longer ones are malformed, and not held in
    memory."""
    mesh: str = flags.resumable("")
    """Devices on each mesh axis, such as data=2,fsdp=4; by default all on data."""
    dtype: Dtype = "float32"
    """The type that the model computes in; its parameters stay float32."""
    remat: Literal["none", "dots", "full"] = "none"
    """What the backward pass computes again, to save memory: nothing, all of a layer
    but its matrix products, or everything within it."""
    compilation_cache: str | None = flags.resumable(None)
    """A folder that keeps compiled programs from one start to the next, or off; by
    default JAX_COMPILATION_CACHE_DIR, or a cache folder of the user's."""
    resume: bool = flags.resumable(False)
    """Go on with the run in --out, exactly where its last checkpoint is; flags that
    change what is computed must be the same."""
    extend: bool = flags.resumable(False)
    """With --resume: go on to another number of steps, though the learning rate's
    schedule is laid out over them; the jump is shown."""
    save_every: int = flags.resumable(100)
    """Steps between checkpoints."""
    keep: int = flags.resumable(2)
    """How many of the last checkpoints stay."""
    keep_best: str = flags.resumable("")
    """A metric of whose best checkpoint stays as well, such as reward, or -loss for the
    lowest; its mean over the steps since the checkpoint before."""
    skip_nonfinite: int = flags.resumable(0)
    """How many steps may be skipped, and counted, because their loss or gradient is NaN
    or infinite; the next one stops the run."""
    debug_nans: bool = flags.resumable(False)
    """Run each operation by itself where a NaN appears, and show which it is; slow."""
    stall_after: float = flags.resumable(600.0)
    """Seconds after which a step that is not done is reported; 0 for never."""

    def __post_init__(self) -> None:
        """Pins the day, so that all that is made of this configuration has the same."""
        super().__post_init__()
        if not self.template_date or isinstance(self.template_date, DefaultDate):
            object.__setattr__(self, "template_date", DefaultDate(start_date(self)))


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
class EvalConfig(RunConfig):
    """Flags of the experiments that compare policies on held-out prompts."""

    eval_prompts: int = 512
    """Held-out prompts that every policy answers."""
    eval_temperature: float | None = None
    """Of the sampling of these answers, for all policies; by default each has that of
    its training: of its rollouts, or 1 where it learns from given data."""

    def temperature_for(self, trained_at: float = 1.0) -> float:
        """The temperature at which a policy is measured.

        Args:
          trained_at: that of an online method's rollouts; 1 for what learns from given
            texts or pairs (SFT, DPO, the finetuning of rejection sampling), whose loss
            has log-probs at 1, whatever sampled the texts.

        Raises:
          ValueError: not above 0, where a policy has no log-probs.
        """
        told = self.eval_temperature
        temperature = trained_at if told is None else told
        if not temperature > 0:
            raise ValueError(
                f"policies are evaluated at a temperature above 0, not {temperature:g}"
                ": --eval-temperature sets it for all"
            )
        return temperature


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


def mesh_of(config: RunConfig) -> Any:
    """The device mesh that a run asked for.

    Raises:
      ValueError: names the flag; devices are lacking, or would be left out.
    """
    try:
        return sharding.make_mesh(parse_mesh(config.mesh))
    except ValueError as error:
        raise ValueError(f"--mesh {config.mesh}: {error}") from error


def folder_of(config: RunConfig, experiment: str) -> Path:
    """The run's folder, by name or by the time of its start."""
    if config.out is not None:
        return config.out
    if config.resume:
        raise ValueError("--resume needs --out, the folder of the run to go on with")
    stamp = distributed.broadcast_text(
        datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    )
    return Path("runs") / experiment / stamp


def start_date(config: RunConfig) -> str:
    """The day of the run's start: of a run that goes on, what its folder says."""
    today = config.template_date or datetime.date.today().isoformat()
    if not config.resume or config.out is None:
        return today
    try:
        settings = json.loads((Path(config.out) / "config.json").read_bytes())
        return str(settings["template_date"])
    except (OSError, ValueError, LookupError, TypeError):
        return today  # whatever is wrong with the folder is said where it is read


ConfigType = TypeVar("ConfigType", bound=RunConfig)


def launch(main: Callable[[ConfigType], Any], config: type[ConfigType]) -> None:
    """Runs an experiment from its command line, see `cli.run_command`.

    JAXALIGN_DISTRIBUTED joins the other processes first, see `processes.join`.
    """

    def start(arguments: ConfigType) -> None:
        compilation_cache.enable(arguments.compilation_cache)
        distributed.join(os.environ.get("JAXALIGN_DISTRIBUTED", ""))
        main(arguments)

    allocator.reuse_freed_memory()
    cli.run_command(start, config)
