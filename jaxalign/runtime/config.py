"""The flags that every experiment shares, and those of evaluations."""

import dataclasses
import datetime
import json
from pathlib import Path
from typing import ClassVar, Literal

from jaxalign.runtime import flags

Dtype = Literal["float32", "bfloat16"]


class DefaultDate(str):
    """The date of a run's start, used as the default of --template-date."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunConfig(flags.ValidatedConfig):
    """Flags that every experiment shares."""

    EXPERIMENT: ClassVar[str] = ""
    """The experiment's name in `jaxalign.runtime.defaults`."""
    LENGTHS: ClassVar[frozenset[str]] = frozenset({"steps"})
    """Flags that determine the number of steps; --extend allows another number."""

    out: Path | None = flags.resumable(None)
    """The run's folder; by default runs/EXPERIMENT/DATE-TIME."""
    seed: int = 0
    """Seed of all random numbers of the run."""
    model: str = "toy"
    """A Hugging Face folder (every run writes one), ORG/NAME of a hub, or toy: a small
    new model."""
    data: str = "toy"
    """toy, stories, a published set (hh-rlhf, gsm8k, ...), tfds:NAME, the path of a
    file of records, or ORG/NAME of a hub; `jaxalign/pipeline/datasets` lists them."""
    data_path: str | None = None
    """Path of the named data set: local, or in a bucket (gs://, hf://datasets/...)."""
    token_cache: Path | None = flags.resumable(None)
    """A folder for tokenized pairs and unpaired answers, for data that do not fit in
    memory; written once for each file, tokenizer and context."""
    liked: Literal["happy", "length"] = "happy"
    """What the rule-based reward of stories rewards: happy endings, or 60 words: in 96
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
    """A file whose rows are held out instead; rows that share a first user message with
    them are removed from training."""
    keep_special_tokens: bool = False
    """Keep rows whose texts hold special tokens that neither begin nor end turns (such
    as a special <think>), and show these to rewards of texts."""
    template_date: str = ""
    """The date, YYYY-MM-DD, for chat templates that show one; by default the date of
    the run's start, which --resume keeps."""
    overlong: Literal["drop", "truncate"] = "drop"
    """Treatment of rows longer than the context; their number is shown."""
    skip_bad_rows: bool = flags.resumable(False)
    """Skip and count malformed rows, rather than stop at the first."""
    max_row_chars: int = 1_000_000
    """Length limit of a row in characters; longer ones are malformed, and not held in
    memory."""
    mesh: str = flags.resumable("")
    """Devices on each mesh axis, such as data=2,fsdp=4; by default all on data."""
    dtype: Dtype = "float32"
    """The type of the model's computation; its parameters stay float32."""
    remat: Literal["none", "dots", "full"] = "none"
    """What the backward pass recomputes to save memory: nothing, all of a layer but its
    matrix products, or the whole layer."""
    compilation_cache: str | None = flags.resumable(None)
    """A folder that keeps compiled programs from one start to the next, or off; by
    default JAX_COMPILATION_CACHE_DIR, or a cache folder of the user's."""
    resume: bool = flags.resumable(False)
    """Continue the run in --out from its last checkpoint; flags that change its numbers
    must be the same."""
    extend: bool = flags.resumable(False)
    """With --resume: continue to another number of steps, though the learning rate's
    schedule is laid out over them; the jump is shown."""
    save_every: int = flags.resumable(100)
    """Steps between checkpoints."""
    keep: int = flags.resumable(2)
    """Number of latest checkpoints that are kept."""
    keep_best: str = flags.resumable("")
    """A metric whose best checkpoint is kept too: eval/accuracy, or -eval/loss for the
    lowest, each evaluation that is better being saved; or a metric of training, such as
    reward, by its mean over the steps since the previous checkpoint."""
    skip_nonfinite: int = flags.resumable(0)
    """Number of steps that are skipped, and counted, because their loss or gradient is
    NaN or infinite; the next one stops the run."""
    debug_nans: bool = flags.resumable(False)
    """Name the operation that produces a NaN; slow."""
    stall_after: float = flags.resumable(600.0)
    """Seconds after which a step that is not done is reported; 0 for never."""
    log: str = flags.resumable("tensorboard")
    """Where a training run's metrics go, beside metrics.jsonl: tensorboard, wandb, both
    with a comma between them, or none."""

    def __post_init__(self) -> None:
        """Sets the date, so that every copy of this configuration has the same."""
        super().__post_init__()
        if not self.template_date or isinstance(self.template_date, DefaultDate):
            object.__setattr__(self, "template_date", DefaultDate(start_date(self)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvalConfig(RunConfig):
    """Flags of experiments that compare policies on held-out prompts."""

    eval_prompts: int = 512
    """Number of held-out prompts for every policy."""
    eval_temperature: float | None = None
    """Sampling temperature of these answers, for all policies; by default that of each
    policy's training: of its rollouts, or 1 for training on given data."""

    def temperature_for(self, trained_at: float = 1.0) -> float:
        """The temperature of a policy's evaluation.

        Args:
          trained_at: temperature of an online method's rollouts; 1 for training on
            given texts or pairs (SFT, DPO, the finetuning of rejection sampling), whose
            loss has log-probs at 1, whatever sampled the texts.

        Raises:
          ValueError: it is not above 0, where a policy has no log-probs.
        """
        common = self.eval_temperature
        temperature = trained_at if common is None else common
        if not temperature > 0:
            raise ValueError(
                f"policies are evaluated at a temperature above 0, not {temperature:g}"
                ": --eval-temperature sets it for all"
            )
        return temperature


def start_date(config: RunConfig) -> str:
    """The date of the run's start; of a resumed run, the date in its folder."""
    today = config.template_date or datetime.date.today().isoformat()
    if not config.resume or config.out is None:
        return today
    try:
        settings = json.loads((Path(config.out) / "config.json").read_bytes())
        return str(settings["template_date"])
    except (OSError, ValueError, LookupError, TypeError):
        return today  # the error is raised where the folder is read
